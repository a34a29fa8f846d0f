"""Sample the grid that ships with the package, and every grid that a first click on it asks for.

python -m training.first_grid

To be run again whenever the model's weights, its settings or the default rows change; until then
the page samples what it shows first.
"""

import argparse
import tempfile
from pathlib import Path as Folder

from diffgrid.decisions.study import OnView, begin_study
from diffgrid.engine.job import FRAMES
from diffgrid.engine.local import LocalEngine
from diffgrid.models.registry import find_model, specify
from diffgrid.spec.grid import Grid, default_rows
from diffgrid.spec.path import Path
from diffgrid.spec.run import key
from diffgrid.store.bundled import FIRST_GRID, LABELS, Bundled, write, write_labels
from diffgrid.store.forgiving import TrajectoryStore

COLUMNS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Folder, default=FIRST_GRID)
    parser.add_argument("--labels", action="store_true", help="only look again at what is there")
    options = parser.parse_args()
    out = options.out
    spec = specify()
    grid = Grid.with_columns(spec, (), default_rows(spec.loop), COLUMNS)
    clicked = [Grid(spec, path, grid.rows, grid.branches) for path in grid.paths]
    if not options.labels:
        sample(out, list(dict.fromkeys(path for each in clicked for path in each.paths)))
    label(out, clicked)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {len(Bundled(out).keys)} trajectories, {size / 1e6:.1f} MB")


def sample(out: Folder, paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # An empty store, without what ships: all is sampled.
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
            study = begin_study(engine, OnView(grid))
            study.wait()
            for _, path, found in study.findings(1):
                header, _ = found.to_payload()
                if path:
                    header.pop("levels", None)
                seen[key(grid.spec, path)] = header
    write_labels(out, find_model(specify().model).probe, seen)


if __name__ == "__main__":
    main()
