"""A trajectory is one call of its pipeline, for one picture: a lane.

A lane is suspended where the pipeline calls a network and where it takes a step of its scheduler;
whoever drives it answers. What all classes of pipelines do otherwise (words, sizes, guidance of
every kind, packing) stays in their own code. Steps that are known need no network: a lane that
begins in the middle is given the known x after each, and zeros in place of outputs.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from greenlet import error as GreenletError
from greenlet import getcurrent, greenlet
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from diffgrid.errors import BadInput, ModelError, reason_of
from diffgrid.sampling.adapters import Adapter, refusing
from diffgrid.sampling.batches import Axes, Call, equal, grown, on_tensors

OVER = ("step", "set_timesteps")  # what a lane's scheduler does otherwise
PICTURES = ("num_images_per_prompt", "batch_size")  # how a call says how many it is to make


@dataclass(frozen=True, eq=False)
class Taken:
    """A step about to be taken."""

    model_output: Tensor
    sample: Tensor
    timestep: Any  # as the pipeline has it, a number or a tensor of one


class Lane:
    """One call of a pipeline, suspended. `wants` is what it waits for; None when it has ended."""

    def __init__(
        self, pipe: DiffusionPipeline, scheduler: SchedulerMixin, arguments: Mapping[str, Any]
    ) -> None:
        self.wants: Call | Taken | None = None
        self.scheduler = scheduler
        self.result: Any = None  # what the call returned
        self._greenlet = greenlet(lambda _: pipe(**arguments))

    def send(self, answer: Any = None) -> None:
        """Go on with what it waits for, to what it waits for next.

        Raises:
            BadInput: the pipeline does not take its arguments.
        """
        self._greenlet.parent = getcurrent()
        try:
            # What the pipeline turns off (gradients) is the thread's: it ends here, not in there.
            with torch.inference_mode():
                told = self._greenlet.switch(answer)
        except ValueError as refused:  # the pipeline's own word
            raise BadInput(
                f"the model does not take these settings: {reason_of(refused)}."
            ) from refused
        self.wants, self.result = (None, told) if self._greenlet.dead else (told, None)

    @property
    def taken(self) -> Taken:
        """The step that it is about to take.

        Raises:
            ModelError: it wants no other.
        """
        if not isinstance(self.wants, Taken):
            raise ModelError(
                "the model's pipeline takes fewer steps than its scheduler has: choose another."
            )
        return self.wants

    def __del__(self) -> None:
        """End it where it stands, and there alone what its pipeline turned off."""
        if self._greenlet.dead:
            return
        self._greenlet.parent = getcurrent()
        with suppress(GreenletError), torch.inference_mode():  # in another thread: that ends it
            self._greenlet.throw()


def _ask(wants: Call | Taken) -> Any:
    """Suspend the lane that calls this, until what it wants is there."""
    driver = getcurrent().parent
    if driver is None:
        raise RuntimeError("the networks of a lane are called from nowhere else.")
    return driver.switch(wants)


class Lanes:
    """Begins calls of a pipeline that share its networks; each has a scheduler of its own."""

    def __init__(self, pipe: DiffusionPipeline, scheduler: SchedulerMixin) -> None:
        self._pipe, self._scheduler = pipe, scheduler
        self._remembered: list[tuple[Call, Any]] = []
        kind = type(pipe)  # one that knows where it is: to find that out is half of a begin
        where = {"device": pipe.device, "_execution_device": pipe._execution_device}
        self._kind = type(kind.__name__, (kind,), where)
        within = [part for part in vars(pipe).values() if isinstance(part, DiffusionPipeline)]
        self._prepares = any(hasattr(each, "prepare_latents") for each in (pipe, *within))
        self._twins: dict[int, nn.Module] = {}  # by what they stand in for
        for part in pipe.components.values():
            if isinstance(part, ModelMixin):
                answers = {"__call__": _ask, "decode": _ask, "encode": self._remember}
                self._twins[id(part)] = _standing_in(part, answers)
            elif isinstance(part, PreTrainedModel):
                self._twins[id(part)] = _standing_in(part, {"__call__": self._remember})

    def begin(self, arguments: Mapping[str, Any], latents: Tensor | None = None) -> Lane:
        """A call, up to where it first wants something; `latents` in place of those it draws."""
        scheduler = _asking(copy.copy(self._scheduler))
        if latents is not None and not self._prepares:
            arguments = {**arguments, **self.arguments({"latents": latents.clone()})}
        pipe = self._own(self._pipe, scheduler, latents)
        vars(pipe)["watermark"] = None  # the model's picture, not the library's
        pipe.__class__ = self._kind
        lane = Lane(pipe, scheduler, arguments)
        lane.send()
        while isinstance(lane.wants, Call) and scheduler.timesteps is self._scheduler.timesteps:
            lane.send(self._remember(lane.wants))  # before its loop: of the words, as text encoders
        if latents is not None and not self._prepares and isinstance(lane.wants, Call):
            for given in lane.wants.leaves:  # where its loop holds them, and nothing else does
                if _alike(given, latents):
                    given.copy_(latents)
        return lane

    def _own(
        self, pipe: DiffusionPipeline, scheduler: SchedulerMixin, latents: Tensor | None
    ) -> DiffusionPipeline:
        """A lane's own pipeline: the same, and those that it is made of, with what stands in."""
        twins = {**self._twins, id(self._pipe.scheduler): scheduler}
        own = copy.copy(pipe)
        for name, part in vars(pipe).items():
            if id(part) in twins:
                vars(own)[name] = twins[id(part)]
            elif isinstance(part, DiffusionPipeline):
                vars(own)[name] = self._own(part, scheduler, latents)
        if latents is not None and hasattr(pipe, "prepare_latents"):
            vars(own)["prepare_latents"] = _giving(latents, own.prepare_latents)
        return own

    def arguments(self, every: Mapping[str, Any]) -> dict[str, Any]:
        """Of these, what the pipeline has a word for."""
        takes = inspect.signature(type(self._pipe).__call__).parameters
        return {name: value for name, value in every.items() if name in takes}

    def pictures(self, count: int) -> dict[str, Any]:
        """What the pipeline is given to make so many pictures of one prompt."""
        return self.arguments(dict.fromkeys(PICTURES, count))

    def axes(self, call: Call, arguments: Mapping[str, Any]) -> Axes | None:
        """Which axes of a call's arguments grow with the number of pictures."""
        known = _axes.setdefault(call.network, {})
        if call.shape not in known:
            known[call.shape] = self._learnt(call, arguments)
        return known[call.shape]

    def _learnt(self, call: Call, arguments: Mapping[str, Any]) -> Axes | None:
        with warnings.catch_warnings():  # of one photo for two pictures
            warnings.simplefilter("ignore", FutureWarning)
            one, two = (self.begin({**arguments, **self.pictures(count)}) for count in (1, 2))
        first, second = one.wants, two.wants
        if not (isinstance(first, Call) and isinstance(second, Call)):
            return None
        return grown(first, second) if first.shape == call.shape else None

    def _remember(self, call: Call) -> Any:
        """What is made of the words, or of a photo, once for all lanes."""
        for known, output in self._remembered:
            if equal(known, call):
                return output
        with torch.inference_mode():
            output = call()
        self._remembered.append((call, output))
        return output


