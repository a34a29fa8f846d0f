"""Exact Gaussian data: every pixel is N(MEAN, SPREAD²), and the denoiser is known in closed form.

With x = αx_0 + σε the best guess of x_0 is MEAN + g (x - α MEAN), where
g = α SPREAD² / (α² SPREAD² + σ²). So a sampler can be held against the truth with no model at all:
its x̂0 step by step, and how widely its finals spread. The levels (α, σ) are worked out here a
second time, from the papers.
"""

import copy
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor

from diffgrid.sampling.adapters import adapt
from diffgrid.sampling.preparation import Prepared
from diffgrid.spec.path import Fork, Path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import SCHEDULERS
from tests.sampling.plain import in_batches
from tests.sampling.recorded import final, record
from tests.tiny import LATENT, STABLE_DIFFUSION

MEAN, SPREAD = 0.5, 0.4
STEPS, SEEDS = 20, 6
SHAPE = (1, 4, 24, 24)
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "flow_prediction")
CLOSE = 1e-5  # how far x̂0 may be off
SPREAD_TOLERANCE = 0.02  # how far a fork's finals may spread more or less than plain trunks'
NAMES = tuple(scheduler.name for scheduler in SCHEDULERS)
BY_TIMESTEP = (
    "DDPMScheduler",
    "DDIMScheduler",
    "CogVideoXDDIMScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "TCDScheduler",
)


@cache
def build(name: str, prediction_type: str) -> Any:
    """The scheduler of this name with its timesteps set; None where it knows no such prediction."""
    kind = next(scheduler for scheduler in SCHEDULERS if scheduler.name == name)
    config = {**STABLE_DIFFUSION, **LATENT, "skip_prk_steps": True, **kind.adds}
    flow = prediction_type == "flow_prediction"
    if not kind.flow:
        config |= {"prediction_type": prediction_type, "use_flow_sigmas": flow}
    scheduler_class = getattr(diffusers, kind.class_name)
    scheduler = scheduler_class.from_config(config)
    if flow != (kind.flow or bool(scheduler.config.get("use_flow_sigmas"))):
        return None
    scheduler.set_timesteps(STEPS)
    return scheduler if _runs(scheduler) else None


def _runs(scheduler: Any) -> bool:
    """Whether the library itself takes a step with it."""
    trial, x = copy.deepcopy(scheduler), torch.zeros(SHAPE)
    try:
        if hasattr(trial, "scale_model_input"):
            trial.scale_model_input(x, trial.timesteps[0])
        trial.step(x, trial.timesteps[0], x)
    except (NotImplementedError, ValueError):
        return False
    return True


def levels(scheduler: Any) -> list[tuple[float, float]]:
    """(α, σ) before each step and after the last, in the coordinates the scheduler keeps x in."""
    kind = type(scheduler).__name__
    if kind in BY_TIMESTEP:
        bars = [float(scheduler.alphas_cumprod[int(t)]) for t in scheduler.timesteps]
        bars.append(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))
        return [(math.sqrt(bar), math.sqrt(1 - bar)) for bar in bars]
    sigmas = scheduler.sigmas.double().tolist()[: len(scheduler.timesteps) + 1]
    if kind.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas"):
        return [(1 - sigma, sigma) for sigma in sigmas]
    if kind.startswith(("DPMSolverM", "DPMSolverSinglestep", "UniPC", "DEIS", "SASolver")):
        return [(1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)) for sigma in sigmas]
    if kind.startswith(("KDPM2", "DPMSolverSDE")):
        # The second stage evaluates half way in log sigma.
        for i in range(1, len(scheduler.timesteps), 2):
            start, end = sigmas[i - 1], sigmas[i + 1]
            if kind.startswith("KDPM2Ancestral"):
                end *= math.sqrt(1 - (start**2 - end**2) / start**2)  # the rest comes as noise
            sigmas[i] = math.sqrt(start * end)
    return [(1.0, sigma) for sigma in sigmas]


def pred_original_sample(x: Any, alpha: float, sigma: float) -> Any:
    """The best guess of x_0; arrays or tensors."""
    gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
    return MEAN + gain * (x - alpha * MEAN)


