"""The grid page: what it asks the engine for, and what it shows of a job."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from diffgrid.engine import PathView, Snapshot
from diffgrid.errors import BadInput, DiffgridError, StoreError
from diffgrid.frames import Frames, encode_frames, encode_preview
from diffgrid.spec import Path, RunSpec, fork, format_path, minimum, naive
from diffgrid.trajectories import Trajectory
from diffgrid.ui import desk
from diffgrid.ui.words import cost, plain, progress

APP = File(__file__).parents[1] / "streamlit_app.py"
PREVIEW = encode_preview(np.full((16, 16, 3), 200, np.uint8))


@dataclass
class Played:
    """A job whose snapshots a test makes up."""

    spec: RunSpec
    paths: tuple[Path, ...]
    shown: Snapshot = field(init=False)
    cancelled: bool = False

    def __post_init__(self) -> None:
        length = self.spec.length
        self.shown = Snapshot(
            paths={path: PathView() for path in self.paths},
            minimum=minimum(self.paths, length),
            naive=naive(self.paths, length),
        )

    def play(self, frame: bytes | None = None, done: bool = False, **changes: Any) -> None:
        views = {path: PathView(frame, self.spec.length, done) for path in self.paths}
        self.shown = replace(self.shown, paths=views, **changes)

    def finish(self) -> None:
        count = self.shown.minimum
        frame = pictures(self.spec.length).final
        self.play(frame, True, state="done", sampled=count, to_sample=count, seconds=2.8)

    def snapshot(self) -> Snapshot:
        return self.shown

    def cancel(self) -> None:
        self.cancelled = True

    def wait(self, timeout: float | None = None) -> bool:
        raise AssertionError("a page never waits")

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        length = self.spec.length
        alpha_bar = np.linspace(0.01, 1, length + 1)
        found = Trajectory(
            spec=self.spec,
            path=path,
            latents=np.zeros((length + 1, 2, 4, 4), np.float32),
            model_outputs=np.zeros((length, 2, 4, 4), np.float32),
            timesteps=np.linspace(999, 0, length),
            alphas=np.sqrt(alpha_bar),
            sigmas=np.sqrt(1 - alpha_bar),
            prediction_type="epsilon",
        )
        return found, pictures(length)


def pictures(length: int) -> Frames:
    """As many different greys as there are steps."""
    greys = np.linspace(0, 255, length + 1).astype(np.uint8)
    frames = np.broadcast_to(greys[:, None, None, None], (length + 1, 16, 16, 3))
    return encode_frames(frames[:-1], frames[-1])


@dataclass
class Stage:
    """An engine that only notes what is asked of it."""

    jobs: list[Played] = field(default_factory=list)
    refuses: DiffgridError | None = None

    def submit(self, spec: RunSpec, paths: Iterable[Path]) -> Played:
        if self.refuses:
            raise self.refuses
        self.jobs.append(Played(spec, tuple(paths)))
        return self.jobs[-1]


@pytest.fixture(autouse=True)
def _fresh_session() -> Iterator[None]:
    """All of AppTest's sessions go by one name: a desk would outlive its test."""
    yield
    st.cache_resource.clear()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(desk, "engine", lambda: stage)
    return stage


@pytest.fixture
def page(stage: Stage) -> AppTest:
    """The page, just opened."""
    return whole(AppTest.from_file(str(APP), default_timeout=30).run())


def whole(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].message
    return page


def send(page: AppTest) -> AppTest:
    return whole(next(b for b in page.button if b.label == "Sample").click().run())


def choose(page: AppTest, label: str, value: float) -> None:
    next(each for each in page.number_input if each.label == label).set_value(value)


def markup(page: AppTest) -> str:
    return next(str(each.body) for each in page.html if 'role="grid"' in each.body)


