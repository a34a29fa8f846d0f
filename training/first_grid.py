"""Sample the first grid, which is bundled, and every grid that a first click on it asks for.

python -m training.first_grid

To be run again whenever the model's weights, its settings or the default rows change; until then
the page samples what it shows first.
"""

import argparse
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path as Folder
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from diffgrid.decisions.study import GridStudy, begin_study
from diffgrid.engine.local import LocalEngine
from diffgrid.models.registry import find_model, specify
from diffgrid.records.frames import FRAMES, Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, format_path
from diffgrid.spec.run import key
from diffgrid.store.bundled import ARRAYS, FIRST_GRID, INDEX, LABELS, LEVELS, Bundled
from diffgrid.store.forgiving import TrajectoryStore

COLUMNS = 4
ROWS = 4  # one more than are shown at first: addresses of when there were four are answered too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Folder, default=FIRST_GRID)
    parser.add_argument("--labels", action="store_true", help="only look again at what is there")
    options = parser.parse_args()
    out = options.out
    clicked = shipped()
    if not options.labels:
        sample(out, list(dict.fromkeys(path for each in clicked for path in each.paths)))
    label(out, clicked)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {len(Bundled(out).keys)} trajectories, {size / 1e6:.1f} MB")


def shipped() -> list[Grid]:
    """The first grid with its one row more, and what each click on it leads to."""
    first = View.default().with_shape(ROWS, COLUMNS).grid()
    return [Grid(first.spec, path, first.rows, first.branches) for path in first.paths]


def sample(out: Folder, paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # An empty store, without what is bundled: all is sampled.
        job = LocalEngine(TrajectoryStore(Folder(folder)), "cpu").submit(specify(), paths)
        job.wait()
        write(out, map(job.result, paths), FRAMES)


def label(out: Folder, grids: list[Grid]) -> None:
    """Let the model's probe look at the pictures; a grid's levels are its trunk's."""
    seen = {}
    (out / LABELS).unlink(missing_ok=True)  # or what is there would be found again
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(TrajectoryStore(Folder(folder), bundled=Bundled(out)), "cpu")
        for grid in grids:
            study = begin_study(engine, GridStudy(grid, include_focus=True))
            study.wait()
            for _, path, found in study.findings(1):
                header, _ = found.to_payload()
                if path:
                    header.pop("levels", None)
                seen[key(grid.spec, path)] = header
    write_labels(out, find_model(specify().model).probe, seen)


def write(folder: Folder, made: Iterable[tuple[Trajectory, Frames]], decoder: str) -> None:
    """Make the folder anew: finished trajectories of one specification, their parents among them.

    `decoder` is the digest of what drew the pictures.
    """
    arrays: dict[str, NDArray[Any]] = {}
    index: dict[str, Any] = {"decoder": decoder, "trajectories": {}}
    for trajectory, frames in made:
        path = format_path(trajectory.path)
        # x_t and model output at the fork itself are the parent's still.
        born = trajectory.path[-1].step + 1 if trajectory.path else 0
        pictures = [*frames.x0[born:], frames.final]
        own = {
            f"latents {path}": pack_floats(trajectory.latents[born:]),
            f"model_outputs {path}": pack_floats(trajectory.model_outputs[born:]),
            f"frames {path}": b"".join(pictures),
        }
        arrays |= {name: np.frombuffer(content, np.uint8) for name, content in own.items()}
        arrays |= {name: getattr(trajectory, name) for name in LEVELS}
        index["trajectories"][trajectory.key] = {"path": path, "frames": list(map(len, pictures))}
        index |= {
            "specification": trajectory.spec.to_dict(),
            "prediction_type": trajectory.prediction_type,
            "shape": trajectory.model_outputs.shape[1:],
        }
    # Not written over: a process that has the old files open may go on reading them.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / ARRAYS).write_bytes(save(arrays))
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", "utf-8")


def write_labels(folder: Folder, probe: str, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Add what a probe saw in the folder's trajectories: by key, the header of a `Finding`."""
    labels = {"probe": probe, "seen": seen}
    (folder / LABELS).write_text(json.dumps(labels, indent=1, sort_keys=True) + "\n", "utf-8")


def pack_floats(array: NDArray[np.float32]) -> bytes:
    """Floats of any shape as fewer bytes, without loss: see `unpack_floats`."""
    planes = np.ascontiguousarray(array, "<f4").view(np.uint8).reshape(-1, 4).T
    return zlib.compress(planes[3].tobytes(), 9) + planes[:3].tobytes()


if __name__ == "__main__":
    main()
