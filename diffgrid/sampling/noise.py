"""Keyed noise, and the transition that makes a deterministic sampler branch.

Everywhere x = alpha x_0 + sigma ε, in the coordinates in which the scheduler keeps x.
"""

import hashlib
import json
import math

import torch
from torch import Tensor

from diffgrid.spec.path import Path, in_effect

ETA = 1.0  # of the η-kernel: as much fresh noise as an ancestral step would add


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
    if not (sigma and next_alpha and next_sigma):  # none is left, or (inverted sigmas) removed
        return following
    removed = max(0.0, sigma**2 - (alpha / next_alpha * next_sigma) ** 2)
    fresh = min(1.0, eta / sigma * math.sqrt(removed))  # s/σ'
    signal = next_alpha * pred_original_sample
    return signal + math.sqrt(1 - fresh**2) * (following - signal) + fresh * next_sigma * noise


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
