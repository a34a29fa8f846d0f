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

from diffgrid.spec import Path

ETA = 1.0  # of the η-kernel: as much fresh noise as an ancestral step would add


def noise_levels(scheduler: SchedulerMixin) -> tuple[list[float], list[float]]:
    """alpha and sigma before each step and after the last, T+1 values each.

    The scheduler's timesteps must have been set. Variance-preserving schedulers take them from
    alphas_cumprod, the DPM family converts its sigmas, the rest keep alpha = 1 (Karras et al.,
    arXiv 2206.00364, table 1).
    """
    if hasattr(scheduler, "sigmas"):
        sigmas = scheduler.sigmas.double()
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
            pairs = [scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in sigmas]
            return [float(alpha) for alpha, _ in pairs], [float(sigma) for _, sigma in pairs]
        return [1.0] * len(sigmas), sigmas.tolist()
    alpha_bars = scheduler.alphas_cumprod.double()[scheduler.timesteps.long().cpu()].tolist()
    alpha_bars.append(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))
    return [math.sqrt(a) for a in alpha_bars], [math.sqrt(1 - a) for a in alpha_bars]


def keyed_generator(seed: int, path: Path, step: int) -> torch.Generator:
    """The noise of one branch's transition step → step+1.

    Keyed by the seed, the path's forks up to and including `step`, and the step: it depends
    neither on the batch the branch is computed in, nor on the device, nor on what was computed
    before. (torch's CPU generator goes by the low 32 bits of its seed, for the trunk's too.)
    """
    forks = [[fork.step, fork.branch] for fork in path if fork.step <= step]
    text = json.dumps([seed, forks, step], separators=(",", ":"))
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)


def noise_like(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise, drawn in float32 on the CPU: one stream for all dtypes and devices."""
    return torch.randn(latents.shape, generator=generator, dtype=torch.float32).to(latents)


def eta_kernel(
    latents: Tensor,
    pred_original_sample: Tensor,
    noise: Tensor,
    level: tuple[float, float],
    next_level: tuple[float, float],
    eta: float = ETA,
) -> Tensor:
    """One stochastic transition between two noise levels, for any parametrisation.

        s  = η (σ'/σ) √(σ² - (α/α')² σ'²)
        x' = α' x̂0 + √(σ'² - s²) ε̂ + s ξ

    It keeps the marginals of the deterministic step it stands in for: with η = 1 it is DDIM's step
    with eta 1 (Song et al., arXiv 2010.02502, equations 12 and 16) and, in coordinates with α = 1,
    Euler ancestral's. `level` and `next_level` are (alpha, sigma) before and after.
    """
    (alpha, sigma), (next_alpha, next_sigma) = level, next_level
    removed = max(0.0, sigma**2 - (alpha / next_alpha * next_sigma) ** 2)
    fresh = min(next_sigma, eta * next_sigma / sigma * math.sqrt(removed))
    pred_noise = (latents - alpha * pred_original_sample) / sigma
    kept = math.sqrt(next_sigma**2 - fresh**2)
    return next_alpha * pred_original_sample + kept * pred_noise + fresh * noise


def takes_generator(scheduler: SchedulerMixin) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters


def draws_noise(
    scheduler: SchedulerMixin,
    model_output: Tensor,
    timestep: Tensor,
    latents: Tensor,
    step_kwargs: dict[str, Any],
) -> bool:
    """Whether the scheduler's own next step adds noise; tried out, so that no class is named."""
    if not takes_generator(scheduler):
        return False
    outcomes = [
        copy.deepcopy(scheduler).step(
            model_output,
            timestep,
            latents,
            **step_kwargs,
            generator=torch.Generator("cpu").manual_seed(seed),
            return_dict=False,
        )[0]
        for seed in (0, 1)
    ]
    return not torch.equal(*outcomes)
