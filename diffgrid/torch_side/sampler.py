"""The sampler: a trunk and its branches, as a generator of waves of batched evaluations.

    for wave in sample(prepared, spec.seed, lengths, history, focus=path):
        for step in wave: ...

The focus comes first and alone, so that the first picture is there at once; then everything else
that is alive at a step is evaluated together. A fork is born *after* its parent's evaluation: it
takes over x_k, the scheduler and the model's output, and redraws only the transition k → k+1.

What is known already (`history`) is replayed through the scheduler instead of evaluated. That is
the whole of resuming, and of forking what an earlier process stored: there is no second way
through.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffgrid.spec import Path, ancestors
from diffgrid.torch_side import kernels
from diffgrid.torch_side.families import Prepared
from diffgrid.trajectories import Trajectory, pred_original_sample

ROWS = 16  # samples in one forward; on CPUs more are no cheaper a sample, and take memory


@dataclass(frozen=True)
class Step:
    """One transition of one trajectory, step → step+1. All tensors (1, C, H, W)."""

    path: Path
    step: int
    latents: Tensor  # x_step
    model_output: Tensor  # guided; for a newborn fork its parent's
    next_latents: Tensor
    evaluated: bool  # the denoiser ran for it


@dataclass
class _Node:
    """A trajectory under way. Each has a scheduler of its own: rows never share state."""

    path: Path
    latents: Tensor
    scheduler: Any
    step: int = 0


@torch.inference_mode()
def sample(
    prepared: Prepared,
    seed: int,
    lengths: Mapping[Path, int],
    history: Mapping[Path, Trajectory],
    *,
    focus: Path = (),
    rows: int = ROWS,
) -> Iterator[list[Step]]:
    """Sample every path of `lengths` up to its length (the number of steps wanted, at most T).

    `lengths` must hold every ancestor of each path, as far as the fork. The focus and its ancestors
    come first. Steps in `history` are replayed: yielded too, with `evaluated` false.
    """
    first = {focus, *ancestors(focus)}
    forks: dict[tuple[Path, int], list[Path]] = {}  # (parent, step) -> the paths born there
    for path in filter(None, lengths):
        forks.setdefault((path[:-1], path[-1].step), []).append(path)
    nodes: dict[Path, _Node] = {(): _Node((), prepared.latents, copy.deepcopy(prepared.scheduler))}
    for phase in (first, lengths.keys()):
        for step, timestep in enumerate(prepared.timesteps):
            alive = [
                node
                for node in nodes.values()
                if node.step == step < lengths[node.path] and node.path in phase
            ]
            if alive:
                wave = _outputs(prepared, alive, timestep, history, rows)
                steps = []
                for node, (output, evaluated) in zip(alive, wave, strict=True):
                    born = [
                        _Node(path, node.latents, copy.deepcopy(node.scheduler), step)
                        for path in forks.get((node.path, step), ())
                    ]
                    nodes |= {child.path: child for child in born}
                    steps.append(_advance(prepared, seed, node, output, evaluated, history))
                    for child in born:
                        steps.append(_advance(prepared, seed, child, output, False, history))
                yield steps


def _outputs(
    prepared: Prepared,
    nodes: Sequence[_Node],
    timestep: Tensor,
    history: Mapping[Path, Trajectory],
    rows: int,
) -> list[tuple[Tensor, bool]]:
    """The guided model output of each node, and whether it had to be evaluated."""
    outputs: dict[Path, Tensor] = {}
    inputs: dict[Path, Tensor] = {}
    for node in nodes:
        # Called for its effect too: Euler-type schedulers find their step index here.
        scaled = node.scheduler.scale_model_input(node.latents, timestep)
        known = history.get(node.path)
        if known is not None and node.step < known.steps:
            outputs[node.path] = _tensor(known.model_outputs[node.step], node.latents)
        else:
            inputs[node.path] = scaled
    paths = list(inputs)
    for start in range(0, len(paths), rows):
        batch = paths[start : start + rows]
        guided = prepared.denoise(torch.cat([inputs[path] for path in batch]), timestep)
        outputs.update(zip(batch, guided.split(1), strict=True))
    return [(outputs[node.path], node.path in inputs) for node in nodes]


def _advance(
    prepared: Prepared,
    seed: int,
    node: _Node,
    output: Tensor,
    evaluated: bool,
    history: Mapping[Path, Trajectory],
) -> Step:
    """Take the node's transition step → step+1 with its own noise."""
    step, latents = node.step, node.latents
    next_latents = _transition(prepared, seed, node, output)
    known = history.get(node.path)
    if known is not None and step < known.steps:
        next_latents = _tensor(known.latents[step + 1], latents)
    node.latents, node.step = next_latents, step + 1
    return Step(node.path, step, latents, output, next_latents, evaluated)


def _transition(prepared: Prepared, seed: int, node: _Node, output: Tensor) -> Tensor:
    scheduler, step, latents, path = node.scheduler, node.step, node.latents, node.path
    timestep, kwargs = prepared.timesteps[step], prepared.step_kwargs
    born_here = bool(path) and path[-1].step == step
    kick = born_here and not kernels.draws_noise(scheduler, output, timestep, latents, kwargs)
    if kernels.takes_generator(scheduler):
        # The trunk draws from one stream, as the library does; branches from one generator a step.
        generator = kernels.keyed_generator(seed, path, step) if path else prepared.generator
        kwargs = {**kwargs, "generator": generator}
    following: Tensor = scheduler.step(output, timestep, latents, **kwargs, return_dict=False)[0]
    if not kick:
        return following.to(latents.dtype)
    level, next_level = ((prepared.alphas[i], prepared.sigmas[i]) for i in (step, step + 1))
    x0 = pred_original_sample(latents, output, *level, prepared.prediction_type)
    noise = kernels.noise_like(latents, kernels.keyed_generator(seed, path, step))
    if hasattr(scheduler, "last_sample"):
        scheduler.last_sample = None  # UniPC's corrector would undo the kick
    return kernels.eta_kernel(latents, x0, noise, level, next_level).to(latents.dtype)


def _tensor(stored: NDArray[np.float32], like: Tensor) -> Tensor:
    return torch.tensor(stored, dtype=like.dtype, device=like.device).unsqueeze(0)