def test_opening_the_page_asks_for_the_models_own_grid(page: AppTest, stage: Stage) -> None:
    (job,) = stage.jobs
    assert (job.spec.seed, job.spec.num_inference_steps) == (7, 25)
    assert job.paths[0] == ()
    assert len(job.paths) == 1 + 4 * 4
    assert [title.value for title in page.title] == ["Branching grid"]
    assert "<h1" not in markup(page)


def test_the_form_decides_what_is_sampled_and_ends_what_was(page: AppTest, stage: Stage) -> None:
    page.text_area[0].set_value("a red monster")
    choose(page, "Steps", 6)
    choose(page, "Columns", 2)
    choose(page, "Guidance", 1.5)
    page.selectbox[0].set_value("euler")
    send(page)
    first, second = stage.jobs
    assert first.cancelled
    assert not second.cancelled
    spec = second.spec
    assert (spec.prompt, spec.length, spec.guidance_scale) == ("a red monster", 6, 1.5)
    assert (spec.scheduler, spec.eta) == ("EulerDiscreteScheduler", None)
    assert {len(path) for path in second.paths} == {0, 1}
    assert max(path[0].branch for path in second.paths if path) == 1


def test_naming_the_models_own_scheduler_is_the_same_run(page: AppTest, stage: Stage) -> None:
    page.selectbox[0].set_value("ddim")
    send(page)
    assert len(stage.jobs) == 1


def test_the_dice_give_another_seed_and_sample_at_once(page: AppTest, stage: Stage) -> None:
    seeds = {stage.jobs[-1].spec.seed}
    for _ in range(3):
        whole(next(b for b in page.button if b.icon == ":material/casino:").click().run())
        seeds.add(stage.jobs[-1].spec.seed)
    assert len(seeds) > 1
    (shown,) = [each for each in page.number_input if each.label == "Seed"]
    assert shown.value == stage.jobs[-1].spec.seed
    # As its default: a value set from here is lost when the page runs again at once.
    assert shown.proto.default == shown.value
    assert not shown.proto.set_value


def test_a_running_job_shows_its_newest_frames_and_how_far_it_is(
    page: AppTest, stage: Stage
) -> None:
    (job,) = stage.jobs
    assert markup(page).count("<img") == 0
    job.play(PREVIEW, state="sampling", sampled=96, to_sample=269, reused=12, seconds_left=3.2)
    whole(page.run())
    (bar,) = page.get("progress")
    assert bar.proto.text == "96 of 269 evaluations, 12 reused, 3 s left"
    assert markup(page).count(base64.b64encode(PREVIEW).decode()) == len(job.paths)
    assert markup(page).count('aria-busy="true"') == len(job.paths) - 1


def test_cancel_stops_the_job_and_sample_goes_on(page: AppTest, stage: Stage) -> None:
    whole(next(b for b in page.button if b.label == "Cancel").click().run())
    (job,) = stage.jobs
    assert job.cancelled
    job.play(PREVIEW, state="cancelled")
    whole(page.run())
    assert any("What was computed is kept" in each.value for each in page.caption)
    assert len(stage.jobs) == 1
    send(page)
    assert len(stage.jobs) == 2
    assert stage.jobs[1].paths == job.paths


def test_a_finished_grid_is_drawn_from_the_stored_bytes(page: AppTest, stage: Stage) -> None:
    (job,) = stage.jobs
    job.finish()
    whole(page.run())
    html, frames = markup(page), pictures(25)
    cells = re.findall(r'role="gridcell".*?title="(.*?)"', html)
    assert cells == [format_path(fork((), k, j)) for k in (1, 5, 10, 16) for j in range(4)]
    assert 'aria-label="Branching grid"' in html
    assert html.count(base64.b64encode(frames.final).decode()) == 17
    for step in range(25):  # in the strip once, and where a row leaves the trunk
        times = 2 if step in (1, 5, 10, 16) else 1
        assert html.count(base64.b64encode(frames.x0[step]).decode()) == times
    assert "t = 957.4" in html
    assert any("281 evaluations · 144 saved" in caption.value for caption in page.caption)
    assert page.get("download_button")


