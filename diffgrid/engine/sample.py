"""Sampling what is missing: the waves of one specification, and what a job makes of them."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffgrid.engine.builder import NoiseSchedule, Recordings
from diffgrid.engine.decode import Pictures
from diffgrid.engine.look_up import Found
from diffgrid.engine.progress import JobProgress
from diffgrid.errors import BadInput, NotFinite
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing.photo import from_png
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import limit_of
from diffgrid.store.forgiving import TrajectoryStore

if TYPE_CHECKING:
    from diffgrid.sampling.sampler import Step

CHECKPOINT_SECONDS = 5.0
CHECKPOINT_SHARE = 0.05  # of the time at most: those of a large grid take long


def prepare(
    pipe: Any,
    spec: RunSpec,
    lengths: Mapping[Path, int],
    history: Mapping[Path, Trajectory],
    focus: Path = (),
    photo: Image.Image | None = None,
) -> tuple[NoiseSchedule, Iterator[list["Step"]]]:
    """The waves in which these paths go `lengths`; what is in `history` is replayed. `photo` is
    what the specification begins with."""
    from diffgrid.sampling import pipelines, preparation, sampler

    prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec), photo)
    schedule = NoiseSchedule(
        prepared.timesteps.cpu().double().numpy(),
        np.array(prepared.alphas),
        np.array(prepared.sigmas),
        prepared.prediction_type,
    )
    return schedule, sampler.sample(prepared, spec, lengths, history, focus=focus)


def photo_of(spec: RunSpec, store: TrajectoryStore) -> Image.Image | None:
    """The picture that a specification begins with; None where it begins with noise.

    Raises:
        BadInput: it is not in the store, or of another size.
    """
    if not (digest := spec.photo):
        return None
    if (kept := store.get_photo(digest)) is None:
        raise BadInput(
            f"image {digest[:8]}…, which this run begins with, is not on this machine (an address "
            "carries no picture, and the cache keeps those of saved runs alone for good): give it "
            "again."
        )
    picture = from_png(kept, digest)
    if picture.size != (spec.width, spec.height):
        raise BadInput(
            f"image {digest[:8]}… is {picture.width} x {picture.height} pixels and the run "
            f"{spec.width} x {spec.height}: give the picture again."
        )
    return picture


def where(pipe: Any) -> str:
    """Where a pipeline computes: device, threads and libraries, in words."""
    from diffgrid.sampling import pipelines

    return pipelines.where(pipe)


def clipping(pipe: Any, spec: RunSpec) -> str | None:
    """A warning, where the scheduler would wash out latents."""
    if not hasattr(pipe, "vae") or not limit_of(spec.scheduler, spec.scheduler_config):
        return None
    return (
        f"{spec.scheduler} clips x̂0 to -1 … 1 in this model's configuration, which washes out "
        "latents: choose another scheduler if the pictures look grey."
    )


def sample(
    waves: Iterator[list["Step"]],
    recordings: Recordings,
    found: Found,
    pictures: Pictures,
    checkpoints: "Checkpoints",
    progress: JobProgress,
) -> None:
    """Go through the waves: record, show and store what they bring.

    Raises:
        NotFinite: the numbers of some paths are not, at some step; the others are made.
    """
    began, sampled, first = time.monotonic(), 0, None
    try:
        for wave in waves:
            finished = []
            for step in wave:
                sampled += step.evaluated
                if not step.finite:
                    first = first or step
                    continue
                arrays = map(as_array, (step.latents, step.model_output, step.next_latents))
                recordings.add(step.path, step.step, *arrays)
                progress.show(step.path, None, recordings.steps[step.path])
                trajectory = recordings.trajectory(step.path)
                pictures.add(trajectory, step.step)
                if trajectory.done and step.path in found.missing:
                    finished.append(trajectory)
            if finished or pictures.due:
                pictures.show(recordings.steps)
                pictures.keep(finished)
            rest = (time.monotonic() - began) * (progress.snapshot.to_sample - sampled)
            progress.publish(sampled=sampled, seconds_left=rest / sampled if sampled else None)
            progress.check()
            checkpoints.save_if_due(recordings)
        if first:
            raise _lost(first.step, found, recordings, progress)
    finally:
        checkpoints.save(recordings)  # ancestors needed only in part; all, where it was cut off


def _lost(step: int, found: Found, recordings: Recordings, progress: JobProgress) -> NotFinite:
    """What becomes of the paths that came to an end, the first at this step, and those below."""
    lost = [path for path in found.unfinished if not progress.views[path].done]
    for path in lost:
        progress.lose(path)
    asked = len(progress.views)
    of_all = f"in {len(lost)} of {asked} trajectories" if asked > 1 else ""
    return not_finite(recordings.spec, step, of_all)


def not_finite(spec: RunSpec, step: int, where: str) -> NotFinite:
    """What is said of a model that makes no numbers from this step on."""
    begun = f"from step {step} (of {spec.length}) on {where}".rstrip()
    narrow = "" if spec.dtype == "float32" else "dtype float32, "
    return NotFinite(
        f"the model's numbers are not finite {begun}: choose {narrow}a smaller guidance, another "
        f"scheduler or other settings in the configuration of this one ({spec.scheduler})"
        f"{_hint(spec)}."
    )


def _hint(spec: RunSpec) -> str:
    config = json.loads(spec.scheduler_config)
    if config.get("rescale_betas_zero_snr") and config.get("prediction_type") != "v_prediction":
        return ", whose rescale_betas_zero_snr goes with v_prediction alone"
    return ""


class Checkpoints:
    """Where sampling is taken up again after it was stopped: the arrays of what is unfinished."""

    def __init__(self, store: TrajectoryStore, history: Mapping[Path, Trajectory]) -> None:
        self._store = store
        self._saved = {path: trajectory.steps for path, trajectory in history.items()}
        self._due = time.monotonic() + CHECKPOINT_SECONDS

    def save_if_due(self, recordings: Recordings) -> None:
        """Save every few seconds, and seldom enough to take little of the time."""
        began = time.monotonic()
        if began > self._due:
            self.save(recordings)
            now = time.monotonic()
            rest = (now - began) * (1 / CHECKPOINT_SHARE - 1)
            self._due = now + max(CHECKPOINT_SECONDS, rest)

    def save(self, recordings: Recordings) -> None:
        """Save what is further than when it was saved last."""
        for path, steps in recordings.steps.items():
            if self._saved.get(path, 0) < steps < recordings.length:
                self._store.put_partial(recordings.trajectory(path))
                self._saved[path] = steps


def as_array(tensor: Any) -> NDArray[np.float32]:
    """(1, C, H, W) on any device, of any dtype -> (C, H, W)."""
    array: NDArray[np.float32] = tensor[0].float().cpu().numpy()
    return array