class Denoiser:
    """The model that predicts it, in the words and the coordinates that its scheduler wants."""

    def __init__(self, scheduler: Any) -> None:
        flow = type(scheduler).__name__.startswith("FlowMatch")
        self.kind = "flow_prediction" if flow else scheduler.config.prediction_type
        self.sigma_data = scheduler.config.get("sigma_data")  # EDM's
        timesteps = scheduler.timesteps.tolist()
        self.levels = dict(zip(timesteps, levels(scheduler)[: len(timesteps)], strict=True))

    def __call__(self, scaled: Tensor, timestep: Tensor) -> Tensor:
        alpha, sigma = self.levels[float(timestep)]
        if data := self.sigma_data:  # Karras et al., arXiv 2206.00364, table 1
            r = math.hypot(sigma, data)
            x0 = pred_original_sample(scaled * r, alpha, sigma)
            output: Tensor = (x0 - (data / r) ** 2 * scaled * r) / (sigma * data / r)
            return -output if self.kind == "v_prediction" else output
        r = math.hypot(alpha, sigma)
        x = scaled * r if alpha == 1.0 else scaled
        x0 = pred_original_sample(x, alpha, sigma)
        noise = (x - alpha * x0) / sigma
        outputs: dict[str, Tensor] = {
            "epsilon": noise,
            "v_prediction": (alpha * noise - sigma * x0) / r,
            "sample": x0,
            "flow_prediction": noise - x0,
        }
        return outputs[self.kind]


def prepare(name: str, prediction_type: str, seed: int) -> tuple[RunSpec, Prepared]:
    """A run over this data, from an x_0 that is distributed as noised data is."""
    scheduler = build(name, prediction_type)
    adapter = adapt(scheduler)
    alphas, sigmas = adapter.noise_levels()
    denoiser = Denoiser(scheduler)
    generator = torch.Generator("cpu").manual_seed(seed)
    alpha, sigma = levels(scheduler)[0]
    xi = torch.randn(SHAPE, generator=generator)
    spec = RunSpec(
        model="gaussian", digest="0" * 64, prompt="", negative_prompt="", guidance_scale=1.0,
        scheduler=type(scheduler).__name__, scheduler_config=json.dumps(dict(scheduler.config)),
        num_inference_steps=STEPS, eta=None, seed=seed, height=192, width=192,
    )  # fmt: skip
    prepared = Prepared(
        latents=alpha * MEAN + math.hypot(alpha * SPREAD, sigma) * xi,
        adapter=adapter,
        generator=generator,
        denoise=in_batches(denoiser),
        alphas=alphas,
        sigmas=sigmas,
        prediction_type=f"edm_{prediction_type}" if denoiser.sigma_data else prediction_type,  # type: ignore[arg-type]  # mypy sees a str
    )
    return spec, prepared


def error_of_pred_original_sample(name: str, prediction_type: str) -> float | None:
    """How far the trunk's x̂0 is off at worst; None where the scheduler knows no such prediction."""
    if build(name, prediction_type) is None:
        return None
    spec, prepared = prepare(name, prediction_type, seed=0)
    trunk = record(spec, prepared, {(): spec.length})[0][()]
    truth = levels(prepared.adapter.scheduler)[: spec.length]
    pairs = zip(trunk.latents, trunk.pred_original_sample, truth, strict=False)
    return max(float(np.abs(x0 - pred_original_sample(x, *level)).max()) for x, x0, level in pairs)


WHERE = ("early", "in the middle", "late", "back from the middle", "back from late")


def forks(fork_steps: range) -> dict[str, Path]:
    """Three fresh forks and two that go back, by `WHERE`."""
    early, middle, late = (fork_steps[len(fork_steps) * i // 10] for i in (1, 5, 9))
    steps = [(early, 0), (middle, 0), (late, 0), (middle, middle - early), (late, late - middle)]
    return {where: (Fork(step, 0, back),) for where, (step, back) in zip(WHERE, steps, strict=True)}


@cache
def spreads(name: str) -> Mapping[str, float]:
    """The standard deviation of the finals of plain trunks, and of each kind of fork less that."""
    prediction_type = next(kind for kind in PREDICTION_TYPES if build(name, kind) is not None)
    pooled: dict[str, list[Any]] = {}
    for seed in range(SEEDS):
        spec, prepared = prepare(name, prediction_type, seed)
        paths = {"trunk": ()} | forks(spec.fork_steps)
        made, _ = record(spec, prepared, dict.fromkeys(paths.values(), spec.length))
        for kind, path in paths.items():
            pooled.setdefault(kind, []).append(final(made[path]))
    deviations = {kind: float(np.std(finals)) for kind, finals in pooled.items()}
    trunk = deviations.pop("trunk")
    return {"trunk": trunk} | {kind: value - trunk for kind, value in deviations.items()}
