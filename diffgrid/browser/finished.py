"""Finished grids as a page shows them, with all that is stored of what lies behind a click."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from diffgrid.browser.message import GridState
from diffgrid.browser.page import Page
from diffgrid.decisions.study import GridStudy, begin_study
from diffgrid.engine.protocol import Engine
from diffgrid.errors import DiffgridError, StoreError
from diffgrid.limits import Limits
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
MOST_BEHIND = 64  # grids behind the one on view that are looked for
log = logging.getLogger(__name__)


def page_of(
    grid: Grid,
    made: Mapping[Path, Frames],
    focus: Trajectory,
    words: Sequence[str],
    engine: Engine,
    address: str = "",
    *,
    behind: bool = True,
) -> Page:
    """The page of a grid whose frames are `made`, with grids of its cells and its ancestors.

    `focus` is the trajectory in view. `words` say the run, without its path; `address` is an app's
    that others can open. Nothing is looked for that is `behind` where that is not asked for.
    """
    view = replace(View.of(grid), model=recipe.public_name(grid.spec.model))
    paths = dict.fromkeys([*(path for row in grid.cells for path in row), *ancestors(grid.path)])
    others = [path for path in paths if path != grid.path][: MOST_BEHIND if behind else 0]
    whole = [
        (path, frames)
        for path in others
        if (frames := _whole(_followed(grid, path), made, engine.store))
    ]
    whole.sort(key=lambda each: len(each[1].keys() - made.keys()))  # the cheapest first
    levels = list(zip(focus.timesteps.tolist(), focus.alpha_bar[:-1].tolist(), strict=True))
    note = made[grid.path].decoding.note
    noted: dict[str, Any] = {"note": note} if note else {}
    query = urlencode({name: value for name, value in full_query(view).items() if name != "path"})
    return Page(
        shown=_state(grid, view, made, levels, words, engine),
        behind=[
            _state(_followed(grid, path), view.follow(path), frames, levels, words, engine)
            for path, frames in whole
        ],
        recipe=recipe.write(view, spec=grid.spec, **noted),
        address=address and f"{address}?{query}&path=",
    )


def _followed(grid: Grid, path: Path) -> Grid:
    return replace(grid, path=path)


def _whole(
    grid: Grid, made: Mapping[Path, Frames], store: TrajectoryStore
) -> Mapping[Path, Frames] | None:
    """The frames of a whole grid; None as soon as one is missing."""
    there = {}
    for path in grid.paths:
        frames = made.get(path) or _stored(key(grid.spec, path), store)
        if frames is None:
            return None
        there[path] = frames
    return there


def _stored(name: str, store: TrajectoryStore) -> Frames | None:
    """The frames of a trajectory that whoever has the page may see."""
    try:
        # Strangers are shown nothing of one another's.
        if Limits.from_environment().public and not store.is_kept(name):
            return None
    except StoreError:  # the cache fails
        return None
    return stored_frames(store, name)


def _state(
    grid: Grid,
    view: View,
    made: Mapping[Path, Frames],
    levels: Levels,
    words: Sequence[str],
    engine: Engine,
) -> GridState:
    spec, model = grid.spec, find_model(grid.spec.model)
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
