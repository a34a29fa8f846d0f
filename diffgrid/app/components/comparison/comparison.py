"""The viewer that shows up to four stored runs on one scrubber."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffgrid.app.components.shared.mount import component
from diffgrid.app.session.run_list import label
from diffgrid.browser.protocol import ImagePool
from diffgrid.compare import (
    BANDS,
    differing,
    distance,
    levels_of,
    settings,
    thinned,
    to_csv,
)
from diffgrid.errors import DiffgridError
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import describe
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames, with_exact
from diffgrid.store.runs import RunInfo

_viewer = component("comparison", '<div class="comparison"></div>')


@dataclass(frozen=True, eq=False)
class Run:
    """A stored run, loaded."""

    info: RunInfo
    trajectory: Trajectory
    frames: Frames


def load(store: TrajectoryStore, info: RunInfo) -> Run:
    """The run's arrays and pictures; needs no model.

    Raises:
        DiffgridError: they are no longer stored, or were damaged.
    """
    imported = not info.computed
    trajectory = store.get_imported(info.key) if imported else store.get(info.key)
    pictures = stored_frames(store, info.key, imported)
    if trajectory and pictures and len(pictures.x0) != trajectory.steps:
        pictures = None  # another run's, by some accident
    if trajectory is None or pictures is None:
        what = "pictures are" if trajectory else "arrays are"
        mend = "remove it and import it" if imported else "sample it"
        raise DiffgridError(
            f"Run {info.key[:8]} cannot be shown, as its {what} no longer stored whole: {mend} "
            f"again{'' if imported else ' on the grid page'}, or choose another run."
        )
    return Run(info, trajectory, pictures)


def alike(store: TrajectoryStore, runs: Sequence[Run]) -> list[Run]:
    """The runs with exact pictures of x̂0, where all of them have such: no preview beside those."""
    exact = []
    for run in runs:
        own = run.info.computed  # exact pictures are made here, of what was computed here
        frames = with_exact(store, run.info.key, run.frames) if own else run.frames
        if frames.decoding.approximate:
            return [*runs]
        exact.append(replace(run, frames=frames))
    return exact


def show(runs: Sequence[Run]) -> None:
    """The viewer: the runs on one scrubber, what differs, and their distance."""
    _viewer(key="comparison", data=message(runs))


def in_figures(store: TrajectoryStore, infos: Sequence[RunInfo]) -> str:
    """The settings and distances of stored runs as CSV, read when it is asked for.

    Raises:
        DiffgridError: one is no longer stored, or was damaged.
    """
    return to_csv([load(store, info).trajectory for info in infos])


def message(runs: Sequence[Run]) -> bytes:
    """What the viewer is sent; see `comparison.js`."""
    pool = ImagePool()
    pairs = [(run.info.spec, run.info.path) for run in runs]
    table = differing(pairs)
    if len(runs) == 1:  # nothing to differ from
        table = {name: (value,) for name, value in settings(*pairs[0]).items() if value}
    curves = [_curve(runs[0].trajectory, run.trajectory) for run in runs[1:]]
    return pool.pack(
        {
            "id": " ".join(
                f"{run.info.key} {label(run.info)} {run.frames.decoding.way}" for run in runs
            ),
            "runs": [_side(run, pool) for run in runs],
            "curves": curves,
            "table": [*table.items()],
        }
    )


def _side(run: Run, pool: ImagePool) -> dict[str, Any]:
    trajectory = run.trajectory
    steps = thinned(trajectory.steps)
    return {
        "path": describe(run.info.path),
        "label": label(run.info),
        "length": trajectory.steps,
        "steps": steps,
        "levels": levels_of(trajectory)[steps].round(4).tolist(),
        "timesteps": trajectory.timesteps[steps].tolist(),
        "frames": pool.put_all(run.frames.x0[step] for step in steps),
        "final": pool.put(run.frames.final),
        "preview": run.frames.decoding.approximate,
    }


def _curve(one: Trajectory, other: Trajectory) -> dict[str, Any] | None:
    apart = distance(one, other)
    if apart is None or not (np.isfinite(apart.rms).all() and np.isfinite(apart.final)):
        return None
    return {
        "levels": apart.levels.tolist(),
        "rms": apart.rms.tolist(),
        "bands": dict(zip(BANDS, apart.bands.T.tolist(), strict=True)),
        "final": apart.final,
        "final_bands": dict(zip(BANDS, apart.final_bands.tolist(), strict=True)),
    }
