"""The grid page: what it asks the engine for, and what it shows of a job."""

from __future__ import annotations

import json
import shutil
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from diffgrid.app.components.grid import grid
from diffgrid.app.examples import EXPERIMENTS, link
from diffgrid.app.session import desk
from diffgrid.app.session.actions import act
from diffgrid.app.text import cost, plain, progress, weight
from diffgrid.decisions.study import Finding, OneTree, StudySnapshot
from diffgrid.engine.protocol import Estimate, PathView, Snapshot
from diffgrid.errors import BadInput, DiffgridError, StoreError
from diffgrid.records.frames import Frames, encode_frames, encode_preview
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing.address import from_query
from diffgrid.spec.path import Path, fork, format_path, minimum, naive, parse_path
from diffgrid.spec.run import RunSpec

pytestmark = pytest.mark.slow

APP = File(__file__).parents[2] / "streamlit_app.py"
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
        assert timeout is not None
        assert timeout <= 0.3, "a page never waits long"
        return self.shown.ended

    def frames(self, path: Path) -> Frames:
        return pictures(self.spec.length)

    def noisy(self, path: Path) -> tuple[bytes, ...]:
        return pictures(self.spec.length).x0

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
class Looked:
    """A study of one grid, which ends when a test says so."""

    tree: OneTree
    snapshot: StudySnapshot = field(default_factory=StudySnapshot)
    cancelled: bool = False

    def finish(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, **{"state": "done", **changes})

    def cancel(self) -> None:
        self.cancelled = True

    def findings(self, trees: int) -> Iterator[tuple[int, Path, Finding]]:
        if self.snapshot.state != "done":
            raise DiffgridError("the tree of seed 7 is no longer in the cache: ask again.")
        for path in self.tree.paths:
            colour = f"colour {path[-1].branch % 2}" if path else "colour 0"
            labels = {"body": colour, "head": "a hat"}
            yield self.tree.spec.seed, path, Finding(labels, labels, b"")


@dataclass
class Stage:
    """An engine that only notes what is asked of it."""

    jobs: list[Played] = field(default_factory=list)
    ahead_of: list[tuple[Path, ...]] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    refuses: DiffgridError | None = None
    seconds: float | None = 1.0  # what it says that anything takes

    def submit(self, spec: RunSpec, paths: Iterable[Path], **more: Any) -> Played:
        if self.refuses:
            raise self.refuses
        self.jobs.append(Played(spec, tuple(paths)))
        return self.jobs[-1]

    def estimate(self, spec: RunSpec, paths: Iterable[Path]) -> Estimate:
        return Estimate(minimum(tuple(paths), spec.length), self.seconds)

    def ahead(self, spec: RunSpec, paths: Iterable[Path], session: str) -> None:
        self.ahead_of.append(tuple(paths))

    def warm(self, spec: RunSpec) -> None:
        pass

    def study(self, engine: Any, tree: OneTree, *, begin: bool = True, **more: Any) -> Looked:
        look = Looked(tree)
        if begin:
            self.looked.append(look)
        return look


@dataclass
class Shown:
    """The grid's component, in so far as a page knows it: what it was sent, and what it sends."""

    data: bytes = b""
    desk: Any = None
    rest_on: Any = None

    def __call__(self, *, data: bytes, on_acts: Any, on_rest: Any, on_lack: Any) -> None:
        (self.desk,) = on_acts.args
        self.rest_on = on_rest
        self.data = data

    @property
    def header(self) -> dict[str, Any]:
        (length,) = struct.unpack_from("<I", self.data)
        header: dict[str, Any] = json.loads(self.data[4 : 4 + length])
        return header

    @property
    def cells(self) -> list[str]:
        return [cell["path"] for row in self.header["rows"] for cell in row["cells"]]


@pytest.fixture(autouse=True)
def _fresh_session() -> Iterator[None]:
    """All of AppTest's sessions go by one name: a desk would outlive its test."""
    yield
    st.cache_resource.clear()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(desk, "engine", lambda: stage)
    monkeypatch.setattr(desk, "begin_study", stage.study)
    monkeypatch.setattr(desk, "HEAD_START", 0)
    # AppTest takes a `pages` folder for an app of the old kind, and leaves the entry point out.
    pages = SimpleNamespace(uses_pages_directory=False)
    monkeypatch.setattr("streamlit.runtime.scriptrunner.script_runner.PagesManager", pages)
    return stage


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    monkeypatch.setattr(grid, "board", shown)
    return shown


