"""A journey as a film."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageSequence

from diffgrid.app.replay import FRAME_MS, replay
from diffgrid.app.session.actions import act
from diffgrid.app.session.session import Session
from diffgrid.errors import BadInput
from diffgrid.pictures.animations import to_gif, to_webp
from diffgrid.records.frames import DIGESTS
from diffgrid.sharing.recipe import read
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore
from tests.app.driver import run
from tests.fakes import FakeEngine, pictures, trajectory
from tests.store.made import store_in_memory

DEFAULT = View.default()
FOLLOWED = DEFAULT.follow(parse_path("5.2"))
OTHER = DEFAULT.with_options(seed=8)
LAST = FOLLOWED.follow(parse_path("5.2/10.1"))


def add(store: TrajectoryStore, view: View, grey: int) -> str:
    """Store the trajectory in its focus, of this grey."""
    name, frames = key(view.spec, view.path), pictures(view.spec.length, grey)
    store.add(trajectory(view.spec, view.path))
    store.add_frames(name, DIGESTS[frames.decoding.way], *frames.to_payload())
    return name


@pytest.fixture
def store() -> TrajectoryStore:
    made = store_in_memory()
    for grey, view in enumerate((DEFAULT, FOLLOWED, LAST)):
        add(made, view, 10 * grey)
    return made


@pytest.mark.parametrize("film", [to_gif, to_webp])
def test_each_grid_whose_trunk_is_stored_is_a_frame(
    store: TrajectoryStore, film: Callable[..., bytes]
) -> None:
    shown = Image.open(io.BytesIO(replay(store, [DEFAULT, FOLLOWED, OTHER, LAST], (), film)))
    times = []
    for frame in ImageSequence.Iterator(shown):
        frame.load()
        times.append(frame.info["duration"])
    assert times == [FRAME_MS, FRAME_MS, 2 * FRAME_MS]
    assert shown.size == (600, 315)


def test_its_recipe_opens_the_last_grid(store: TrajectoryStore) -> None:
    views = [DEFAULT, FOLLOWED, LAST]
    told = Image.open(io.BytesIO(replay(store, views, (), to_gif))).info["comment"]
    assert read(told.decode()).view == LAST
    exif = Image.open(io.BytesIO(replay(store, views, (), to_webp))).getexif()
    assert read(exif[0x010E]).view == LAST


def test_a_journey_of_which_nothing_is_stored_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="no grid of this journey"):
        replay(store_in_memory(), [DEFAULT, FOLLOWED], (), to_gif)


def test_strangers_are_shown_their_own(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    counted: list[int] = []

    def film(frames: Any, *_: Any) -> bytes:
        counted.append(len(frames))
        return b""

    own = {key(FOLLOWED.spec, FOLLOWED.path)}
    replay(store, [DEFAULT, FOLLOWED, LAST], own, film)
    assert counted == [1]


@pytest.mark.slow
def test_the_journey_is_offered_once_there_is_one(
    app: Any, session: Session, engine: FakeEngine
) -> None:
    page = run(app)
    act(session, {"do": "follow", "path": "5.2"})
    engine.jobs[-1].finish()
    act(session, {"do": "share"})
    labels = [button.proto.label for button in run(page).get("download_button")]
    assert labels == ["Page", "Picture", "Film", "GIF", "WebP"]
