"""From the sampler's steps to trajectories and frames, while they are being made.

Branches share: a branch starts with its parent's arrays up to the fork, and a picture of x̂0 is
decoded once for all trajectories that contain its evaluation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffgrid.records.trajectories import PredictionType, Trajectory
from diffgrid.spec.path import Path, behind, evaluations_of
from diffgrid.spec.run import RunSpec


@dataclass(frozen=True)
class NoiseSchedule:
    """What a scheduler says of its steps, the same for every path of a specification."""

    timesteps: NDArray[np.float64]  # (T,)
    alphas: NDArray[np.float64]  # (T+1,)
    sigmas: NDArray[np.float64]  # (T+1,)
    prediction_type: PredictionType


class Recordings:
    """Trajectories under way: arrays for all T steps, filled as the steps come."""

    def __init__(self, spec: RunSpec, schedule: NoiseSchedule, made: str = "") -> None:
        """`made` says where, as each trajectory will."""
        self.spec, self._schedule, self._made = spec, schedule, made
        self._latents: dict[Path, NDArray[np.float32]] = {}  # (T+1, C, H, W)
        self._model_outputs: dict[Path, NDArray[np.float32]] = {}  # (T, C, H, W)
        self._steps: dict[Path, int] = {}

    @property
    def length(self) -> int:
        """T, of every path."""
        return self.spec.length

    @property
    def steps(self) -> dict[Path, int]:
        """How many steps of each path are known."""
        return dict(self._steps)

    def add(
        self,
        path: Path,
        step: int,
        latents: NDArray[np.float32],
        model_output: NDArray[np.float32],
        next_latents: NDArray[np.float32],
    ) -> None:
        """Record the transition step → step+1, all arrays (C, H, W); steps of a path come in
        order."""
        if path not in self._latents:
            self._begin(path, latents)
        self._model_outputs[path][step] = model_output
        self._latents[path][step + 1] = next_latents
        self._steps[path] = step + 1

    def _begin(self, path: Path, latents: NDArray[np.float32]) -> None:
        length = self.spec.length
        self._latents[path] = np.zeros((length + 1, *latents.shape), np.float32)
        self._model_outputs[path] = np.zeros((length, *latents.shape), np.float32)
        first = path[-1].redrawn if path else 0
        if first:
            self._latents[path][:first] = self._latents[path[:-1]][:first]
            self._model_outputs[path][:first] = self._model_outputs[path[:-1]][:first]
        self._latents[path][first] = latents

    def trajectory(self, path: Path) -> Trajectory:
        """What is known of a path by now."""
        steps, schedule = self._steps[path], self._schedule
        return Trajectory(
            spec=self.spec,
            path=path,
            latents=self._latents[path][: steps + 1],
            model_outputs=self._model_outputs[path][:steps],
            timesteps=schedule.timesteps,
            alphas=schedule.alphas,
            sigmas=schedule.sigmas,
            prediction_type=schedule.prediction_type,
            made=self._made,
        )


class FrameBook:
    """Encoded pictures of x̂0 or x_t, each by the evaluation before which it was taken."""

    def __init__(self) -> None:
        self._pictures: dict[tuple[Path, int], bytes] = {}

    def __contains__(self, evaluation: tuple[Path, int]) -> bool:
        path, step = evaluation
        return (behind(path, step), step) in self._pictures

    def put(self, path: Path, step: int, picture: bytes) -> None:
        self._pictures[behind(path, step), step] = picture

    def put_all(self, path: Path, pictures: Iterable[bytes]) -> None:
        for step, picture in enumerate(pictures):
            self.put(path, step, picture)

    def of(self, path: Path, length: int) -> tuple[bytes, ...]:
        """The pictures of a whole trajectory of `length` steps, in order."""
        return tuple(self._pictures[name] for name in evaluations_of(path, length))
