"""Driving the sampler without an engine."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.builder import NoiseSchedule, Recordings
from diffgrid.records.trajectories import Trajectory
from diffgrid.sampling import sampler
from diffgrid.sampling.preparation import Prepared
from diffgrid.spec.path import Path, parse_path
from diffgrid.spec.run import RunSpec


def record(
    spec: RunSpec,
    prepared: Prepared,
    lengths: Mapping[Path, int],
    history: Mapping[Path, Trajectory] | None = None,
    *,
    rows: int = sampler.ROWS,
) -> tuple[dict[Path, Trajectory], int]:
    """Sample these paths; the trajectories and how many evaluations were made."""
    schedule = NoiseSchedule(
        prepared.timesteps.double().numpy(),
        np.array(prepared.alphas),
        np.array(prepared.sigmas),
        prepared.prediction_type,
    )
    recordings, evaluated = Recordings(spec, schedule), 0
    waves = sampler.sample(prepared, spec, lengths, history or {}, rows=rows)
    for wave in waves:
        for step in wave:
            tensors = (step.latents, step.model_output, step.next_latents)
            recordings.add(step.path, step.step, *(t[0].numpy() for t in tensors))
            evaluated += step.evaluated
    return {path: recordings.trajectory(path) for path in recordings.steps}, evaluated


def whole(spec: RunSpec, *paths: str) -> dict[Path, int]:
    """These paths in full; they hold their own ancestors."""
    return {parse_path(path): spec.length for path in paths}


def final(trajectory: Trajectory) -> NDArray[np.float32]:
    """Its finished latents, (C, H, W)."""
    return np.asarray(trajectory.latents[-1])
