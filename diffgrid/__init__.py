"""diffgrid: the paths a diffusion model did not take.

import diffgrid
g = diffgrid.grid(prompt="a red monster", seed=7)
g.save("grid.png")
"""

from diffgrid.api import Grid, StudyReport, Trajectory, grid, open_runs, study, trajectory
from diffgrid.errors import BadInput, Busy, Cancelled, DiffgridError, ModelError, StoreError
from diffgrid.version import __version__

__all__ = [
    "BadInput",
    "Busy",
    "Cancelled",
    "DiffgridError",
    "Grid",
    "ModelError",
    "StoreError",
    "StudyReport",
    "Trajectory",
    "__version__",
    "grid",
    "open_runs",
    "study",
    "trajectory",
]