_values: dict[type, int] = {}  # how many a scheduler's step gives
_axes: "WeakKeyDictionary[nn.Module, dict[Any, Axes | None]]" = WeakKeyDictionary()
_outputs: "WeakKeyDictionary[nn.Module, dict[Any, Any]]" = WeakKeyDictionary()


def zeros(call: Call) -> Any:
    """An output of a call's shape, for nothing: for one that is not looked at."""
    known = _outputs.setdefault(call.network, {})
    if call.shape not in known:
        try:
            output = _shaped(call)
        except Exception:  # one whose shapes depend on numbers: evaluated once more than needed
            with torch.inference_mode():
                output = call()
        known[call.shape] = on_tensors(
            output, lambda each: torch.zeros(each.shape, dtype=each.dtype, device=each.device)
        )
    return known[call.shape]


def _shaped(call: Call) -> Any:
    """The output without its numbers, of a copy without weights: networks keep what they met."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    weights = [*call.network.parameters(), *call.network.buffers()]
    copied = copy.deepcopy(call.network, {id(each): fake.from_tensor(each) for each in weights})
    args, kwargs = on_tensors((call.args, call.kwargs), fake.from_tensor)
    with torch.inference_mode(False), torch.no_grad(), fake:
        return copied(*args, **kwargs)


def forward_to(lane: Lane, latents: Sequence[Tensor], adapter: Adapter) -> None:
    """Let a lane that has just begun stand at step len(latents) - 1, with what is known: x before
    each step, and the scheduler as it is there."""
    for step, following in enumerate(latents):
        if step:
            while isinstance(lane.wants, Call):
                lane.send(zeros(lane.wants))
        if step == len(latents) - 1:
            vars(lane.scheduler).update(vars(adapter.scheduler))
        if step:
            lane.send(following)


def _standing_in(network: nn.Module, answers: Mapping[str, Callable[[Call], Any]]) -> nn.Module:
    """The same network to whoever looks, these methods of which ask for an answer."""
    kind = type(network)

    def asking(method: str, answer: Callable[[Call], Any]) -> Callable[..., Any]:
        return lambda _, *args, **kwargs: answer(Call(network, args, kwargs, method))

    own = {name: asking(name, answer) for name, answer in answers.items() if hasattr(kind, name)}
    twin: nn.Module = object.__new__(type(kind.__name__, (kind,), own))
    object.__setattr__(twin, "__dict__", vars(network))
    return twin


def _asking(scheduler: SchedulerMixin) -> SchedulerMixin:
    """A scheduler, of the class that pipelines ask for, whose steps are taken elsewhere."""
    kind: Any = type(scheduler)
    own_step, own_set_timesteps = (
        kind.step.__get__(scheduler),
        kind.set_timesteps.__get__(scheduler),
    )
    signature = inspect.signature(own_step)
    unseeded = {"generator": None} if "generator" in signature.parameters else {}

    @wraps(own_step)  # pipelines look at what it takes
    def step(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        as_tuple = not given.get("return_dict", True)
        if as_tuple and kind not in _values:
            trial = kind.step.__get__(copy.deepcopy(scheduler))
            with torch.random.fork_rng():
                _values[kind] = len(trial(*args, **{**kwargs, **unseeded}))
        following = _ask(Taken(given["model_output"], given["sample"], given["timestep"]))
        if as_tuple:  # the others are x̂0, which after the last step is x
            return (following,) * _values[kind]
        return SchedulerOutput(prev_sample=following)

    @wraps(own_set_timesteps)
    def set_timesteps(num_inference_steps: Any = None, *args: Any, **kwargs: Any) -> Any:
        with refusing(scheduler, num_inference_steps):
            return own_set_timesteps(num_inference_steps, *args, **kwargs)

    vars(scheduler).update(zip(OVER, (step, set_timesteps), strict=True))
    return scheduler


def as_it_stands(scheduler: SchedulerMixin) -> SchedulerMixin:
    """A lane's scheduler as a plain one, in the state that it is in."""
    plain = copy.copy(scheduler)
    for name in OVER:
        del vars(plain)[name]
    return copy.deepcopy(plain)


def _giving(latents: Tensor, prepare: Callable[..., Any]) -> Callable[..., Any]:
    """A pipeline's `prepare_latents`, whose own are replaced."""

    @wraps(prepare)
    def given(*args: Any, **kwargs: Any) -> Any:
        own = prepare(*args, **kwargs)
        if isinstance(own, tuple):
            return tuple(latents.clone() if _alike(each, latents) else each for each in own)
        return latents.clone() if _alike(own, latents) else own

    return given


def _alike(one: Any, other: Tensor) -> bool:
    return torch.is_tensor(one) and one.shape == other.shape