def test_the_trunks_moments_show_while_its_branches_are_sampled(
    page: AppTest, stage: Stage
) -> None:
    (job,) = stage.jobs
    job.play(PREVIEW, state="sampling", to_sample=281)
    views = {**job.shown.paths, (): PathView(pictures(25).final, 25, True)}
    job.shown = replace(job.shown, paths=views)
    whole(page.run())
    assert "t = 957.4" in markup(page)
    job.play(PREVIEW, state="cancelled")
    whole(page.run())
    assert "t = 957.4" in markup(page)


def test_the_download_is_the_picture_of_the_whole_grid(stage: Stage) -> None:
    from diffgrid.ui.form import Asked

    mine = desk.Desk()
    with pytest.raises(DiffgridError, match="no grid yet"):
        mine.picture()
    mine.ask(Asked("a monster", 7, 6, 2, 3.0, "ddim").grid(), again=False)
    stage.jobs[0].finish()
    assert mine.picture().startswith(b"\x89PNG")


def test_what_is_not_allowed_is_said_and_the_grid_stays(page: AppTest, stage: Stage) -> None:
    stage.jobs[0].finish()
    page.text_area[0].set_value("x" * 2001)
    send(page)
    (error,) = page.error
    assert "prompt" in error.value
    assert "2001" in error.value.replace("\\", "").replace(",", "")
    assert page.text_area[0].value == "x" * 2001
    assert markup(page).count("<img") > 17
    assert len(stage.jobs) == 1


def test_a_job_that_fails_says_why_in_its_own_words(page: AppTest, stage: Stage) -> None:
    stage.jobs[0].play(state="failed", error=BadInput("steps 60 is not allowed with [lcm](x): …"))
    whole(page.run())
    (error,) = page.error
    assert "\\[lcm\\]\\(x\\)" in error.value  # shown as it is: no link
    assert not page.get("download_button")


def test_a_cache_that_cannot_be_used_is_one_sentence(page: AppTest, stage: Stage) -> None:
    stage.refuses = StoreError("cache directory /nowhere cannot be used: make it writable.")
    choose(page, "Steps", 5)
    send(page)
    assert "cannot be used" in page.error[0].value
    assert not stage.jobs[0].cancelled


def test_a_warning_of_the_job_is_shown(page: AppTest, stage: Stage) -> None:
    stage.jobs[0].play(state="sampling", warning="the cache is full")
    whole(page.run())
    assert page.warning[0].value == "the cache is full"


def test_a_prompt_cannot_put_markup_into_the_page(page: AppTest, stage: Stage) -> None:
    page.text_area[0].set_value("<img src=x onerror=alert(1)>")
    send(page)
    assert "<img src=x" not in markup(page)
    assert "&lt;img src=x" in markup(page)


def test_a_public_server_has_tighter_limits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    page = whole(AppTest.from_file(str(APP), default_timeout=30).run())
    page.text_area[0].set_value("x" * 501)
    send(page)
    assert "prompt" in page.error[0].value


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (Snapshot(), "Waiting for its turn"),
        (Snapshot(state="loading"), "Loading the model"),
        (Snapshot(state="sampling", to_sample=9), "0 of 9 evaluations"),
    ],
)
def test_progress_in_words(snapshot: Snapshot, words: str) -> None:
    assert progress(snapshot) == words


def test_cost_in_words() -> None:
    reused = Snapshot(minimum=20, naive=30, reused=12, to_sample=8, sampled=8, seconds=1)
    assert cost(reused) == "20 evaluations, 12 reused · 10 saved by shared beginnings · 1.0 s"
    stored = replace(reused, reused=20, to_sample=0, sampled=0)
    assert cost(stored).startswith("20 evaluations, all reused")


def test_plain_text_is_markdown_of_itself() -> None:
    assert plain("a *b* :red[c]\n$x$") == r"a \*b\* \:red\[c\] \$x\$"
