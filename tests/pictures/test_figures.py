"""What is drawn of a grid: that it fits."""

import io

import pytest
from PIL import Image

from diffgrid.pictures.animations import to_webp
from diffgrid.pictures.figures import GAP, LARGEST_FRAME, draw_moment


def frame(rows: int, columns: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    cell = Image.new("RGB", size, "blue")
    return draw_moment(cell, [[cell] * columns] * rows)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (120, 4), (1000, 1), (1000, 4), (64, 64)])
@pytest.mark.parametrize("size", [(8, 8), (4, 12), (12, 4)])
def test_a_frame_of_any_grid_is_of_a_films_size(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert max(frame(*shape, size).size) < 1.4 * LARGEST_FRAME


def test_a_film_of_many_rows_can_be_written() -> None:
    drawn = frame(120, 4)
    film = Image.open(io.BytesIO(to_webp([drawn, Image.new("RGB", drawn.size)])))
    assert (film.size, getattr(film, "n_frames", 1)) == (drawn.size, 2)


def test_few_rows_stand_below_one_another_and_many_side_by_side_too() -> None:
    few, many = frame(4, 4), frame(120, 4)
    pitch = 128 + GAP
    assert few.size == (176 + 3 * GAP + 4 * pitch, 4 * pitch + GAP)
    assert max(many.size) < 1.5 * min(many.size)


def test_every_cell_is_drawn() -> None:
    """Each has a colour of its own, which is found on the frame as often as any other."""
    colours = [(64 + 9 * row, 20 + 60 * column, 0) for row in range(21) for column in range(4)]
    cells = [Image.new("RGB", (8, 8), colour) for colour in colours]
    drawn = draw_moment(Image.new("RGB", (8, 8)), [cells[i : i + 4] for i in range(0, 84, 4)])
    found = {colour: count for count, colour in drawn.getcolors(10**6) or []}
    assert len({found[colour] for colour in colours}) == 1