@pytest.fixture
def page(stage: Stage, shown: Shown) -> AppTest:
    """The page, just opened, and the form's folded parts with it."""
    page = AppTest.from_file(str(APP), default_timeout=30)
    page.session_state["lab"] = page.session_state["words"] = True
    return whole(page.run())


def test_what_is_folded_is_not_drawn(stage: Stage, shown: Shown) -> None:
    page = whole(AppTest.from_file(str(APP), default_timeout=30).run())
    assert not {"Model", "Steps", "body"} & labels(page)
    page.session_state["lab"] = True
    whole(page.run())
    assert {"Model", "Steps"} <= labels(page)
    assert "body" not in labels(page)


def whole(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].message
    return page


def touch(page: AppTest, shown: Shown, **what: Any) -> AppTest:
    """What the browser sends when the grid is touched."""
    act(shown.desk, what)
    return whole(page.run())


def choose(page: AppTest, label: str, value: Any) -> AppTest:
    kinds = (page.number_input, page.text_input, page.selectbox, page.slider)
    (widget,) = [each for kind in kinds for each in kind if each.label == label]
    return whole(widget.set_value(value).run())


def press(page: AppTest, label: str) -> AppTest:
    return whole(next(b for b in page.button if label in (b.label, b.icon)).click().run())


