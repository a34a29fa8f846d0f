"""Animations: what is shown for how long, and what goes along."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageSequence

from diffgrid.pictures.animations import HOLD_MS, MOST_FRAMES, SIDE, to_gif, to_webp

KINDS = pytest.mark.parametrize("draw", [to_gif, to_webp])
Draw = Callable[..., bytes]


def greys(count: int, size: tuple[int, int] = (32, 16)) -> list[Image.Image]:
    """As many different pictures."""
    return [Image.new("RGB", size, (i * 97 % 256, i * 41 % 256, 0)) for i in range(count)]


def opened(film: bytes) -> Image.Image:
    return Image.open(io.BytesIO(film))


def durations(film: bytes) -> list[int]:
    """How long each frame stays, in ms."""
    shown = opened(film)
    times = []
    for frame in ImageSequence.Iterator(shown):
        frame.load()
        times.append(int(frame.info["duration"]))
    return times


@KINDS
def test_every_step_is_a_frame_and_the_finished_picture_stays(draw: Draw) -> None:
    *steps, last = durations(draw(greys(26)))
    assert len(steps) == 25
    assert len(set(steps)) == 1
    assert last == HOLD_MS


@KINDS
def test_it_loops_for_ever(draw: Draw) -> None:
    assert opened(draw(greys(3))).info["loop"] == 0


@KINDS
def test_small_pictures_are_enlarged_by_a_whole_factor(draw: Draw) -> None:
    assert opened(draw(greys(2))).size == (2 * SIDE, SIDE)
    assert opened(draw(greys(2, (300, 400)))).size == (300, 400)


@pytest.mark.slow
@KINDS
def test_of_many_steps_some_are_left_out_and_the_last_is_the_finished_one(draw: Draw) -> None:
    pictures = [*greys(300), Image.new("RGB", (32, 16), "blue")]
    drawn = draw(pictures)
    film = opened(drawn)
    assert getattr(film, "n_frames", 1) == MOST_FRAMES
    film.seek(MOST_FRAMES - 1)
    red, green, blue = film.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert blue > 240
    assert max(red, green) < 15
    assert min(durations(drawn)) >= 20


@KINDS
def test_one_picture_is_enough_and_none_is_not(draw: Draw) -> None:
    assert opened(draw(greys(1))).size == (2 * SIDE, SIDE)
    with pytest.raises(ValueError, match="at least one"):
        draw([])


def test_the_recipe_goes_along_in_full() -> None:
    recipe = "python -m diffgrid strip --prompt 'ein grünes Monster' " + "x" * 500
    assert opened(to_gif(greys(2), recipe)).info["comment"].decode() == recipe
    told = opened(to_webp(greys(2), recipe)).getexif()[0x010E]
    assert (told if isinstance(told, bytes) else told.encode("latin-1")).decode() == recipe


@KINDS
def test_a_ribbon_is_not_enlarged_beyond_what_a_file_can_hold(draw: Draw) -> None:
    assert opened(draw(greys(2, (1000, 8)))).size == (1000, 8)
