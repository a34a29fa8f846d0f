"""A grid in short, from what is stored of it: the card of a posted link, a frame of a journey."""

from collections.abc import Callable, Mapping

from PIL import Image

from diffgrid import api
from diffgrid.errors import Damaged
from diffgrid.pictures.figures import CardSheet, draw_card
from diffgrid.records import frames
from diffgrid.records.frames import Frames
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames

MOST_ROWS, MOST_COLUMNS = 5, 6


def found(store: TrajectoryStore, grid: Grid, there: Callable[[str], bool]) -> dict[Path, Frames]:
    """The pictures of what its card shows and is `there`, by key: a run is before its pictures are.

    Raises:
        DiffgridError: the cache cannot be used.
    """
    keys = {path: key(grid.spec, path) for path in shown_paths(grid)}
    looked = {path: stored_frames(store, each) for path, each in keys.items() if there(each)}
    return {path: pictures for path, pictures in looked.items() if pictures}


def shown_paths(grid: Grid) -> set[Path]:
    """The trajectories that its card shows, where they are stored."""
    return {grid.path, *(path for row in _cells(grid) for path in row)}


def draw(grid: Grid, pictures: Mapping[Path, Frames]) -> Image.Image:
    """The card of a grid, blank where a path has no pictures."""
    focus = pictures.get(grid.path)
    rows = tuple(
        (
            _decoded(focus.x0[step]) if focus else None,
            tuple(_final(pictures.get(path)) for path in cells),
        )
        for step, cells in zip(grid.rows[:: _every(grid)], _cells(grid), strict=True)
    )
    recipe = api.recipe(grid.spec, grid.path)[:5]  # as many as there is room for
    if focus is None:
        recipe = ("not drawn yet", *recipe[1:])
    return draw_card(CardSheet(grid.spec.prompt, recipe, rows, _final(focus)))


def _every(grid: Grid) -> int:
    """Of how many rows one is shown."""
    return -(-len(grid.rows) // MOST_ROWS) or 1


def _cells(grid: Grid) -> list[tuple[Path, ...]]:
    """The paths in the rows that are shown."""
    return [cells[:MOST_COLUMNS] for cells in grid.cells[:: _every(grid)]]


def _final(pictures: Frames | None) -> Image.Image | None:
    return _decoded(pictures.final) if pictures else None


def _decoded(picture: bytes) -> Image.Image | None:
    try:
        return frames.decode(picture)
    except Damaged:
        return None
