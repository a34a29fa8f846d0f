"""Every pipeline as one contract: its own call prepares, and denoises, in lanes.

The pipeline encodes the prompts, sets the timesteps, draws the initial latents and makes of its
network's outputs what the scheduler is given, all in its own way.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from PIL import Image
from torch import Tensor

from diffgrid.errors import BadInput, DiffgridError, ModelError
from diffgrid.models.calls import read_options
from diffgrid.models.families import Family, family_of, image_to_image_of, known, why_not
from diffgrid.records.trajectories import PredictionType
from diffgrid.sampling import batches
from diffgrid.sampling.adapters import Adapter, adapt, refusing
from diffgrid.sampling.batches import Call
from diffgrid.sampling.lanes import Lane, Lanes, as_it_stands, forward_to, zeros
from diffgrid.spec.checks import shown
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import draws_noise, scheduler_of


@dataclass(eq=False, kw_only=True)
class Standing:
    """A trajectory before its next step, as a model meets it."""

    spec: RunSpec  # whose words and guidance are in effect
    adapter: Adapter
    past: list[Tensor]  # x before each step, (1, C, H, W); the last is where it is
    lane: Lane | None = None  # as soon as it was evaluated

    @property
    def latents(self) -> Tensor:
        """x before its next step, (1, C, H, W)."""
        return self.past[-1]

    @property
    def step(self) -> int:
        """The index of its next step."""
        return len(self.past) - 1


# What trajectories that stand at one step are told, at most so many in one batch: guided model
# outputs, (1, C, H, W) each.
Denoise = Callable[[Sequence[Standing], int], list[Tensor]]


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

    @property
    def timesteps(self) -> Tensor:
        """(T,)"""
        return self.adapter.timesteps


def prepare(
    pipe: DiffusionPipeline,
    spec: RunSpec,
    scheduler: SchedulerMixin,
    photo: Image.Image | None = None,
) -> Prepared:
    """Let the pipeline prepare this specification with this scheduler.

    `photo` is the picture that it begins with, where it names one.

    Raises:
        BadInput: the scheduler or the model does not take these settings, or a newer version made
            the run and knows more of them.
        ModelError: the pipeline never has its scheduler take a step, or begins at another.
    """
    if spec.unknown:
        raise BadInput(
            f"option {', '.join(spec.unknown)} is not known to this version of diffgrid: go on "
            "with that run in the version that made it."
        )
    denoise = _InLanes(pipe, spec, scheduler, photo)
    generator, family = torch.Generator("cpu").manual_seed(spec.seed), denoise.family
    with _heeding(spec):
        lane = denoise.lanes.begin(denoise.arguments(spec, generator))
        while isinstance(lane.wants, Call):
            lane.send(zeros(lane.wants))
    denoise.like = lane.taken.sample
    if lane.taken.model_output.shape != denoise.like.shape:
        raise BadInput(
            f"scheduler {spec.scheduler} takes more of the model than what it denoises by as this "
            "model configures it (a variance), which no stored run has room for: use another model."
        )
    latents = denoise.unpack(denoise.like)
    scheduler, begin = as_it_stands(lane.scheduler), spec.loop.begin
    if (made := len(scheduler.timesteps) - begin) != spec.length:
        raise BadInput(
            f"steps {spec.num_inference_steps} is not allowed with {spec.scheduler}: it makes "
            f"{made} steps of them; choose another number or another scheduler."
        )
    if spec.photo and float(lane.taken.timestep) != float(scheduler.timesteps[begin]):
        raise ModelError(
            f"the model's pipeline does not begin at step {begin} with strength "
            f"{spec.option('strength'):g} of its picture: choose another."
        )
    if not family.draws_in_steps and draws_noise(spec.scheduler, spec.scheduler_config, spec.eta):
        raise BadInput(
            f"scheduler {spec.scheduler} draws noise as this model configures it, which "
            f"{type(pipe).__name__} does otherwise than diffgrid: choose another scheduler."
        )
    scale = spec.height // latents.shape[-2]  # of tokens: each is a patch of latents
    if denoise.like.ndim != 3 or latents.shape[1] != denoise.like.shape[-1]:
        scale = getattr(pipe, "vae_scale_factor", scale)
    if (size := [scale * side for side in latents.shape[-2:]]) != [spec.height, spec.width]:
        raise BadInput(
            f"height {spec.height} and width {spec.width} are not allowed with this model, which "
            f"would make {size[0]} and {size[1]} of them: give those."
        )
    adapter = adapt(scheduler, spec.eta, begin)
    adapter.start_at(None)
    with refusing(scheduler, spec.num_inference_steps):
        alphas, sigmas = adapter.levels()
    return Prepared(
        latents=latents.clone(),
        adapter=adapter,
        generator=generator
        if family.seeds_steps
        else torch.Generator("cpu").manual_seed(spec.seed),
        denoise=denoise,
        alphas=alphas,
        sigmas=sigmas,
        prediction_type=adapter.prediction_type(),
    )


@contextmanager
def _heeding(spec: RunSpec) -> Iterator[None]:
    """What a pipeline raises of options that only it knows becomes a sentence."""
    try:
        yield
    except Exception as error:
        other = DiffgridError | MemoryError | torch.OutOfMemoryError
        if not (told := spec.option("option")) or isinstance(error, other):
            raise
        raise BadInput(
            f"option {shown(told)} is not allowed with this model ({shown(error)}): use another "
            "value, or leave it out."
        ) from error


def family_of_pipe(pipe: DiffusionPipeline) -> Family:
    """What is special about a loaded pipeline.

    Raises:
        ModelError: nothing is known of its class.
    """
    name = type(pipe).__name__
    if name not in known():
        raise ModelError(f"the pipeline is a {name}, {why_not(name)}.")
    return family_of(name, scheduler_of(type(pipe.scheduler).__name__).flow)


def image_to_image(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """The pipeline of the same parts that begins with a photo.

    Raises:
        BadInput: there is none.
    """
    kind = getattr(diffusers, image_to_image_of(type(pipe).__name__))
    takes = inspect.signature(kind.__init__).parameters
    # Not `from_pipe`: it would make all weights float32, and leave out what is of another class
    # than its own signature names, such as a tiny autoencoder.
    parts = {
        name: part for name, part in {**pipe.config, **pipe.components}.items() if name in takes
    }
    other: DiffusionPipeline = kind(**parts)
    other.set_progress_bar_config(disable=True)
    return other


class _InLanes:
    """The denoiser of a pipeline: each trajectory is one call of it, calls that meet one batch."""

    def __init__(
        self,
        pipe: DiffusionPipeline,
        spec: RunSpec,
        scheduler: SchedulerMixin,
        photo: Image.Image | None,
    ) -> None:
        self.family, self.spec, self.photo = family_of_pipe(pipe), spec, photo
        self.pipe = image_to_image(pipe) if photo else pipe
        self.lanes = Lanes(self.pipe, scheduler)
        self.like = torch.empty(0)  # what the pipeline has, of x

    def __call__(self, standing: Sequence[Standing], rows: int) -> list[Tensor]:
        lanes = [self._at_its_step(each) for each in standing]
        while waiting := {lane: lane.wants for lane in lanes if isinstance(lane.wants, Call)}:
            outputs = batches.evaluate([*waiting.values()], self._axes, rows)
            for lane, output in zip(waiting, outputs, strict=True):
                lane.send(output)
        return [self.unpack(lane.taken.model_output) for lane in lanes]

    def _at_its_step(self, standing: Standing) -> Lane:
        """A trajectory's lane, further by the step that was taken, or begun and brought there."""
        if standing.lane is None:
            past = [self._pack(x) for x in standing.past]
            standing.lane = self.lanes.begin(self.arguments(standing.spec), past[0])
            forward_to(standing.lane, past, standing.adapter)
        else:
            vars(standing.lane.scheduler).update(vars(standing.adapter.scheduler))
            standing.lane.send(self._pack(standing.latents))
        return standing.lane

    def _axes(self, call: Call) -> batches.Axes | None:
        return self.lanes.axes(call, self.arguments(self.spec))

    def _pack(self, latents: Tensor) -> Tensor:
        """(1, C, H, W) -> x as the pipeline has it: also in memory, by which networks round."""
        return torch.empty_like(self.like).copy_(self.family.pack(latents, self.like))

    def unpack(self, latents: Tensor) -> Tensor:
        """x or a model output as the pipeline has it -> (1, C, H, W)."""
        unpacked: Tensor = self.family.unpack(latents, self.spec.height, self.spec.width, self.pipe)
        return unpacked

    def arguments(self, spec: RunSpec, generator: torch.Generator | None = None) -> dict[str, Any]:
        """What the pipeline is called with: of all a specification says, what it has a word for."""
        every = {
            "prompt": spec.prompt,
            "negative_prompt": spec.negative_prompt or None,
            "guidance_scale": spec.guidance_scale if self.family.guided else None,
            "num_inference_steps": spec.num_inference_steps,
            "eta": 0.0 if spec.eta is None else spec.eta,
            "height": spec.height,
            "width": spec.width,
            "max_area": spec.height * spec.width,
            "generator": generator or torch.Generator("cpu").manual_seed(spec.seed),
            "output_type": "latent",
            **spec.chosen,
            "image": self.photo,
            "strength": spec.option("strength"),
            **read_options(type(self.pipe).__name__, spec.option("option")),
        }
        told = {name: value for name, value in every.items() if value is not None}
        return self.lanes.arguments(told | dict(self.family.call))
