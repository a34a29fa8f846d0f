"""Checking a stored run step by step, each from what is stored before it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.progress import Progress
from diffgrid.engine.protocol import Models, WorkSnapshot
from diffgrid.engine.sample import photo_of
from diffgrid.records.trajectories import Trajectory
from diffgrid.store.forgiving import TrajectoryStore


class Recheck:
    """A `Work`: `differs` is how far a step leads from what is stored after it, at most; a share of
    the largest number there.

    In float32 a run that is sampled again comes out the same, whatever it was sampled with. Narrow
    numbers are rounded as the batch falls, and the steps to come make more of it: there only a step
    alone can be compared.
    """

    def __init__(self, trajectory: Trajectory, store: TrajectoryStore) -> None:
        self._trajectory, self._store = trajectory, store
        self.progress = Progress(WorkSnapshot(), store)
        self.differs = 0.0

    @property
    def ended(self) -> bool:
        """Whether it is done or has failed."""
        return self.progress.snapshot.ended

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Take all steps again."""
        with self.progress.told("checking"):
            self._check(models)
            self.progress.publish(state="done")

    def _check(self, models: Models) -> None:
        from diffgrid.sampling import pipelines, preparation, sampler

        trajectory, spec = self._trajectory, self._trajectory.spec
        photo = photo_of(spec, self._store)
        pipe = models.pipeline(spec)
        prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec), photo)
        steps = sampler.step_anew(prepared, trajectory)
        stored = zip(trajectory.model_outputs, trajectory.latents[1:], strict=True)
        for (output, following), (its_output, its_following) in zip(steps, stored, strict=True):
            self.differs = max(self.differs, _difference(output, its_output))
            if following is not None:
                self.differs = max(self.differs, _difference(following, its_following))


def _difference(tensor: Any, stored: NDArray[np.float32]) -> float:
    """Of (1, C, H, W) and (C, H, W), a share of the largest stored number; infinite for a NaN."""
    array: NDArray[Any] = tensor[0].float().cpu().numpy()
    far = float(np.abs(array - stored).max() / np.abs(stored).max())
    return far if np.isfinite(far) else np.inf
