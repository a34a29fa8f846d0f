"""Noise levels, keyed noise, and the one transition that makes a deterministic sampler branch.

Everywhere x = alpha x_0 + sigma ε, in the coordinates in which the scheduler keeps x.
"""

import copy
import hashlib
import inspect
import json
import math
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from diffgrid.records.trajectories import pred_original_sample
from diffgrid.spec.path import Path, in_effect

ETA = 1.0  # of the η-kernel: as much fresh noise as an ancestral step would add


def noise_levels(scheduler: SchedulerMixin) -> tuple[list[float], list[float]]:
    """alpha and sigma before each step and after the last, T+1 values each.

    The scheduler's timesteps must have been set. Variance-preserving schedulers take them from
    alphas_cumprod, the DPM family converts its sigmas, flow matching has alpha = 1 - sigma, the
    rest keep alpha = 1 (Karras et al., arXiv 2206.00364, table 1).
    """
    if not hasattr(scheduler, "sigmas"):
        bars = scheduler.alphas_cumprod.double()[scheduler.timesteps.long().cpu()].tolist()
        bars.append(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))
        return [math.sqrt(a) for a in bars], [math.sqrt(1 - a) for a in bars]
    sigmas = _sigmas(scheduler)[: len(scheduler.timesteps) + 1]
    if hasattr(scheduler, "scale_noise"):  # flow matching
        return [1 - sigma for sigma in sigmas], sigmas
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t") and not preconditions(scheduler):
        wanted = torch.tensor(sigmas, dtype=torch.float64)
        pairs = [scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in wanted]
        return [float(alpha) for alpha, _ in pairs], [float(sigma) for _, sigma in pairs]
    return [1.0] * len(sigmas), sigmas


def _sigmas(scheduler: SchedulerMixin) -> list[float]:
    """The scheduler's sigmas, at second stages those of the midpoint that they evaluate."""
    sigmas = scheduler.sigmas.double().tolist()
    between = range(1, len(scheduler.timesteps), 2)
    if hasattr(scheduler, "sigmas_interpol"):
        behind = 1 if hasattr(scheduler, "sigmas_up") else 0  # the ancestral one looks it up so
        for i in between:
            sigmas[i] = float(scheduler.sigmas_interpol[i - behind])
    elif hasattr(scheduler, "noise_sampler"):
        for i in between:
            sigmas[i] = math.sqrt(float(scheduler.sigmas[i - 1]) * float(scheduler.sigmas[i]))
    return list(map(float, sigmas))


def preconditions(scheduler: SchedulerMixin) -> bool:
    """Whether the model's output is turned into x̂0 by EDM's preconditioning."""
    return hasattr(scheduler, "precondition_outputs")


def keyed_generator(seed: int, path: Path, step: int, what: str = "") -> torch.Generator:
    """The noise of one branch's transition step → step+1, or of going back from there.

    Keyed by the seed, the path's forks that are in effect at `step`, and the step: it depends
    neither on the batch the branch is computed in, nor on the device, nor on what was computed
    before. Changes of prompt or guidance leave it as it is. (torch's CPU generator goes by the low
    32 bits of its seed, for the trunk's too.)
    """
    forks = [fork.words for fork in in_effect(path, step) if not fork.changes]
    key = [seed, forks, step, *filter(None, [what])]
    digest = hashlib.blake2b(
        json.dumps(key, separators=(",", ":")).encode("ascii"), digest_size=8
    ).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)