def test_opening_the_page_asks_for_the_models_own_grid(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    (job,) = stage.jobs
    assert (job.spec.seed, job.spec.num_inference_steps) == (7, 25)
    assert job.paths[0] == ()
    assert len(job.paths) == 1 + 4 * 4
    assert [title.value for title in page.title] == ["Branching grid"]
    assert shown.cells == [format_path(fork((), k, j)) for k in (1, 5, 10, 16) for j in range(4)]
    assert not page.query_params


def test_a_change_applies_at_once_and_ends_what_was_under_way(page: AppTest, stage: Stage) -> None:
    choose(page, "Prompt", "a red monster")
    choose(page, "Steps", 6)
    choose(page, "Columns", 2)
    choose(page, "Guidance", 1.5)
    choose(page, "Scheduler", "euler")
    assert [job.cancelled for job in stage.jobs] == [True] * 5 + [False]
    spec = stage.jobs[-1].spec
    assert (spec.prompt, spec.length, spec.guidance_scale) == ("a red monster", 6, 1.5)
    assert (spec.scheduler, spec.eta) == ("EulerDiscreteScheduler", None)
    assert max(path[0].branch for path in stage.jobs[-1].paths if path) == 1
    assert page.query_params["scheduler"] == "euler"


def test_naming_the_models_own_scheduler_is_the_same_run(page: AppTest, stage: Stage) -> None:
    choose(page, "Scheduler", "ddim")
    assert len(stage.jobs) == 1


def test_the_form_works_on_the_view_that_the_grid_has_made_since(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    act(shown.desk, {"do": "reroll_cell", "step": 5, "branch": 1})  # the form is not drawn again
    choose(page, "Seed", 8)
    assert (5, (0, 4, 2, 3)) in shown.desk.view.rows
    assert stage.jobs[-1].spec.seed == 8


def test_a_public_server_keeps_nothing_for_strangers(
    page: AppTest, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    touch(page, shown, do="star", path="5.2")
    assert "keeps nothing" in page.error[0].value


def test_a_page_that_is_come_to_without_a_query_keeps_the_view(shown: Shown, page: AppTest) -> None:
    mine = shown.desk
    mine.go(mine.view.with_options(seed=8).follow(parse_path("5.2")))
    for name in ("strip", "", "compare", ""):
        mine.heed(name, {})
        assert (mine.view.seed, mine.view.path) == (8, parse_path("5.2"))


def test_the_dice_give_another_seed_and_sample_at_once(page: AppTest, stage: Stage) -> None:
    seeds = {stage.jobs[-1].spec.seed}
    for _ in range(3):
        press(page, ":material/casino:")
        seeds.add(stage.jobs[-1].spec.seed)
    assert len(seeds) > 1
    (box,) = [each for each in page.number_input if each.label == "Seed"]
    assert box.value == stage.jobs[-1].spec.seed


def test_what_takes_long_waits_for_a_word(page: AppTest, stage: Stage) -> None:
    stage.seconds = 90
    choose(page, "Steps", 50)
    assert len(stage.jobs) == 1
    assert any("about **90 s**" in text.value for text in page.markdown)
    press(page, "Sample")
    assert stage.jobs[-1].spec.length == 50
    assert stage.jobs[0].cancelled
    assert not any(b.label == "Sample" for b in page.button)


def test_a_link_to_what_takes_long_shows_blanks_and_waits(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.jobs[0].finish()
    whole(page.run())
    stage.seconds = 90
    page.query_params["steps"] = "50"
    whole(page.run())
    assert len(stage.jobs) == 1
    assert shown.desk.view.steps == 50
    assert shown.header["lengths"] == []
    press(page, "Sample")
    assert stage.jobs[-1].spec.length == 50


def test_no_more_evaluations_than_the_first_grid_has_are_made_unasked(
    page: AppTest, stage: Stage
) -> None:
    stage.seconds = 90
    choose(page, "Prompt", "a red monster")
    assert stage.jobs[-1].spec.prompt == "a red monster"


def test_a_smaller_grid_is_offered_instead(page: AppTest, stage: Stage) -> None:
    stage.seconds = 90
    choose(page, "Steps", 100)
    (label,) = [b.label for b in page.button if b.label.startswith("Smaller")]
    press(page, label)
    spec, paths = stage.jobs[-1].spec, stage.jobs[-1].paths
    assert minimum(paths, spec.length) < minimum(stage.jobs[0].paths, 25)
    assert f"{spec.length} steps" in label


def test_a_click_makes_the_cell_the_trunk_and_leaves_an_address(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    touch(page, shown, do="follow", path="5.2")
    assert stage.jobs[-1].paths[0] == parse_path("5.2")
    assert shown.cells[4:8] == ["5.0", "5.1", "trunk", "5.3"]
    assert shown.cells[:4] == ["1.0", "1.1", "1.2", "1.3"]
    assert shown.header["crumbs"] == ["trunk", "5.2"]
    assert page.query_params["path"] == "5.2"


def test_undo_and_redo_go_through_every_view(page: AppTest, shown: Shown) -> None:
    touch(page, shown, do="follow", path="5.2")
    choose(page, "Seed", 8)
    for do, seed, path in [
        ("undo", 7, "5.2"),
        ("undo", 7, "trunk"),
        ("redo", 7, "5.2"),
        ("redo", 8, "trunk"),
    ]:
        touch(page, shown, do=do)
        assert (shown.desk.view.seed, shown.header["path"]) == (seed, path)
        assert next(b.value for b in page.number_input if b.label == "Seed") == seed
    assert (shown.header["can_undo"], shown.header["can_redo"]) == (True, False)


def test_rows_columns_and_rerolls_change_only_what_they_name(page: AppTest, shown: Shown) -> None:
    touch(page, shown, do="reroll_cell", step=5, branch=1)
    touch(page, shown, do="add_row", step=12)
    touch(page, shown, do="add_column")
    touch(page, shown, do="drop_row", step=1)
    rows = {row["step"]: [cell["branch"] for cell in row["cells"]] for row in shown.header["rows"]}
    assert rows == {
        5: [0, 4, 2, 3, 5],
        10: [0, 1, 2, 3, 4],
        12: [0, 1, 2, 3, 4],
        16: [0, 1, 2, 3, 4],
    }
    assert next(b.value for b in page.number_input if b.label == "Columns") == 5


def test_a_resting_pointer_has_the_next_grid_sampled_ahead(
    page: AppTest, stage: Stage, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rest(path: str) -> None:
        board = SimpleNamespace(rest={"path": path, "at": 0})
        monkeypatch.setattr(st, "session_state", {"board": board})
        shown.rest_on()

    rest("5.2")
    assert not stage.ahead_of  # first what was asked for
    stage.jobs[0].finish()
    rest("5.2")
    assert stage.ahead_of[-1][0] == parse_path("5.2")
    stage.seconds = 90
    for path in ("5.3", "no path"):
        rest(path)
    assert len(stage.ahead_of) == 1
    assert len(stage.jobs) == 1


@pytest.mark.parametrize(
    "what",
    [
        {"do": "follow", "path": "24.0"},
        {"do": "follow", "path": 7},
        {"do": "reroll_cell", "step": "x", "branch": []},
        {"do": "follow"},
        {"do": "add_row", "step": 10**9},
        {"do": "star", "path": "5.2"},
    ],
)
def test_a_touch_that_cannot_be_is_told_and_nothing_is_lost(
    page: AppTest, stage: Stage, shown: Shown, what: dict[str, Any]
) -> None:
    before = shown.desk.view
    touch(page, shown, **what)
    assert shown.desk.view == before
    touch(page, shown, do="unheard of")
    assert len(stage.jobs) == 1


def test_an_address_opens_its_view(stage: Stage, shown: Shown) -> None:
    app = AppTest.from_file(str(APP), default_timeout=30)
    app.query_params.update({"seed": "9", "rows": "1,5:0.7", "columns": "2", "path": "5.7"})
    page = whole(app.run())
    assert len(stage.jobs) == 1
    assert stage.jobs[0].spec.seed == 9
    assert shown.cells == ["1.0", "1.1", "5.0", "trunk"]
    assert next(b.value for b in page.number_input if b.label == "Seed") == 9


def test_a_hostile_address_is_one_sentence_above_the_default_grid(
    stage: Stage, shown: Shown
) -> None:
    app = AppTest.from_file(str(APP), default_timeout=30)
    app.query_params.update({"rows": "[click](https://example.org)"})
    page = whole(app.run())
    assert "are not allowed" in page.error[0].value
    assert "\\[click\\]" in page.error[0].value
    assert stage.jobs[0].spec.seed == 7


def test_a_running_job_shows_its_newest_frames_and_how_far_it_is(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    (job,) = stage.jobs
    assert shown.header["lengths"] == []
    job.play(PREVIEW, state="sampling", sampled=96, to_sample=269, reused=12, seconds_left=3.2)
    whole(page.run())
    assert shown.header["status"] == "96 of 269 evaluations, 12 reused, 3 s left"
    assert shown.header["running"]
    assert shown.data.endswith(PREVIEW)


def test_cancel_stops_the_job_and_resample_goes_on(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    touch(page, shown, do="cancel")
    (job,) = stage.jobs
    assert job.cancelled
    job.play(PREVIEW, state="cancelled")
    whole(page.run())
    assert shown.header["stopped"]
    touch(page, shown, do="resample")
    assert stage.jobs[1].paths == job.paths


def test_a_finished_grid_is_drawn_from_the_stored_bytes(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.jobs[0].finish()
    whole(page.run())
    assert pictures(25).final in shown.data
    assert len(shown.header["levels"]) == 25
    assert "281 evaluations · 144 saved" in shown.header["cost"]


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How often the grid looks again, by each run of the whole page."""
    polls: list[float | None] = []
    fragment = st.fragment

    def noted(show: Any, *, run_every: float | None = None) -> Any:
        polls.append(run_every)
        return fragment(show)

    monkeypatch.setattr(st, "fragment", noted)
    return polls


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first paint is over as soon as the page is there."""

    class Now(threading.Timer):
        def start(self) -> None:
            self.function(*self.args)

    monkeypatch.setattr(threading, "Timer", Now)


def seen(shown: Shown) -> list[dict[str, Any]]:
    return [each for row in shown.header["rows"] for each in row["seen"]]


@pytest.mark.usefixtures("painted")
def test_labels_are_waited_for_and_then_no_longer(
    polls: list[float | None], page: AppTest, stage: Stage, shown: Shown
) -> None:
    assert not stage.looked, "a job runs"
    stage.jobs[0].finish()
    whole(page.run())
    (look,) = stage.looked
    assert look.tree.grid == shown.desk.grid
    assert not seen(shown)
    assert shown.header["labelling"]  # the browser asks again; the page does not
    assert polls[-1] is None
    look.finish()
    whole(page.run())
    assert not shown.header["labelling"]
    assert len(stage.looked) == 1
    body, head = shown.header["rows"][0]["seen"]
    assert body == {
        "factor": "body",
        "fixed": False,
        "values": [["colour 0", 3], ["colour 1", 2]],
    }
    assert head == {"factor": "head", "fixed": True, "values": [["a hat", 5]]}


def test_nothing_is_looked_at_before_the_first_paint_is_over(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.jobs[0].finish()
    whole(page.run())
    assert not stage.looked
    assert shown.header["labelling"]


@pytest.mark.usefixtures("painted")
def test_another_view_forgets_the_labels(page: AppTest, stage: Stage, shown: Shown) -> None:
    stage.jobs[0].finish()
    whole(page.run())
    stage.looked[0].finish()
    whole(page.run())
    assert seen(shown)
    touch(page, shown, do="follow", path="5.2")
    assert not seen(shown)
    assert stage.looked[0].cancelled
    stage.jobs[1].finish()
    whole(page.run())
    assert stage.looked[1].tree.grid.path == parse_path("5.2")


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_probe_that_fails_shows_nothing(
    state: str, page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.jobs[0].finish()
    whole(page.run())
    stage.looked[0].finish(state=state, error=DiffgridError("out of memory"))
    whole(page.run())
    assert not shown.header["labelling"]
    assert not seen(shown)
    assert not page.error


@pytest.mark.parametrize(
    ("touched", "renewed"),
    [
        ({"do": "follow", "path": "5.2"}, False),
        ({"do": "reroll_row", "step": 5}, False),
        ({"do": "drop_column"}, True),
        ({"do": "drop_row", "step": 5}, True),
    ],
    ids=lambda each: each["do"] if isinstance(each, dict) else "",
)
def test_undo_renews_the_form_only_where_it_shows_something_else(
    page: AppTest, shown: Shown, touched: dict[str, Any], renewed: bool
) -> None:
    touch(page, shown, **touched)
    before = shown.desk.generation
    touch(page, shown, do="undo")
    assert (shown.desk.generation != before) == renewed


def shown_steps(page: AppTest) -> int:
    (steps,) = [each.value for each in page.number_input if each.label == "Steps"]
    assert steps is not None
    return int(steps)


def test_a_touch_takes_back_what_the_form_offered_in_vain(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.seconds = 90
    choose(page, "Steps", 50)
    touch(page, shown, do="follow", path="5.2")
    assert shown_steps(page) == shown.desk.view.steps == 25
    touch(page, shown, do="undo")
    assert shown_steps(page) == 25


def test_undo_takes_back_what_the_form_refused(page: AppTest, shown: Shown) -> None:
    touch(page, shown, do="follow", path="5.2")
    choose(page, "Prompt", 12_000 * "x")
    assert page.error
    touch(page, shown, do="undo")
    (prompt,) = [each.value for each in page.text_input if each.label == "Prompt"]
    assert prompt == shown.desk.view.prompt


def test_what_is_not_allowed_is_said_and_the_grid_stays(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    choose(page, "Scheduler", "lcm")
    choose(page, "Steps", 60)
    assert "steps 60" in page.error[0].value
    assert next(b.value for b in page.number_input if b.label == "Steps") == 60
    assert shown.desk.view.steps == 25
    assert len(stage.jobs) == 2


def test_a_job_that_fails_says_why_in_its_own_words(page: AppTest, stage: Stage) -> None:
    stage.jobs[0].play(state="failed", error=BadInput("steps 60 is not allowed with [lcm](x): …"))
    whole(page.run())
    (error,) = page.error
    assert "\\[lcm\\]\\(x\\)" in error.value  # shown as it is: no link


def test_a_cache_that_cannot_be_used_is_one_sentence(page: AppTest, stage: Stage) -> None:
    stage.refuses = StoreError("cache directory /nowhere cannot be used: make it writable.")
    choose(page, "Steps", 5)
    assert "cannot be used" in page.error[0].value
    assert not stage.jobs[0].cancelled


def test_a_warning_of_the_job_is_shown(page: AppTest, stage: Stage) -> None:
    stage.jobs[0].play(state="sampling", warning="the cache is full")
    whole(page.run())
    assert page.warning[0].value == "the cache is full"


def test_words_the_model_does_not_know_are_marked(page: AppTest) -> None:
    assert not any("does not know" in caption.value for caption in page.caption)
    choose(page, "Prompt", "a green dragon")
    captions = " ".join(caption.value for caption in page.caption)
    assert "red-background[dragon]" in captions
    assert "it knows 45 words" in captions


def test_a_prompt_is_put_together_of_words(page: AppTest, stage: Stage) -> None:
    choose(page, "body", "green")
    choose(page, "head", "leave to chance")
    assert stage.jobs[-1].spec.prompt == "a green monster on a blue background"


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.title)
def test_every_experiment_leads_to_a_grid_that_can_be(experiment: Any) -> None:
    for changes in experiment.links.values():
        assert link(changes)
        assert from_query(link(changes)).grid().rows


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (Snapshot(), "Waiting for its turn"),
        (Snapshot(state="loading"), f"Loading monsters, {weight('monsters')} …"),
        (Snapshot(state="sampling", to_sample=9), "0 of 9 evaluations"),
    ],
)
def test_progress_in_words(snapshot: Snapshot, words: str) -> None:
    assert progress(snapshot, "monsters") == words


def test_cost_in_words() -> None:
    reused = Snapshot(minimum=20, naive=30, reused=12, to_sample=8, sampled=8, seconds=1)
    assert cost(reused) == "20 evaluations, 12 reused · 10 saved by shared beginnings · 1.0 s"
    stored = replace(reused, reused=20, to_sample=0, sampled=0)
    assert cost(stored).startswith("20 evaluations, all reused")


def test_plain_text_is_markdown_of_itself() -> None:
    assert plain("a *b* :red[c]\n$x$") == r"a \*b\* \:red\[c\] \$x\$"


# --- forks of other kinds, and models of one's own ------------------------------------------------


def labels(page: AppTest) -> set[str]:
    kinds = (page.number_input, page.text_input, page.selectbox, page.slider, page.radio)
    return {each.label for kind in kinds for each in kind}


def options(page: AppTest, label: str) -> list[str]:
    return next(box for box in page.selectbox if box.label == label).options


def test_re_noise_is_chosen_and_explained_in_the_form(page: AppTest, stage: Stage) -> None:
    whole(page.radio[0].set_value("Re-noise").run())
    assert {fork.back for path in stage.jobs[-1].paths for fork in path} == {5}
    assert page.query_params["fork"] == "renoise:5"
    assert any("5 steps back" in caption.value for caption in page.caption)
    choose(page, "Steps back", 2)
    assert {fork.back for path in stage.jobs[-1].paths for fork in path} == {2}
    whole(page.radio[0].set_value("Fresh noise").run())
    assert "Steps back" not in labels(page)
    assert {fork.back for path in stage.jobs[-1].paths for fork in path} == {0}


def test_two_stage_schedulers_go_back_by_whole_steps(page: AppTest, shown: Shown) -> None:
    choose(page, "Scheduler", "heun")
    assert shown.header["length"] == 49
    assert all(step % 2 == 0 for step in shown.header["row_steps"])
    whole(page.radio[0].set_value("Re-noise").run())
    (back,) = [each for each in page.number_input if each.label == "Steps back"]
    assert (back.min, back.step) == (2, 2)
    assert back.value in (2, 4, 6, 8, 10, 12)


def test_a_change_makes_another_trunk_that_can_be_undone(
    page: AppTest, stage: Stage, shown: Shown
) -> None:
    touch(page, shown, do="change", step=8, prompt="a red monster", guidance=3)
    path = stage.jobs[-1].paths[0]
    assert path == parse_path("8:prompt=a+red+monster")
    assert shown.header["words"][shown.header["path"]] == "from step 8: “a red monster”"
    assert shown.header["change"]["prompt"] == "a red monster"
    assert shown.cells[:5] == ["1.0", "1.1", "1.2", "1.3", "5.0"]
    assert shown.cells[8] == "8:prompt=a+red+monster/10.0"
    assert from_query(dict(page.query_params)).path == path
    touch(page, shown, do="undo")
    assert shown.header["path"] == "trunk"


def test_a_change_of_nothing_is_one_sentence(page: AppTest, stage: Stage, shown: Shown) -> None:
    same = shown.header["change"]
    touch(page, shown, do="change", step=8, prompt=same["prompt"], guidance=same["guidance"])
    assert "nothing changes at step 8" in page.error[0].value
    assert len(stage.jobs) == 1


def test_a_form_that_is_gone_changes_nothing(page: AppTest, stage: Stage, shown: Shown) -> None:
    """A browser that has not drawn the new form yet may send the one before once more."""
    gone = page._tree.get_widget_states()
    for button in [each for each in gone.widgets if each.HasField("trigger_value")]:
        gone.widgets.remove(button)  # a browser sends those that were pressed
    press(page, ":material/casino:")
    before = shown.desk.view
    whole(page._run(gone))
    assert shown.desk.view == before


@pytest.fixture(scope="module")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> File:
    """A folder of models with random weights, of three families."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("models")
    tiny.save(folder / "faces", family="ddpm")
    tiny.save(folder / "quick", family="latent_consistency")
    tiny.save(folder / "flows", family="stable_diffusion_3")
    return folder


@pytest.fixture
def with_models(own_models: File, page: AppTest, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DIFFGRID_MODELS", str(own_models))
    return whole(page.run())


@pytest.mark.parametrize(
    ("model", "lacking"),
    [
        ("faces", {"Prompt", "Guidance", "Negative prompt"}),
        ("quick", {"Negative prompt"}),
        ("flows", set()),
    ],
)
def test_the_form_has_the_fields_that_the_model_heeds(
    with_models: AppTest, model: str, lacking: set[str]
) -> None:
    choose(with_models, "Model", model)
    assert {"Prompt", "Guidance", "Negative prompt"} - labels(with_models) == lacking
    assert "body" not in labels(with_models)  # the bundled model's words to pick


def test_only_schedulers_that_go_with_the_model_are_offered(with_models: AppTest) -> None:
    assert "flow_match_euler" not in options(with_models, "Scheduler")
    choose(with_models, "Model", "quick")
    assert options(with_models, "Scheduler") == ["lcm"]
    choose(with_models, "Model", "flows")
    assert options(with_models, "Scheduler") == ["flow_match_euler", "flow_match_heun"]


def test_another_model_begins_with_its_own_settings_and_waits_for_a_word(
    with_models: AppTest, stage: Stage, shown: Shown
) -> None:
    choose(with_models, "Prompt", "a red monster")
    choose(with_models, "Seed", 11)
    jobs, stage.seconds = len(stage.jobs), None
    choose(with_models, "Model", "quick")
    assert len(stage.jobs) == jobs
    (offer,) = [text.value for text in with_models.markdown if "evaluations" in text.value]
    assert "**quick**" in offer
    assert "nothing was timed" in offer
    (smaller,) = [b.label for b in with_models.button if b.label.startswith("Smaller")]
    press(with_models, smaller)
    spec = stage.jobs[-1].spec
    assert (spec.model, spec.prompt, spec.seed, spec.guidance_scale) == ("quick", "", 11, 8.5)
    assert minimum(stage.jobs[-1].paths, spec.length) <= desk.FEW


@pytest.fixture
def moving(
    tmp_path: File, own_models: File, page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> File:
    """Models of one's own that a test can take away again."""
    shutil.copytree(own_models, tmp_path / "models")
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path / "models"))
    whole(page.run())
    return tmp_path / "models"


def test_a_model_that_goes_away_while_it_is_on_view_is_one_sentence_and_a_way_on(
    moving: File, page: AppTest, stage: Stage, shown: Shown
) -> None:
    choose(page, "Model", "faces")
    shutil.rmtree(moving / "faces")
    (seed,) = [each for each in page.number_input if each.label == "Seed"]
    whole(seed.set_value(8).run())
    (error,) = page.error
    assert "is not known" in error.value
    press(page, "Go on with the model in the box")
    assert shown.desk.view.model == "monsters"
    assert stage.jobs[-1].spec.model == "monsters"
    touch(page, shown, do="undo")
    assert "is not known" in page.error[0].value
    assert shown.desk.view.model == "monsters"


def test_a_model_that_goes_away_while_it_is_offered_is_one_sentence_and_a_way_on(
    moving: File, page: AppTest, stage: Stage, shown: Shown
) -> None:
    stage.seconds = None
    choose(page, "Model", "quick")
    shutil.rmtree(moving / "quick")
    whole(page.run())
    assert page.error
    press(page, "Go on with the model in the box")
    assert not page.error
    assert shown.desk.form.model == "monsters"


def test_a_model_without_a_prompt_has_none_to_change(
    with_models: AppTest, stage: Stage, shown: Shown
) -> None:
    choose(with_models, "Model", "faces")
    assert shown.header["change"] is None
    touch(with_models, shown, do="change", step=8, prompt="a cat", guidance=3)
    assert "has no prompt" in with_models.error[0].value
