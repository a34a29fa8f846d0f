"""diffgrid: the paths a diffusion model did not take.

import diffgrid
g = diffgrid.grid(prompt="a red monster", seed=7)
g.save("grid.png")
"""

from diffgrid.api import Grid, StudyReport, Trajectory, grid, study, trajectory
from diffgrid.errors import BadInput, Busy, Cancelled, DiffgridError, ModelError, StoreError

__version__ = "0.2.0"  # the one place: pyproject.toml and `diffgrid --version` read it here

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
    "study",
    "trajectory",
]
