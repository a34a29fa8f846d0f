"""How much one request may ask for."""

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest values allowed; the defaults hold everywhere, a public server sets tighter ones.

    >>> Limits().max_steps
    1000
    """

    max_steps: int = 1000  # denoising steps
    max_columns: int = 64  # branches in a row of a grid
    max_cells: int = 4096  # of a grid
    max_prompt: int = 2000  # characters
    max_side: int = 4096  # pixels, height and width alike
    max_seed: int = 2**63 - 1  # what torch.Generator.manual_seed takes
    max_branch: int = 10**9 - 1  # nine digits, which is all that a path is read with
    keeps: bool = True  # whether visitors may save, rename and remove runs
    max_queue: int = 64  # computations that wait for the worker
    max_trunks: int = 1024  # of a study

    @classmethod
    def from_environment(cls) -> Self:
        """The limits of this process: tighter ones where `DIFFGRID_PUBLIC=1`."""
        if os.environ.get("DIFFGRID_PUBLIC") == "1":
            return cls(
                max_steps=50,
                max_columns=8,
                max_cells=48,
                max_prompt=500,
                max_side=128,
                keeps=False,
                max_queue=8,
                max_trunks=16,
            )
        return cls()
