"""diffgrid: the paths a diffusion model did not take.

import diffgrid
g = diffgrid.grid(prompt="a red monster", seed=7)
g.save("grid.png")
"""

from diffgrid.api import Grid, Trajectory, grid, study, trajectory
from diffgrid.errors import BadInput, Cancelled, DiffgridError, ModelError, StoreError

__all__ = [
    "BadInput",
    "Cancelled",
    "DiffgridError",
    "Grid",
    "ModelError",
    "StoreError",
    "Trajectory",
    "grid",
    "study",
    "trajectory",
]
