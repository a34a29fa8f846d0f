"""Every pipeline as one contract: let the library prepare, then take over at its first model call.

The pipeline encodes the prompts, sets the timesteps and draws the initial latents in its own way.
A hook on the denoiser stops it at the first call and keeps what it was about to be given.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor

from diffgrid.errors import BadInput, ModelError, reason_of
from diffgrid.models.families import FAMILIES, Family
from diffgrid.records.trajectories import PredictionType
from diffgrid.sampling import cpu_parallel
from diffgrid.sampling.adapters import Adapter, adapt, refusing
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import draws_noise

Denoise = Callable[[Tensor, Tensor], Tensor]  # scaled latents (n, C, H, W), t -> guided output


@dataclass(frozen=True)
class Prepared:
    """A specification ready to be sampled."""

    latents: Tensor  # (1, C, H, W), x_0 of the trunk: pure noise, scaled as the scheduler wants it
    adapter: Adapter  # of the scheduler: timesteps set, no step taken
    # The trunk's: where the library left it after the initial latents, or a fresh one in place of
    # torch's own, seeded, where that draws the noise of steps.
    generator: torch.Generator
    denoise: Denoise
    alphas: list[float]  # T+1
    sigmas: list[float]  # T+1
    prediction_type: PredictionType
    scales_input: bool = True  # whether the pipeline lets the scheduler scale what it denoises

    @property
    def timesteps(self) -> Tensor:
        """(T,)"""
        timesteps: Tensor = self.adapter.scheduler.timesteps
        return timesteps


class _FirstCall(Exception):
    """Raised in place of the denoiser's first evaluation."""


def prepare(pipe: DiffusionPipeline, spec: RunSpec, scheduler: SchedulerMixin) -> Prepared:
    """Let the pipeline prepare this specification with this scheduler.

    Raises:
        BadInput: the scheduler or the model does not take these settings, or a newer version made
            the run and knows more of them.
        ModelError: the pipeline does more than this loop does.
    """
    if spec.unknown:
        raise BadInput(
            f"option {', '.join(spec.unknown)} is not known to this version of diffgrid: go on "
            "with that run in the version that made it."
        )
    family = _family(pipe)
    generator = torch.Generator("cpu").manual_seed(spec.seed)
    pipe.scheduler = scheduler
    first = _first_call(pipe, family, _arguments(pipe, family, spec, generator))
    if len(scheduler.timesteps) != spec.length:
        raise BadInput(
            f"steps {spec.num_inference_steps} is not allowed with {spec.scheduler}: it makes "
            f"{len(scheduler.timesteps)} steps of them; choose another number or another scheduler."
        )
    if not family.draws_in_steps and draws_noise(spec.scheduler, spec.scheduler_config, spec.eta):
        raise BadInput(
            f"scheduler {spec.scheduler} draws noise as this model configures it, which "
            f"{type(pipe).__name__} does otherwise than diffgrid: choose another scheduler."
        )
    latents = family.unpack(first.latents, spec.height, spec.width, pipe)
    scale = getattr(pipe, "vae_scale_factor", 1)
    if (made := [scale * side for side in latents.shape[-2:]]) != [spec.height, spec.width]:
        raise BadInput(
            f"height {spec.height} and width {spec.width} are not allowed with this model, which "
            f"would make {made[0]} and {made[1]} of them: give those."
        )
    adapter = adapt(copy.deepcopy(scheduler), **({} if spec.eta is None else {"eta": spec.eta}))
    adapter.start_at(None)
    with refusing(scheduler, spec.num_inference_steps):
        alphas, sigmas = adapter.noise_levels()
    return Prepared(
        latents=latents.clone(),
        adapter=adapter,
        generator=generator
        if family.seeds_steps
        else torch.Generator("cpu").manual_seed(spec.seed),
        denoise=_Denoiser(getattr(pipe, family.denoiser), family, first, spec.guidance_scale),
        alphas=alphas,
        sigmas=sigmas,
        prediction_type=adapter.prediction_type(),
        scales_input=first.scaled,
    )


def denoiser(pipe: DiffusionPipeline, spec: RunSpec) -> Denoise:
    """The denoiser of the specification that was prepared last, under another prompt or guidance.

    Raises:
        BadInput: the model does not take them.
    """
    return prepare(pipe, spec, copy.deepcopy(pipe.scheduler)).denoise


def _family(pipe: DiffusionPipeline) -> Family:
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise ModelError(f"{name} is not supported: use one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _arguments(
    pipe: DiffusionPipeline, family: Family, spec: RunSpec, generator: torch.Generator
) -> dict[str, Any]:
    """What the pipeline is called with: of all a specification says, what it has a word for."""
    every = {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt or None,
        "guidance_scale": spec.guidance_scale,
        "num_inference_steps": spec.num_inference_steps,
        "eta": 0.0 if spec.eta is None else spec.eta,
        "height": spec.height,
        "width": spec.width,
        "generator": generator,
        "output_type": "latent",
        **spec.chosen,
        **family.call,
    }
    taken = inspect.signature(pipe.__call__).parameters
    return {name: value for name, value in every.items() if name in taken and value is not None}


