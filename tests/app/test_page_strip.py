"""The strip page: what its component is sent, and what the page does with paths and troubles."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from diffgrid.api import Trajectory
from diffgrid.app.components.strip import strip
from diffgrid.app.session.actions import act
from diffgrid.app.session.session import Session
from diffgrid.app.state import session
from diffgrid.engine.local import LocalEngine
from diffgrid.models.registry import specify
from diffgrid.records.frames import DIGESTS, FRAMES, NOISY_DIGESTS, Decoding, pack_pictures
from diffgrid.records.trajectories import Trajectory as Arrays
from diffgrid.sharing.address import from_query
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import format_path, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny
from tests.app.driver import alive, app, header, press, run
from tests.fakes import pictures

STEPS = 6
ADDRESS = {"steps": str(STEPS), "seed": "7", "rows": "1,3", "columns": "2"}


def made(spec: RunSpec, path: str = "trunk", scale: float = 1.0) -> Trajectory:
    """A made-up trajectory; `scale` is that of its x_t."""
    steps = spec.length
    alpha_bar = np.append(np.linspace(0.01, 0.9, steps), 1.0)
    noise = np.random.default_rng(steps).standard_normal((2, steps + 1, 3, 4, 5))
    return Trajectory(
        spec=spec,
        path=parse_path(path),
        latents=(scale * noise[0]).astype(np.float32),
        model_outputs=noise[1, 1:].astype(np.float32),
        timesteps=np.linspace(999, 0, steps),
        alphas=scale * np.sqrt(alpha_bar),
        sigmas=scale * np.sqrt(1 - alpha_bar),
        prediction_type="sample",
        frames=pictures(steps),
    )


def touch(acts: list[dict[str, Any]]) -> None:
    """What the browser would send."""
    for what in acts:
        act(session(), what)


def weights(png: bytes) -> np.ndarray[Any, Any]:
    """The colours' strength in a map, 0 … 255."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3]


@pytest.fixture
def finished() -> Trajectory:
    return made(specify(steps=STEPS), "1.0/3.2")


# --- what the component is sent -------------------------------------------------------------------


def test_every_lane_has_a_picture_for_each_state(finished: Trajectory) -> None:
    told = header(strip.message(finished, pictures(STEPS).x0))
    assert {lane: len(cells) for lane, cells in told["lanes"].items()} == dict.fromkeys(
        ("latents", "noisy", "x0", "change"), STEPS + 1
    )
    assert [lane for lane, cells in told["lanes"].items() if None in cells] == ["change"]
    assert told["lanes"]["noisy"][-1] == told["lanes"]["x0"][-1]
    assert len(told["timesteps"]) == STEPS
    assert len(told["distance"]) == len(told["moved"]) == len(told["logSnr"]) == STEPS + 1


def test_the_noisy_lane_waits_until_it_is_there(finished: Trajectory) -> None:
    told = header(strip.message(finished, None, waiting=True))
    assert told["lanes"]["noisy"][:-1] == [None] * STEPS
    assert told["waiting"]
    assert not header(strip.message(finished, pictures(STEPS).x0, waiting=True))["waiting"]


@pytest.mark.parametrize(
    ("way", "lanes"), [("vae", []), ("linear", ["x0", "noisy"]), ("exact", ["noisy"])]
)
def test_lanes_of_approximate_pictures_are_told(
    finished: Trajectory, way: str, lanes: list[str]
) -> None:
    frames = replace(finished.frames, decoding=Decoding(way))
    assert header(strip.message(replace(finished, frames=frames), None))["previews"] == lanes


def test_the_parents_part_is_told_from_its_own() -> None:
    assert strip.parts(parse_path("1.0/3.2"), STEPS) == [
        {"owner": "trunk", "first": 0, "last": 1, "own": False},
        {"owner": "1.0", "first": 2, "last": 3, "own": False},
        {"owner": "1.0/3.2", "first": 4, "last": 6, "own": True},
    ]
    assert strip.parts((), STEPS) == [{"owner": "trunk", "first": 0, "last": 6, "own": True}]


def test_a_change_has_an_x0_of_its_own_at_its_step_and_re_noise_before_it() -> None:
    changed = strip.parts(parse_path("2:guidance=3/4.0-1"), STEPS)
    assert [(part["owner"], part["first"], part["last"]) for part in changed] == [
        ("trunk", 0, 1),
        ("2: …", 2, 2),
        ("2: …/4.0-1", 3, 6),
    ]


