"""How much one request may ask for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

COMMUNITY_CLOUD = Path("/mount/src")  # where Streamlit's checks out what it serves
WITHOUT_END = 10**12


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
    max_path: int = 100_000  # characters of a path as it is written
    max_side: int = 4096  # pixels, height and width alike
    max_seed: int = 2**63 - 1  # what torch.Generator.manual_seed takes
    max_branch: int = 10**9 - 1  # nine digits, which is all that a path is read with
    # Whether visitors are strangers: nothing is saved, renamed, removed or fetched for them, and
    # they are shown nothing of one another's.
    public: bool = False
    max_queue: int = 128  # computations that wait for the worker
    max_waiting: int = 64  # of them one visitor's: a newer one takes the place of the oldest
    max_evaluations: int = WITHOUT_END  # that one visitor asks for
    max_evaluations_a_minute: int = WITHOUT_END  # of one visitor
    max_trunks: int = 1024  # of a study

    @classmethod
    def from_environment(cls) -> Self:
        """The limits of this process: tighter ones where `DIFFGRID_PUBLIC=1`, or any word but no.

        On Streamlit Community Cloud they are tighter unless it is 0.
        """
        cloud = Path(__file__).is_relative_to(COMMUNITY_CLOUD)
        told = os.environ.get("DIFFGRID_PUBLIC") or str(int(cloud))
        if told.lower() not in ("0", "false", "no", "off"):
            return cls(
                max_steps=50,
                max_columns=8,
                max_cells=48,
                max_prompt=500,
                max_side=128,
                public=True,
                max_waiting=2,  # a grid, and a trajectory of it on the page of strips
                max_evaluations=50_000,
                max_evaluations_a_minute=3_000,
                max_trunks=16,
            )
        return cls()
