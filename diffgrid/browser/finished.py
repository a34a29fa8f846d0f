"""Finished grids as a page shows them, with all that is stored of what lies behind a click."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from diffgrid.browser.message import GridState
from diffgrid.browser.page import Page
from diffgrid.decisions.study import GridStudy, begin_study
from diffgrid.engine.protocol import Engine
from diffgrid.errors import DiffgridError
from diffgrid.models import prompt_words
from diffgrid.models.registry import find_model
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing import recipe
from diffgrid.sharing.address import command, full_query
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, ancestors, minimum, naive
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames

Levels = Sequence[tuple[float, float]]  # (timestep, ᾱ) before each step
log = logging.getLogger(__name__)


def page_of(
    grid: Grid,
    made: Mapping[Path, Frames],
    focus: Trajectory,
    words: Sequence[str],
    engine: Engine,
    address: str = "",
) -> Page:
    """The page of a grid whose frames are `made`, with the grids of its cells and its ancestors.

    `focus` is the trajectory in view. `words` say the run, without its path; `address` is an app's
    that others can open.
    """
    paths = dict.fromkeys([*(path for row in grid.cells for path in row), *ancestors(grid.path)])
    others = [_followed(grid, path) for path in paths if path != grid.path]
    behind = {
        other: frames
        for other in others
        if (frames := _stored(other, made, engine.store)) is not None
    }
    cheapest = sorted(behind, key=lambda other: len(behind[other].keys() - made.keys()))
    levels = list(zip(focus.timesteps.tolist(), focus.alpha_bar[:-1].tolist(), strict=True))
    note = made[grid.path].decoding.note
    noted: dict[str, Any] = {"note": note} if note else {}
    view = View.of(grid)
    query = urlencode({name: value for name, value in full_query(view).items() if name != "path"})
    return Page(
        shown=_state(grid, made, levels, words, engine),
        behind=[_state(o, behind[o], levels, words, engine) for o in cheapest],
        recipe=recipe.write(view, spec=grid.spec, **noted),
        address=address and f"{address}?{query}&path=",
    )


def _followed(grid: Grid, path: Path) -> Grid:
    return Grid(grid.spec, path, grid.rows, grid.branches, grid.back)


def _stored(
    grid: Grid, made: Mapping[Path, Frames], store: TrajectoryStore
) -> Mapping[Path, Frames] | None:
    """The frames of a whole grid."""
    found = {
        path: made.get(path) or stored_frames(store, key(grid.spec, path)) for path in grid.paths
    }
    there = {path: frames for path, frames in found.items() if frames}
    return there if len(there) == len(found) else None


def _state(
    grid: Grid,
    made: Mapping[Path, Frames],
    levels: Levels,
    words: Sequence[str],
    engine: Engine,
) -> GridState:
    spec, view, model = grid.spec, View.of(grid), find_model(grid.spec.model)
    costs = minimum(grid.paths, spec.length), len(grid.paths), naive(grid.paths, spec.length)
    return GridState(
        grid,
        {},
        made,
        recipe=words,
        about=lambda path: {"recipe": command(view, path), "starred": False},
        levels=levels,
        cost="{} evaluations for {} trajectories; one by one they would take {}".format(*costs),
        note=made[grid.path].decoding.note,
        texts=recipe.unfinished(view, spec),
        labels=_labels(grid, engine),
        signs=model.signs,
        named=partial(prompt_words.named, model, spec),
    )


def _labels(grid: Grid, engine: Engine) -> Mapping[Path, Mapping[str, str]]:
    """What the model's probe saw in each final; nothing where it did not look at all of them."""
    try:
        study = begin_study(engine, GridStudy(grid, include_focus=True), begin=False)
        if study.snapshot.state == "done":
            return {path: found.labels for _, path, found in study.findings(1)}
    except DiffgridError as error:
        log.info("the grid has no labels: %s", error)
    return {}