def test_distance_and_moves_are_rms_per_element() -> None:
    x0 = np.stack([np.full((2, 3, 3), value, np.float32) for value in (4, 1, 2)])
    final = np.full((2, 3, 3), 2, np.float32)
    assert strip.distances(x0, final).tolist() == [2, 1, 0]
    assert strip.moves(x0, final) == [None, 3, 1, 0]


def test_heat_shows_where_it_changed_and_nothing_before_the_first_step() -> None:
    x0 = np.zeros((3, 2, 8, 8), np.float32)
    x0[1:, :, 2, 5] = 1
    before, changed, same, _ = strip.heat_maps(x0, x0[-1])
    assert before is None
    assert changed is not None
    assert same is not None
    assert np.argwhere(weights(changed)).tolist() == [[2, 5]]
    assert not weights(same).any()


def test_latent_maps_have_one_scale_whatever_coordinates_the_scheduler_keeps(
    finished: Trajectory,
) -> None:
    maps = strip.latent_maps(finished)
    assert maps == strip.latent_maps(made(finished.spec, scale=8.0))
    # 3 channels of 4 x 5 in a square of 2 x 2, a gap of 1 between them; the fourth place is empty.
    first = weights(maps[0])
    assert first.shape == (9, 11)
    assert not first[5:, 6:].any()
    assert not first[4].any()


def test_large_latents_are_averaged_down() -> None:
    x0 = np.random.default_rng(0).standard_normal((2, 1, 300, 200)).astype(np.float32)
    heat = strip.heat_maps(x0, x0[-1])[1]
    assert heat is not None
    assert max(weights(heat).shape) <= strip.LARGEST_MAP


def test_infinite_noise_levels_are_left_open(finished: Trajectory) -> None:
    assert header(strip.message(finished, None))["logSnr"][-1] is None


def test_what_is_not_stored_has_no_thumbnail(grid: Grid, cache_directory: File) -> None:
    store = TrajectoryStore(cache_directory)
    store.remove(key(grid.spec, parse_path("3.0")))
    groups = strip.thumbnails(store, grid)
    assert [len(group) for group in groups] == [1, 2, 2]
    lacking = [path for group in groups for path, picture in group.items() if picture is None]
    assert lacking == [parse_path("3.0")]
    store.close()


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def grid(cache_directory: File) -> Iterator[Grid]:
    """A grid that is stored whole, x_t's pictures too: no model is needed."""
    grid = from_query(ADDRESS).grid()
    store = TrajectoryStore(cache_directory)
    for path in (*grid.paths, *from_query({**ADDRESS, "path": "1.0"}).grid().paths):
        whole = made(grid.spec, format_path(path))
        store.add(Arrays(**{name: getattr(whole, name) for name in Arrays.__dataclass_fields__}))
        store.add_frames(whole.key, FRAMES, *whole.frames.to_payload())
        store.add_frames(whole.key, NOISY_DIGESTS["vae"], *pack_pictures(whole.frames.x0))
    yield grid
    store.close()


def page(**address: str) -> AppTest:
    return run(app("strip", **{**ADDRESS, **address}))


def shown(page: AppTest) -> dict[str, Any]:
    """What the component was sent."""
    (component,) = page.get("bidi_component")
    return header(component.proto.bytes)


def test_a_stored_run_is_shown_at_once_and_whole(grid: Grid) -> None:
    opened = page()
    assert [title.value for title in opened.title] == ["Trajectory strip"]
    told = shown(opened)
    assert told["path"] == "trunk"
    assert None not in told["lanes"]["noisy"]
    assert not told["waiting"]
    assert told["rows"] == [1, 3]
    assert [button.proto.label for button in opened.get("download_button")] == [
        "Strip",
        "GIF",
        "WebP",
    ]