def noise_like(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise, drawn in float32 on the CPU: one stream for all dtypes and devices."""
    return torch.randn(latents.shape, generator=generator, dtype=torch.float32).to(latents)


def eta_kernel(
    following: Tensor,
    pred_original_sample: Tensor,
    noise: Tensor,
    level: tuple[float, float],
    next_level: tuple[float, float],
    eta: float = ETA,
) -> Tensor:
    """A deterministic step between two noise levels, with part of its noise drawn anew.

        s  = η (σ'/σ) √(σ² - (α/α')² σ'²)
        x' = α' x̂0 + √(1 - s²/σ'²) (x* - α' x̂0) + s ξ

    where x* = `following` is where the step led. It keeps the marginals: with DDIM's own step as x*
    and η = 1 it is DDIM's step with eta 1 (Song et al., arXiv 2010.02502, equations 12 and 16) and,
    in coordinates with α = 1, Euler ancestral's; with η = 0 it is the scheduler's own step, of
    whatever order. `level` and `next_level` are (alpha, sigma) before and after.
    """
    (alpha, sigma), (next_alpha, next_sigma) = level, next_level
    removed = max(0.0, sigma**2 - (alpha / next_alpha * next_sigma) ** 2)
    fresh = min(1.0, eta / sigma * math.sqrt(removed))  # s/σ'
    signal = next_alpha * pred_original_sample
    return signal + math.sqrt(1 - fresh**2) * (following - signal) + fresh * next_sigma * noise


def clipped(pred_original_sample: Tensor, scheduler: SchedulerMixin) -> Tensor:
    """x̂0 as the scheduler's own step takes it: schedulers for pixels clip it."""
    if not scheduler.config.get("clip_sample"):
        return pred_original_sample
    most = scheduler.config.get("clip_sample_range", 1.0)
    return pred_original_sample.clamp(-most, most)


def renoise(
    latents: Tensor, noise: Tensor, level: tuple[float, float], earlier: tuple[float, float]
) -> Tensor:
    """x at an earlier noise level, from x_t by the forward process; levels are (alpha, sigma).

    x_r = (α_r/α_k) x_k + √(σ_r² - (α_r/α_k)² σ_k²) ξ   (Song et al., arXiv 2011.13456, eq. 30)
    """
    (alpha, sigma), (target_alpha, target_sigma) = level, earlier
    ratio = target_alpha / alpha
    fresh = math.sqrt(max(0.0, target_sigma**2 - (ratio * sigma) ** 2))
    return ratio * latents + fresh * noise


# What the schedulers keep between steps.


def take_step(
    scheduler: SchedulerMixin,
    model_output: Tensor,
    timestep: Tensor,
    latents: Tensor,
    step_kwargs: dict[str, Any],
    generator: torch.Generator,
    *,
    trunk: bool = False,
) -> Tensor:
    """The scheduler's own step, with the noise of this generator.

    DPMSolverSDE draws from a Brownian tree of its own instead. Where its configuration seeds that,
    the trunk (and what changes from it) keeps it.
    """
    _begin_again(scheduler, model_output, latents)
    if takes_generator(scheduler):
        step_kwargs = {**step_kwargs, "generator": generator}
    elif hasattr(scheduler, "noise_sampler") and not (
        trunk and scheduler.noise_sampler_seed is not None
    ):
        scheduler.noise_sampler = Increments(generator, latents, scheduler)
    following: Tensor = scheduler.step(
        model_output, timestep, latents, **step_kwargs, return_dict=False
    )[0]
    return following.to(latents.dtype)


def takes_generator(scheduler: SchedulerMixin) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters


class Increments:
    """Normalised increments of a Brownian motion over sigma, as DPMSolverSDE asks for them.

    Its first stage wants one from sigma to the midpoint, its second one over the whole step, which
    holds the first.
    """

    def __init__(self, generator: torch.Generator, like: Tensor, scheduler: Any) -> None:
        self.generator, self.like = generator, like
        second = not scheduler.state_in_first_order
        earlier = scheduler.noise_sampler
        self.begun: tuple[float, Tensor] | None = None  # the first stage's increment
        if second and isinstance(earlier, Increments):
            self.begun = earlier.begun

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        noise = noise_like(self.like, self.generator)
        whole = abs(float(sigma_next) - float(sigma))
        if self.begun is None:
            self.begun = whole, noise
            return noise
        part, first = self.begun
        both: Tensor = math.sqrt(part) * first + math.sqrt(max(0.0, whole - part)) * noise
        return both / math.sqrt(whole)


def forget_sample(scheduler: SchedulerMixin) -> None:
    """Drop the sample that UniPC's and SA-Solver's correctors would go back to: it has no kick.

    The outputs that multistep schedulers remember stay, though their noise is the old one: starting
    again at order 1, or moving that noise with the kick, kept the variance less well.
    """
    if hasattr(scheduler, "last_sample"):
        scheduler.last_sample = None


def started_at(scheduler: SchedulerMixin, step: int) -> SchedulerMixin:
    """A copy of a scheduler that has taken no step, to go on from `step`."""
    started = copy.deepcopy(scheduler)
    if hasattr(started, "_step_index"):
        started._step_index = step
    if hasattr(started, "counter"):
        started.counter = step  # PNDM's first steps are special
    return started


def _begin_again(scheduler: Any, model_output: Tensor, latents: Tensor) -> None:
    """Where PNDM or LMS have no history though they are under way, let it be the newest output.

    Their weights add up to 1: the step is then of order 1.
    """
    if hasattr(scheduler, "ets") and not scheduler.ets and scheduler.counter >= 2:
        scheduler.ets = [model_output] * 3
    if hasattr(scheduler, "derivatives") and not scheduler.derivatives and scheduler.step_index:
        sigma = scheduler.sigmas[scheduler.step_index]
        x0 = pred_original_sample(
            latents, model_output, 1.0, sigma, scheduler.config.prediction_type
        )
        scheduler.derivatives = [(latents - x0) / sigma] * 3


def draws_noise(
    scheduler: SchedulerMixin,
    model_output: Tensor,
    timesteps: Tensor,
    latents: Tensor,
    step_kwargs: dict[str, Any],
) -> bool:
    """Whether the scheduler's own next step adds noise; tried out, so that no class is named.

    `timesteps` are those of its stages.
    """
    outcomes = []
    for seed in (0, 1):
        trial, x = copy.deepcopy(scheduler), latents
        generator = torch.Generator("cpu").manual_seed(seed)
        for timestep in timesteps:
            x = take_step(trial, model_output, timestep, x, step_kwargs, generator)
        outcomes.append(x)
    return not torch.equal(*outcomes)
