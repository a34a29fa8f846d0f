"""A run as it is passed on to others: with its pictures, so that it is seen without its model."""

from dataclasses import dataclass

from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory


@dataclass(frozen=True, eq=False)
class SharedRun:
    """A finished trajectory, its pictures, and what its owner calls it."""

    trajectory: Trajectory
    frames: Frames
    name: str = ""  # empty where it has none
    note: str = ""
