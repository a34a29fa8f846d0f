"""The sampler: a trunk and its branches, as a generator of waves of batched evaluations.

    for wave in sample(prepared, spec, lengths, history, focus=path):
        for step in wave: ...

The focus comes first and alone, so that the first picture is there at once; then everything else
that is alive at a step is evaluated together. A fork is born *after* its parent's evaluation: it
takes over x_k, the scheduler and the model's output, and redraws only the transition k → k+1.
Re-noise and change forks are born before it: they take over x_k alone.

What is known already (`history`) is replayed through the scheduler instead of evaluated. That is
the whole of resuming, and of forking what an earlier process stored: there is no second way
through.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffgrid.records.trajectories import Trajectory, pred_original_sample
from diffgrid.sampling import noise
from diffgrid.sampling.adapters import Adapter
from diffgrid.sampling.preparation import Prepared, Standing
from diffgrid.spec.path import Path, ancestors, in_effect
from diffgrid.spec.run import RunSpec, conditions
from diffgrid.spec.schedulers import sigma_data_of

ROWS = 16  # samples in one forward; on CPUs more are no cheaper a sample, and take memory


@dataclass(frozen=True)
class Step:
    """One transition of one trajectory, step → step+1. All tensors (1, C, H, W)."""

    path: Path
    step: int
    latents: Tensor  # x_step
    model_output: Tensor  # guided; for a newborn fresh fork its parent's
    next_latents: Tensor
    evaluated: bool  # the denoiser ran for it
    forced_noise: bool = False  # the η-kernel took part: the scheduler draws no noise of its own
    finite: bool = True  # whether x_{step+1} is; the trajectory ends here where it is not


@dataclass(eq=False, kw_only=True)
class _Node(Standing):
    """A trajectory under way. Each has a scheduler of its own: rows never share state."""

    path: Path
    generator: torch.Generator | None = None  # the trunk's one stream; None draws keyed noise
    forces_noise: bool = False  # at the end of the step under way, which draws none


def sample(
    prepared: Prepared,
    spec: RunSpec,
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
    tree = _Tree(prepared, spec, lengths, history, rows)
    for phase in ({focus, *ancestors(focus)}, lengths.keys()):
        while alive := tree.least_advanced(phase):
            yield tree.advance(alive)


def step_anew(prepared: Prepared, trajectory: Trajectory) -> Iterator[tuple[Tensor, Tensor | None]]:
    """What each step makes of what is stored before it: model output, and x after the step, each
    (1, C, H, W); no x where that is one which was re-noised, from a step that is stored elsewhere.

    So a run can be checked whose rounding falls as its batch did: no difference grows into the next
    step. `prepared` is of the trajectory's specification.
    """
    renoised = {fork.redrawn for fork in trajectory.path if fork.back}
    tree = _Tree(prepared, trajectory.spec, {}, {}, 1)
    node = tree.nodes[()]
    for step in range(trajectory.steps):
        node.past[step:] = [_tensor(trajectory.latents[step], prepared.latents)]
        for taken in range(len(node.path), len(in_effect(trajectory.path, step))):
            node = tree.taken(node, trajectory.path[: taken + 1])
        stored = _tensor(trajectory.model_outputs[step], prepared.latents)
        output, following = tree.evaluate(node, stored)
        yield output, None if step + 1 in renoised else following


class _Tree:
    """All trajectories under way, and how they are born."""

    def __init__(
        self,
        prepared: Prepared,
        spec: RunSpec,
        lengths: Mapping[Path, int],
        history: Mapping[Path, Trajectory],
        rows: int,
    ) -> None:
        self.prepared, self.spec, self.rows = prepared, spec, rows
        self.lengths, self.history = lengths, history
        self.forks: dict[tuple[Path, int], list[Path]] = {}  # parent, step -> those born there
        for path in filter(None, lengths):
            self.forks.setdefault((path[:-1], path[-1].step), []).append(path)
        self.nodes: dict[Path, _Node] = {}
        self._admit(
            _Node(
                path=(),
                spec=spec,
                adapter=copy.deepcopy(prepared.adapter),
                past=[prepared.latents],
                generator=_copy(prepared.generator),
            )
        )

    def least_advanced(self, phase: Collection[Path]) -> list[_Node]:
        """Of the nodes that have steps to go, those that are least far."""
        alive = [
            node
            for node in self.nodes.values()
            if node.path in phase and node.step < self.lengths[node.path]
        ]
        first = min((node.step for node in alive), default=None)
        return [node for node in alive if node.step == first]

    @torch.inference_mode()
    def advance(self, nodes: Sequence[_Node]) -> list[Step]:
        """One wave: these nodes, all at one step, and the fresh forks that are born there."""
        outputs, steps = self._outputs(nodes), []
        for node in nodes:
            output, evaluated = outputs[node.path]
            born = [self._fresh(node, path) for path in self._born(node) if _is_fresh(path)]
            steps.append(self._advance(node, output, evaluated))
            steps += [self._advance(child, output, False) for child in born]
        return steps

    def taken(self, node: _Node, path: Path) -> _Node:
        """The node that goes on along a path, from x as it is: at the step it leads back to."""
        if path[-1].changes:
            return self._changed(node, path)
        branch = self._fresh(node, path)
        if path[-1].back:
            branch.adapter = self._restarted(node.step)
        return branch

    @torch.inference_mode()
    def evaluate(self, node: _Node, output: Tensor) -> tuple[Tensor, Tensor]:
        """The model's output at a node, and x after a step that is given `output` in its place."""
        [evaluated] = self._evaluated([node])
        return evaluated, self._transition(node, output)[0]

    def _born(self, node: _Node) -> list[Path]:
        return self.forks.get((node.path, node.step), [])

    def _admit(self, node: _Node) -> None:
        """Take a node in that has come to a step, and those that leave it before its evaluation."""
        self.nodes[node.path] = node
        for path in self._born(node):
            if path[-1].changes:
                self._admit(self._changed(node, path))
            elif path[-1].back:
                self._admit(self._renoised(node, path))

    def _fresh(self, parent: _Node, path: Path) -> _Node:
        adapter = copy.deepcopy(parent.adapter)
        return _Node(path=path, spec=parent.spec, adapter=adapter, past=[*parent.past])

    def _changed(self, parent: _Node, path: Path) -> _Node:
        changed = self._fresh(parent, path)
        changed.spec, changed.generator = conditions(self.spec, path), _copy(parent.generator)
        return changed

    def _renoised(self, parent: _Node, path: Path) -> _Node:
        step, target = parent.step, path[-1].redrawn
        generator = noise.keyed_generator(self.spec.seed, path, step, "back")
        xi = noise.noise_like(parent.latents, generator)
        latents = noise.renoise(parent.latents, xi, self._level(step), self._level(target))
        past = [*parent.past[:target], latents.to(parent.latents.dtype)]
        adapter = self._restarted(target)
        return _Node(path=path, spec=parent.spec, adapter=adapter, past=past)

    def _restarted(self, step: int) -> Adapter:
        adapter = copy.deepcopy(self.prepared.adapter)
        adapter.start_at(step)
        return adapter

    def _level(self, step: int) -> tuple[float, float]:
        return self.prepared.alphas[step], self.prepared.sigmas[step]

    def _outputs(self, nodes: Sequence[_Node]) -> dict[Path, tuple[Tensor, bool]]:
        """The guided model output of each node, and whether it had to be evaluated."""
        outputs: dict[Path, tuple[Tensor, bool]] = {}
        unknown = []
        for node in nodes:
            known = self.history.get(node.path)
            if known is not None and node.step < known.steps:
                self._meet(node)
                output = _tensor(known.model_outputs[node.step], node.latents)
                outputs[node.path] = output, False
            else:
                unknown.append(node)
        evaluated = zip(unknown, self._evaluated(unknown), strict=True)
        return outputs | {node.path: (output, True) for node, output in evaluated}

    def _evaluated(self, nodes: Sequence[_Node]) -> list[Tensor]:
        for node in nodes:
            self._meet(node)
        return self.prepared.denoise(nodes, self.rows) if nodes else []

    def _meet(self, node: _Node) -> None:
        """Euler-type schedulers find their step index where they scale what is denoised."""
        scheduler = node.adapter.scheduler
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(node.latents, self.prepared.timesteps[node.step])

    def _advance(self, node: _Node, output: Tensor, evaluated: bool) -> Step:
        """Take the node's transition step → step+1 with its own noise."""
        step, latents = node.step, node.latents
        next_latents, forced_noise = self._transition(node, output)
        known = self.history.get(node.path)
        if known is not None and step < known.steps:
            next_latents = _tensor(known.latents[step + 1], latents)
        node.past.append(next_latents)
        finite = bool(next_latents.isfinite().all())
        if finite:
            self._admit(node)
        else:  # what would leave it later has nothing to begin with
            self.nodes.pop(node.path, None)
        return Step(node.path, step, latents, output, next_latents, evaluated, forced_noise, finite)

    def _transition(self, node: _Node, output: Tensor) -> tuple[Tensor, bool]:
        """x after the step, and whether noise was forced into it."""
        prepared, step, latents = self.prepared, node.step, node.latents
        timesteps = prepared.timesteps
        last = self._begins_step(step + 1)  # of the stages that make one step
        if self._is_redrawn(node.path, step):
            stages = timesteps[step : step + self.spec.stages]
            node.forces_noise = not node.adapter.draws_noise(output, stages, latents)
        generator, trunk = node.generator or self._keyed(node), node.generator is not None
        following = node.adapter.step(output, timesteps[step], latents, generator, trunk)
        if not (node.forces_noise and last):
            return following, False
        node.forces_noise = False
        kind, data = prepared.prediction_type, sigma_data_of(self.spec.scheduler_config)
        x0 = pred_original_sample(latents, output, *self._level(step), kind, data)
        x0 = node.adapter.limited(x0)
        xi = noise.noise_like(latents, self._keyed(node))
        level = self._level(step + 1 - self.spec.stages)
        next_level = node.adapter.level_after(step, self._level(step + 1))
        node.adapter.forget_sample()
        redrawn = noise.eta_kernel(following, x0, xi, level, next_level)
        return redrawn.to(latents.dtype), True

    def _is_redrawn(self, path: Path, step: int) -> bool:
        """Whether a step that begins here must draw noise: at a fork, after a stochastic one."""
        if any(fork.stochastic for fork in in_effect(path, step)):
            return self._begins_step(step)
        return _is_fresh(path) and path[-1].step == step

    def _begins_step(self, step: int) -> bool:
        """Whether it is the first of the stages that make one step."""
        return (self.spec.loop.begin + step) % self.spec.stages == 0

    def _keyed(self, node: _Node) -> torch.Generator:
        return noise.keyed_generator(self.spec.seed, node.path, node.step)


def _is_fresh(path: Path) -> bool:
    return bool(path) and not (path[-1].changes or path[-1].back)


def _copy(generator: torch.Generator | None) -> torch.Generator | None:
    if generator is None:
        return None
    copied = torch.Generator(generator.device)
    copied.set_state(generator.get_state())
    return copied


def _tensor(stored: NDArray[np.float32], like: Tensor) -> Tensor:
    return torch.tensor(stored, dtype=like.dtype, device=like.device).unsqueeze(0)