def test_a_page_that_everybody_has_left_holds_no_trajectory(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its callbacks and fragments are kept for minutes, and with them what it names."""
    visitors, before = [], len(alive(Arrays))
    with monkeypatch.context() as patch:
        patch.setattr(strip, "show_strip", lambda data, on_acts: visitors.append(session()))
        opened = page()
    assert opened.get("download_button")
    visitors[0].close()
    assert len(alive(Arrays)) == before


def test_the_address_names_the_path(grid: Grid) -> None:
    opened = page(path="1.0")
    assert shown(opened)["path"] == "1.0"
    assert opened.query_params["path"] == "1.0"


def test_the_grids_other_trajectories_can_be_picked(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = page()
    thumbnails = {each["path"]: each["picture"] for each in shown(opened)["thumbnails"]}
    assert [*thumbnails] == ["trunk", "1.0", "1.1", "3.0", "3.1"]
    assert None not in thumbnails.values()
    picks = iter([[{"do": "pick", "path": "1.0"}]])
    with monkeypatch.context() as patch:
        patch.setattr(strip, "show_strip", lambda data, on_acts: touch(next(picks, [])))
        opened.run()
    run(opened)
    assert shown(opened)["path"] == "1.0"
    assert [each["path"] for each in shown(opened)["thumbnails"]] == [*thumbnails]  # the same grid
    assert opened.query_params["path"] == "1.0"


def test_a_trajectory_goes_on_under_another_prompt(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = page(path="1.0")
    assert shown(opened)["change"]["prompt"] == grid.spec.prompt
    acts = iter([[{"do": "change", "path": "1.0", "step": 9, "prompt": "a hat", "guidance": 3.0}]])
    with monkeypatch.context() as patch:
        patch.setattr(strip, "show_strip", lambda data, on_acts: touch(next(acts, [])))
        opened.run()
    run(opened)
    assert "too late" in opened.error[0].value
    assert shown(opened)["path"] == "1.0"


def test_what_cannot_be_is_one_sentence_and_the_last_view_stays(grid: Grid) -> None:
    opened = page(path="5.0")
    assert "too late" in opened.error[0].value
    assert shown(opened)["path"] == "trunk"


def test_a_cache_that_cannot_be_named_is_one_sentence_and_a_way_on(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", "~nobody-of-this-name/cache")
    opened = page()
    assert opened.error
    assert not opened.get("bidi_component")


# --- previews, and the one control that has them decoded exactly ----------------------------------


PREVIEWED = {"model": "heavy", "steps": "3", "seed": "7", "rows": "", "columns": "1"}


@pytest.fixture
def previewed(
    cache_directory: File, tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], AppTest]:
    """The strip of a stored run whose full VAE is said to take so many seconds a picture."""
    tiny.heavy().save_pretrained(tmp_path / "heavy")
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path))
    monkeypatch.setenv("DIFFGRID_DEVICE", "cpu")

    def opened(seconds: float) -> AppTest:
        spec, store = from_query(PREVIEWED).grid().spec, TrajectoryStore(cache_directory)
        job = LocalEngine(store, "cpu").submit(spec, [()], noisy=True)
        assert job.wait(60)
        frames = replace(job.frames(()), decoding=Decoding("linear", 12.3, seconds))
        store._runs.delete(f"{key(spec, ())}/frames/{DIGESTS['linear']}")
        store.add_frames(key(spec, ()), DIGESTS["linear"], *frames.to_payload())
        store.close()
        return run(app("strip", **PREVIEWED))

    return opened


def said(page: AppTest) -> list[str]:
    return [caption.value for caption in page.caption]


@pytest.mark.slow
def test_previews_are_decoded_exactly_when_somebody_asks(
    previewed: Callable[[float], AppTest],
) -> None:
    opened = previewed(100.0)
    assert shown(opened)["previews"] == ["x0", "noisy"]
    assert "x̂0 pictures are previews, about 12 of 255 off (RMS on samples)." in said(opened)
    mine: Session = opened.session_state["_mine"]
    assert mine.one_run.exact is None
    press(opened, "Decode exactly, about 5 min")
    assert mine.one_run.exact
    assert mine.one_run.exact.wait(60)
    run(opened)
    assert shown(opened)["previews"] == ["noisy"]
    assert "x̂0 pictures are exact: the model's full VAE decoded them." in said(opened)
    assert not [button for button in opened.button if "exactly" in button.label]
    st.cache_resource.clear()
    again = run(app("strip", **PREVIEWED))  # a second visitor, at once
    assert shown(again)["previews"] == ["noisy"]
    assert again.session_state["_mine"].one_run.exact is None


@pytest.mark.slow
def test_previews_are_decoded_unasked_where_that_is_quick(
    previewed: Callable[[float], AppTest],
) -> None:
    opened = previewed(0.1)
    assert opened.session_state["_mine"].one_run.exact.wait(60)
    run(opened)
    assert shown(opened)["previews"] == ["noisy"]
