"""What the branching grid is sent: `message` is a pure function from a `GridState` to bytes."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from diffgrid.browser.protocol import ImagePool, SentImages
from diffgrid.engine.protocol import PathView
from diffgrid.models.folder import Signs
from diffgrid.records.frames import Frames
from diffgrid.spec.grid import Grid, row_steps
from diffgrid.spec.path import Path, ancestors, describe, evaluations_of, format_path
from diffgrid.spec.run import key


@dataclass(frozen=True)
class GridState:
    """All that the component draws.

    Args:
        grid: what is on view.
        views: how far each path is, with its newest picture.
        made: the frames of finished paths. Where trajectories share an evaluation they share its
            picture, so an unfinished path has those of its relatives.
        recipe: the run in words, without the path: seed 7, 25 steps, …
        about: what else its cell is to know of a path, as `Entry` in cell.js has it.
        levels: (timestep, ᾱ) before each of the T steps; None until a trajectory is finished.
        noisy: T pictures of x_t for each path that has them.
        running: whether a job is under way; `status` and `fraction` (0 … 1) then say how far.
        stopped: whether it was cancelled or failed, so that going on is offered.
        cost: the line shown when nothing runs.
        note: what is said of the pictures of x̂0 and x_t, where they are approximate.
        texts: what a picture of it says of itself, but for its path (`recipe.unfinished`).
        before: the query of the view that Undo leads to, where there is one.
        prompts: others to leaf through.
        change: what `changeable` says of the focus.
        labels: what a probe saw in each final: factor -> value. A row counts its cells and the
            focus, which left x_k as they did.
        signs: how a label is drawn, where somebody said: see `Model.signs`.
        labelling: whether labels are still to come: the browser asks again.
        named: the factors of which a path's prompt names a value.
        acted: the `receipt` of the acts that were taken.
        file: where it stands in a file, with no server: `paths`, whose grids that holds, and
            `link`, an app's address up to a path, or empty.
    """

    grid: Grid
    views: Mapping[Path, PathView]
    made: Mapping[Path, Frames]
    recipe: Sequence[str] = ()
    about: Callable[[Path], Mapping[str, Any]] = lambda _: {}
    levels: Sequence[tuple[float, float]] | None = None
    noisy: Mapping[Path, Sequence[bytes]] = field(default_factory=dict)
    lane: Literal["x0", "xt"] = "x0"
    running: bool = False
    stopped: bool = False
    status: str = ""
    fraction: float = 0.0
    cost: str = ""
    note: str = ""
    texts: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, str] | None = None
    can_redo: bool = False
    max_columns: int = 8
    prompts: Sequence[str] = ()
    change: Mapping[str, Any] | None = None
    labels: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    signs: Signs = field(default_factory=dict)
    labelling: bool = False
    named: Callable[[Path], Collection[str]] = lambda _: ()
    acted: tuple[str, int] = ("", 0)
    file: Mapping[str, Any] | None = None


_SENT_AS_THEY_ARE = (
    "acted", "before", "can_redo", "change", "cost", "file", "fraction", "labelling", "lane",
    "max_columns", "note", "prompts", "running", "status", "stopped", "texts",
)  # fmt: skip


def message(state: GridState, sent_images: SentImages | None = None) -> bytes:
    """What the browser is sent (`GridHead` in message.js, and the pictures).

    `sent_images` is what it holds; all pictures are sent where none is given. What the first look
    can do without, the cells' trajectories, waits until it is asked for.
    """
    pool, grid = ImagePool(), state.grid
    length = grid.spec.length
    # An evaluation is named by the forks before it, and its step.
    x0 = {
        name: frame
        for path, frames in state.made.items()
        for name, frame in zip(evaluations_of(path, length), frames.x0, strict=True)
    }

    def entry(path: Path, branch: int | None = None) -> dict[str, Any]:
        view, frames = state.views.get(path, PathView()), state.made.get(path)
        decoded = state.noisy.get(path)
        final = frames.final if frames else None
        guesses = [x0.get(name) for name in evaluations_of(path, length)]
        later = path != grid.path
        if later and final:  # till then the last guess, a tenth of its size, stands in for it
            pool.put(guesses[-1])
        return {
            "path": format_path(path),
            "name": describe(path),
            "branch": branch,
            "step": length if frames else view.step,
            "done": frames is not None,
            "lost": view.lost,
            **state.about(path),
            "x0": pool.put_all(guesses, later=later),
            "noisy": pool.put_all(decoded, later=later) if decoded else None,
            "final": pool.put(final, later=later),
            "newest": pool.put(final or view.frame, later=later and final is not None),
        }

    rows = [
        {
            "step": step,
            "cells": [entry(*cell) for cell in zip(paths, branches, strict=True)],
            "seen": _seen(
                [state.labels[path] for path in (*paths, grid.path) if path in state.labels],
                state.named(paths[0]),
                state.signs,
            ),
        }
        for step, paths, branches in zip(grid.rows, grid.cells, grid.branches, strict=True)
    ]
    every_fork = {fork for path in grid.paths for fork in path}
    header = {name: getattr(state, name) for name in _SENT_AS_THEY_ARE} | {
        "length": length,
        "path": format_path(grid.path),
        "crumbs": [format_path(path) for path in (*ancestors(grid.path), grid.path)],
        # How a fork is read, where that is not as it is written.
        "words": {format_path((f,)): describe((f,)) for f in every_fork if f.changes},
        "back": grid.back,
        "row_steps": [] if state.file else list(row_steps(grid.spec.loop, grid.back)),
        "run": key(grid.spec, ()),
        "prompt": grid.spec.prompt,
        "recipe": list(state.recipe),
        "levels": [{"timestep": t, "alpha_bar": bar} for t, bar in state.levels or ()] or None,
        "focus": entry(grid.path),
        "rows": rows,
    }
    return pool.pack(header, sent_images)


def _seen(
    row: Sequence[Mapping[str, str]], named: Collection[str], signs: Signs
) -> list[dict[str, Any]]:
    """How many of a row's finals show which values, the most frequent first."""
    return [
        {
            "factor": factor,
            "fixed": factor in named,
            "values": [
                (value, count, signs.get(factor, {}).get(value))
                for value, count in Counter(labels[factor] for labels in row).most_common()
            ],
        }
        for factor in (row[0] if row else ())
    ]
