"""Every pipeline as one contract: let the library prepare, then take over at its first model call.

The pipeline encodes the prompts, sets the timesteps and draws the initial latents in its own way.
A hook on the denoiser stops it at the first call and keeps what it was about to be given.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor

from diffgrid.errors import BadInput, ModelError
from diffgrid.spec import RunSpec
from diffgrid.torch_side import cores
from diffgrid.torch_side.kernels import noise_levels
from diffgrid.trajectories import PredictionType


@dataclass(frozen=True)
class Prepared:
    """A specification ready to be sampled."""

    latents: Tensor  # (1, C, H, W), x_0 of the trunk: pure noise, scaled as the scheduler wants it
    scheduler: SchedulerMixin  # timesteps set, no step taken
    generator: torch.Generator  # the trunk's, where the library left it after the initial latents
    denoise: Callable[[Tensor, Tensor], Tensor]  # scaled latents (n, C, H, W), t -> guided output
    step_kwargs: dict[str, Any]  # what the scheduler's step takes besides
    alphas: list[float]  # T+1
    sigmas: list[float]  # T+1
    prediction_type: PredictionType

    @property
    def timesteps(self) -> Tensor:
        """(T,)"""
        timesteps: Tensor = self.scheduler.timesteps
        return timesteps


class _FirstCall(Exception):
    """Raised in place of the denoiser's first evaluation."""


def prepare(pipe: DiffusionPipeline, spec: RunSpec, scheduler: SchedulerMixin) -> Prepared:
    """Let the pipeline prepare this specification with this scheduler.

    Raises:
        BadInput: the scheduler cannot make that many steps.
        ModelError: the pipeline finished without calling its denoiser.
    """
    generator = torch.Generator("cpu").manual_seed(spec.seed)
    pipe.scheduler = scheduler
    call = {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt or None,
        "guidance_scale": spec.guidance_scale,
        "num_inference_steps": spec.num_inference_steps,
        "eta": 0.0 if spec.eta is None else spec.eta,
        "height": spec.height,
        "width": spec.width,
        "generator": generator,
        "output_type": "latent",
    }
    given, unscaled = _first_call(pipe, call)
    if len(scheduler.timesteps) != spec.length:
        raise BadInput(
            f"steps {spec.num_inference_steps} is not allowed with {spec.scheduler}: it makes "
            f"{len(scheduler.timesteps)} steps of them; choose another number or another scheduler."
        )
    guided = bool(pipe.do_classifier_free_guidance)
    latents = unscaled.chunk(2)[0] if guided else unscaled
    fresh = copy.deepcopy(scheduler)
    if hasattr(fresh, "_step_index"):
        fresh._step_index = None
    alphas, sigmas = noise_levels(fresh)
    return Prepared(
        latents=latents.clone(),
        scheduler=fresh,
        generator=generator,
        denoise=_Denoiser(pipe.unet, given, spec.guidance_scale if guided else None),
        step_kwargs={} if spec.eta is None else {"eta": spec.eta},
        alphas=alphas,
        sigmas=sigmas,
        prediction_type=fresh.config.prediction_type,
    )


def _first_call(pipe: DiffusionPipeline, call: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
    """What the denoiser's first call is given, and the latents before they were scaled for it."""
    names = list(inspect.signature(pipe.unet.forward).parameters)
    given: dict[str, Any] = {}
    unscaled: list[Tensor] = []

    def stop(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.update(zip(names, args, strict=False), **kwargs)
        raise _FirstCall

    scale_model_input = pipe.scheduler.scale_model_input

    def record(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        unscaled.append(sample)
        scaled: Tensor = scale_model_input(sample, *args, **kwargs)
        return scaled

    hook = pipe.unet.register_forward_pre_hook(stop, with_kwargs=True)
    pipe.scheduler.scale_model_input = record
    try:
        with torch.inference_mode():
            pipe(**call)
    except _FirstCall:
        pass
    except ValueError as refused:  # the scheduler's own word on timesteps, say
        raise BadInput(
            f"the model does not take these settings: {_first_line(refused)}"
        ) from refused
    else:
        raise ModelError(f"{type(pipe).__name__} never called its denoiser: choose another model.")
    finally:
        hook.remove()
        del pipe.scheduler.scale_model_input  # the recorder; the class's own method shows again
    return given, unscaled[-1]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") + "."


class _Denoiser:
    """Guided model outputs for any number of rows (Ho & Salimans, arXiv 2207.12598, eq. 6)."""

    def __init__(
        self, model: torch.nn.Module, given: dict[str, Any], guidance_scale: float | None
    ) -> None:
        self.model = model
        self.guidance_scale = guidance_scale
        self.conditions = {
            name: value for name, value in given.items() if name not in ("sample", "timestep")
        }

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        return cores.run(self.model, partial(self._guided, timestep), latents)

    def _guided(self, timestep: Tensor, latents: Tensor) -> Tensor:
        n = len(latents)
        conditions = {name: _rows(value, n) for name, value in self.conditions.items()}
        if self.guidance_scale is None:
            output: Tensor = self.model(latents, timestep, **conditions)[0]
            return output
        pair = self.model(torch.cat([latents, latents]), timestep, **conditions)[0]
        unconditional, conditional = pair.chunk(2)
        guided: Tensor = unconditional + self.guidance_scale * (conditional - unconditional)
        return guided


def _rows(condition: Any, n: int) -> Any:
    """A condition captured for one sample, for n: each half of the guided pair keeps its own."""
    return condition.repeat_interleave(n, 0) if torch.is_tensor(condition) else condition
