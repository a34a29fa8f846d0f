"""Sample the grid that ships with the package, and every grid that a first click on it asks for.

python -m training.first_grid

To be run again whenever the model's weights, its settings or the default rows change; until then
the page samples what it shows first.
"""

import argparse
import tempfile
from pathlib import Path

from diffgrid.catalogue import specify
from diffgrid.engine import FRAMES, LocalEngine
from diffgrid.shipped import FIRST_GRID, write
from diffgrid.spec import Grid, default_rows
from diffgrid.store import TrajectoryStore

COLUMNS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=FIRST_GRID)
    out = parser.parse_args().out
    spec = specify()
    grid = Grid.with_columns(spec, (), default_rows(spec.loop), COLUMNS)
    clicked = [Grid(spec, path, grid.rows, grid.branches) for path in grid.paths]
    paths = list(dict.fromkeys(path for each in clicked for path in each.paths))
    with tempfile.TemporaryDirectory() as folder:
        # An empty store, without what ships: all is sampled.
        job = LocalEngine(TrajectoryStore(Path(folder)), "cpu").submit(spec, paths)
        job.wait()
        write(out, map(job.result, paths), FRAMES)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {len(paths)} trajectories, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