@dataclass(frozen=True)
class _Call:
    """The denoiser's first call, as it was about to be made."""

    name: str  # what it calls the latents
    given: dict[str, Any]  # its conditions: all but the latents and the timestep
    latents: Tensor  # one sample's, before the scheduler scaled them
    scaled: bool  # whether the scheduler was asked to
    pair: bool  # whether an unconditional half goes first
    timestep: Tensor


def _first_call(pipe: DiffusionPipeline, family: Family, call: dict[str, Any]) -> _Call:
    network = getattr(pipe, family.denoiser)
    names = list(inspect.signature(network.forward).parameters)
    given: dict[str, Any] = {}
    unscaled: list[Tensor] = []

    def stop(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.update(zip(names, args, strict=False), **kwargs)
        raise _FirstCall

    scale_model_input: Any = getattr(pipe.scheduler, "scale_model_input", None)

    def record(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        unscaled.append(sample)
        scaled: Tensor = scale_model_input(sample, *args, **kwargs)
        return scaled

    set_timesteps: Any = pipe.scheduler.set_timesteps

    @wraps(set_timesteps)  # pipelines look at what it takes
    def set_or_refuse(*args: Any, **kwargs: Any) -> None:
        with refusing(pipe.scheduler, call["num_inference_steps"]):
            set_timesteps(*args, **kwargs)

    hook = network.register_forward_pre_hook(stop, with_kwargs=True)
    pipe.scheduler.set_timesteps = set_or_refuse
    if scale_model_input:
        pipe.scheduler.scale_model_input = record
    try:
        with torch.inference_mode():
            pipe(**call)
    except _FirstCall:
        pass
    except BadInput:
        raise
    except ValueError as refused:  # the pipeline's own word
        raise BadInput(
            f"the model does not take these settings: {reason_of(refused)}."
        ) from refused
    else:
        raise ModelError(f"{type(pipe).__name__} never called its denoiser: choose another model.")
    finally:
        hook.remove()
        del pipe.scheduler.set_timesteps  # the class's own shows again, and so below
        if scale_model_input:
            del pipe.scheduler.scale_model_input
    name = "sample" if "sample" in given else "hidden_states"
    denoised = given.pop(name)
    if len(denoised) > 2:
        raise ModelError(
            f"{type(pipe).__name__} evaluates {len(denoised)} rows a sample, which is more than "
            "classifier-free guidance does: turn its other guidance off."
        )
    _refuse_other_guidance(pipe)
    latents = unscaled[-1] if unscaled else denoised
    timestep = torch.as_tensor(given.pop("timestep"))
    return _Call(name, given, latents[:1], bool(unscaled), len(denoised) == 2, timestep)


def _refuse_other_guidance(pipe: DiffusionPipeline) -> None:
    for name in ("guidance_rescale", "pag_scale", "true_cfg_scale"):
        value = getattr(pipe, name, None) or getattr(pipe, f"_{name}", None)
        if value:
            raise ModelError(
                f"{type(pipe).__name__} has {name} {value}, which is not supported: set it to 0."
            )


class _Denoiser:
    """Guided model outputs for any number of rows (Ho & Salimans, arXiv 2207.12598, eq. 6)."""

    def __init__(
        self, network: torch.nn.Module, family: Family, first: _Call, guidance_scale: float
    ) -> None:
        self.network, self.family, self.conditions = network, family, first.given
        self.guidance_scale = guidance_scale if first.pair else None
        self.name = first.name
        self.expands = first.timestep.ndim > 0  # a timestep a row, of the dtype it was given in
        self.timestep_dtype = first.timestep.dtype

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        return cpu_parallel.run(self.network, partial(self._guided, timestep), latents)

    def _guided(self, timestep: Tensor, latents: Tensor) -> Tensor:
        if self.guidance_scale is None:
            return self._evaluate(latents, latents, timestep)
        pair = self._evaluate(torch.cat([latents, latents]), latents, timestep)
        unconditional, conditional = pair.chunk(2)
        guided: Tensor = unconditional + self.guidance_scale * (conditional - unconditional)
        return guided

    def _evaluate(self, inputs: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        conditions = {
            name: value if name in self.family.shared else _rows(value, len(latents))
            for name, value in self.conditions.items()
        }
        if self.expands:
            timestep = timestep.expand(len(inputs)).to(inputs.device, self.timestep_dtype)
        conditions |= {self.name: self.family.pack(inputs)}
        output = self.network(timestep=self.family.timestep(timestep), **conditions)[0]
        result: Tensor = self.family.output(output, latents)
        return result


def _rows(condition: Any, n: int) -> Any:
    """A condition captured for one sample, for n: each half of the guided pair keeps its own."""
    if isinstance(condition, dict):
        return {name: _rows(value, n) for name, value in condition.items()}
    whole = not torch.is_tensor(condition) or condition.ndim == 0
    return condition if whole else condition.repeat_interleave(n, 0)
