"""The schedulers people can name, and what of each must be known before torch is loaded.

How long its loop is and where it can be forked decide what a path may be, so paths and grids stand
on this table. A row says all that is special about a scheduler: a new one is a new row, and one
that must be driven otherwise than the rest has an adapter besides.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.spec.checks import check_whole

Config = Mapping[str, Any]

NOT_SUPPORTED = {
    "IPNDMScheduler": "it keeps x_t at levels that it does not tell",
    "CMStochasticIterativeScheduler": "it is made for consistency models alone",
}


# Defaults of the settings that pipelines mend: where a class takes the one, and where it takes both
# and was made for latents or for pixels.
OFFSET: Config = {"steps_offset": 0}
LATENTS: Config = {"steps_offset": 0, "clip_sample": False}
PIXELS: Config = {"steps_offset": 0, "clip_sample": True}
THRESHOLDING, BOTH = ("thresholding",), ("thresholding", "clip_sample")

Setting = tuple[str, int]  # of a configuration: its name in diffusers, and its default there


def _no_warm_up(_: Config) -> tuple[int, int]:
    return 0, 0


def _pndm_warm_up(config: Config) -> tuple[int, int]:
    """The Runge-Kutta steps of the paper (arXiv 2202.09778), or one that is taken twice."""
    return (2, 1) if config.get("skip_prk_steps") else (12, 3)


@dataclass(frozen=True)
class Scheduler:
    """A scheduler people can name: a diffusers class, what its form adds to a configuration, and
    all that is special about it; the defaults are true of most."""

    name: str
    class_name: str
    adds: Mapping[str, str | int] = field(default_factory=dict)
    # The settings that some pipelines' constructors mend, and what they are where none is given.
    mendable: Config = field(default_factory=lambda: OFFSET)
    limits: tuple[str, ...] = ()  # the settings by which its step keeps x̂0 small
    adapter: str = "Adapter"  # the class in diffgrid/sampling/adapters.py that drives it
    # Whether its steps add noise, or the setting that decides: eta, or one of its configuration.
    draws_noise: bool | str = False
    most_steps: Setting | None = None  # where the class makes only so many
    stages: int | Setting = 1  # evaluations of one step; a fork can only leave before the first
    repeats: bool = False  # whether the loop holds each stage: then T = stages (n-1) + 1
    # Entries of the loop that are corrected by later ones, and how many steps they stand for: what
    # it starts with, where there is no fork.
    warm_up: Callable[[Config], tuple[int, int]] = _no_warm_up
    # Last steps with no fork; one more where they have stages. The very last ends at the final
    # sample, where most add no noise. With Gaussian data forks kept the standard deviation within
    # 0.02 but in the last but one of those with stages (off by 0.04) and four more of LMS (0.05).
    tail: int = 1
    flow: bool = False  # for flow matching: x_t = (1-sigma) x_0 + sigma noise
    needs: str | None = None  # a package that diffusers leaves to be installed
    # Of the sampler's numbers for the class: raise it when they change, and what is stored is
    # missed. The same in all rows of a class.
    version: int = 1

    @property
    def takes_eta(self) -> bool:
        return self.draws_noise == "eta"

    def draws(self, config: Config, eta: float | None) -> bool:
        """Whether its steps add noise with this configuration and eta."""
        if isinstance(self.draws_noise, bool):
            return self.draws_noise
        value = eta if self.takes_eta else config.get(self.draws_noise)
        return value.startswith("sde-") if isinstance(value, str) else bool(value)

    def missing(self) -> str | None:
        """The package it needs and that is not installed here."""
        return self.needs if self.needs and find_spec(self.needs) is None else None


def _multistep(name: str, **adds: str | int) -> Scheduler:
    return Scheduler(
        name,
        "DPMSolverMultistepScheduler",
        adds,
        limits=THRESHOLDING,
        adapter="DPMSolver",
        draws_noise="algorithm_type",
        version=2,
    )


SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler(
        "ddpm",
        "DDPMScheduler",
        mendable=PIXELS,
        limits=BOTH,
        adapter="ByTimestep",
        draws_noise=True,
    ),
    Scheduler(
        "ddim", "DDIMScheduler", mendable=PIXELS, limits=BOTH, adapter="DDIM", draws_noise="eta"
    ),
    Scheduler("euler", "EulerDiscreteScheduler"),
    Scheduler("euler_ancestral", "EulerAncestralDiscreteScheduler", draws_noise=True),
    _multistep("dpmsolver", algorithm_type="dpmsolver++"),
    _multistep("dpmsolver_sde", algorithm_type="sde-dpmsolver++"),
    _multistep("dpmsolver_3m", algorithm_type="dpmsolver++", solver_order=3),
    Scheduler(
        "dpmsolver_singlestep",
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver++"},
        mendable={},
        limits=THRESHOLDING,
        adapter="DPMSolver",
        draws_noise="algorithm_type",
        stages=("solver_order", 2),
    ),
    Scheduler(
        "unipc", "UniPCMultistepScheduler", limits=THRESHOLDING, adapter="Corrector", version=2
    ),
    Scheduler(
        "lcm",
        "LCMScheduler",
        mendable=LATENTS,
        limits=BOTH,
        adapter="CumulativeAlphas",
        draws_noise=True,
        most_steps=("original_inference_steps", 50),
    ),
    Scheduler(
        "tcd",
        "TCDScheduler",
        mendable=LATENTS,
        adapter="CumulativeAlphas",
        draws_noise="eta",
        most_steps=("original_inference_steps", 50),
    ),
    Scheduler("pndm", "PNDMScheduler", adapter="PNDM", warm_up=_pndm_warm_up),
    Scheduler(
        "heun",
        "HeunDiscreteScheduler",
        mendable=LATENTS,
        limits=("clip_sample",),
        stages=2,
        repeats=True,
    ),
    Scheduler("kdpm2", "KDPM2DiscreteScheduler", adapter="KDPM2", stages=2, repeats=True),
    Scheduler(
        "kdpm2_ancestral",
        "KDPM2AncestralDiscreteScheduler",
        adapter="KDPM2Ancestral",
        draws_noise=True,
        stages=2,
        repeats=True,
    ),
    Scheduler("lms", "LMSDiscreteScheduler", adapter="LMS", tail=5, needs="scipy"),
    Scheduler("deis", "DEISMultistepScheduler", limits=THRESHOLDING, adapter="DPMSolver"),
    Scheduler(
        "sasolver",
        "SASolverScheduler",
        {"algorithm_type": "data_prediction"},
        limits=THRESHOLDING,
        adapter="Corrector",
        draws_noise=True,
    ),
    Scheduler(
        "dpm_sde",
        "DPMSolverSDEScheduler",
        adapter="DPMSolverSDE",
        draws_noise=True,
        stages=2,
        repeats=True,
        needs="torchsde",
    ),
    Scheduler("edm_euler", "EDMEulerScheduler", adapter="EDM", mendable={}),
    Scheduler(
        "edm_dpmsolver",
        "EDMDPMSolverMultistepScheduler",
        limits=THRESHOLDING,
        adapter="EDM",
        draws_noise="algorithm_type",
        mendable={},
    ),
    Scheduler("cogvideox_ddim", "CogVideoXDDIMScheduler", mendable=PIXELS, adapter="DDIM"),
    Scheduler(
        "flow_match_euler",
        "FlowMatchEulerDiscreteScheduler",
        adapter="FlowMatching",
        draws_noise="stochastic_sampling",
        flow=True,
        mendable={},
    ),
    Scheduler(
        "flow_match_heun",
        "FlowMatchHeunDiscreteScheduler",
        adapter="FlowMatching",
        stages=2,
        repeats=True,
        flow=True,
        mendable={},
    ),
    Scheduler(
        "flow_match_lcm",
        "FlowMatchLCMScheduler",
        adapter="FlowMatching",
        draws_noise=True,
        flow=True,
        mendable={},
    ),
)


@lru_cache(maxsize=1000)
def limit_of(class_name: str, config: str) -> tuple[float | None, float] | None:
    """How its step keeps x̂0 small: dynamic thresholding's quantile, or None where x̂0 is clipped,
    and the most that it may be. `config` is JSON."""
    kind, told = scheduler_of(class_name), json.loads(config)
    if "thresholding" in kind.limits and told.get("thresholding"):
        return told.get("dynamic_thresholding_ratio", 0.995), told.get("sample_max_value", 1.0)
    if "clip_sample" in kind.limits and told.get("clip_sample", kind.mendable["clip_sample"]):
        return None, told.get("clip_sample_range", 1.0)
    return None


@lru_cache(maxsize=1000)
def sigma_data_of(config: str) -> float:
    """The data's standard deviation that EDM's preconditioning goes by; `config` is JSON."""
    return float(json.loads(config).get("sigma_data", 0.5))


@lru_cache(maxsize=1000)
def draws_noise(class_name: str, config: str, eta: float | None) -> bool:
    """Whether its own steps add noise; `config` is JSON."""
    return scheduler_of(class_name).draws(json.loads(config), eta)


@lru_cache(maxsize=1000)
def forks_are_mended(
    class_name: str, config: str, eta: float | None, num_inference_steps: int
) -> bool:
    """Whether forks of a deterministic scheduler are others than the first version made, which took
    x̂0 as clipped when it was not, or not as thresholded, and DDIM's steps for as long as the way to
    the next timestep. `config` is JSON."""
    kind, told = scheduler_of(class_name), json.loads(config)
    if draws_noise(class_name, config, eta):
        return False
    clipped = told.get("clip_sample") and "clip_sample" not in kind.limits
    quantile, _ = limit_of(class_name, config) or (None, 0)
    spacing, over = told.get("timestep_spacing"), told.get("num_train_timesteps", 1000)
    divides = isinstance(over, int) and over % num_inference_steps == 0
    uneven = spacing == "linspace" or (spacing == "trailing" and not divides)
    return bool(clipped or quantile is not None or (kind.name == "ddim" and uneven))


def scheduler_of(class_name: str) -> Scheduler:
    """What is special about a diffusers class; nothing where it is not known."""
    plain = Scheduler(class_name, class_name, mendable={})
    return next((kind for kind in SCHEDULERS if kind.class_name == class_name), plain)


def find_scheduler(name: str) -> Scheduler:
    """The scheduler of this short name or diffusers class name.

    Raises:
        BadInput: there is none, it cannot be made exact, or a package it needs is not installed.
    """
    for scheduler in SCHEDULERS:
        if name in (scheduler.name, scheduler.class_name):
            if missing := scheduler.missing():
                raise BadInput(
                    f"scheduler {scheduler.name!r} needs the package {missing}: install it with "
                    f"pip install {missing}, or choose another scheduler."
                )
            return scheduler
    known = ", ".join(scheduler.name for scheduler in SCHEDULERS)
    if name in NOT_SUPPORTED:
        raise BadInput(
            f"scheduler {name!r} is not supported ({NOT_SUPPORTED[name]}): use one of {known}."
        )
    raise BadInput(
        f"scheduler {name[:60]!r} is not known: use one of {known}, or its diffusers class name."
    )


def name_of(class_name: str, config: Config) -> str:
    """The short name of a class with this configuration, for captions and lists."""
    fits = [
        s for s in SCHEDULERS if s.class_name == class_name and s.adds.items() <= config.items()
    ]
    return max(fits, key=lambda s: len(s.adds)).name if fits else class_name


@dataclass(frozen=True, slots=True)
class Loop:
    """A scheduler's loop: its length T, and the steps at which a trajectory can be forked.

    One that begins with a photo goes through the last T of the scheduler's entries alone, and
    `begin` is the first of them.
    """

    length: int
    fork_steps: range
    begin: int = 0


@lru_cache(maxsize=1000)
def loop(
    class_name: str, config: str, num_inference_steps: int, strength: float | None = None
) -> Loop:
    """The loop that so many inference steps make; `config` is JSON.

    `strength` is of a photo, 0 … 1: the share of the steps that are taken. There may be none.
    """
    kind, stages = scheduler_of(class_name), stages_of(class_name, config)
    first, steps = kind.warm_up(json.loads(config))
    length = num_inference_steps + first - steps
    if kind.repeats:
        length = stages * (length - 1) + 1
    last = stages * (kind.tail + 1) if stages > 1 else kind.tail
    left_out = 0 if strength is None else _left_out(kind, num_inference_steps, strength)
    begin = left_out * stages if kind.repeats else left_out
    length = max(0, length - begin)
    return Loop(length, range(first + -begin % stages, length - last, stages), begin)


def _left_out(kind: Scheduler, num_inference_steps: int, strength: float) -> int:
    """The first inference steps, as the library's pipelines count them: those for flow matching
    round to one step more."""
    taken = min(num_inference_steps * strength, num_inference_steps)
    return int(num_inference_steps - taken) if kind.flow else num_inference_steps - int(taken)


@lru_cache(maxsize=1000)
def stages_of(class_name: str, config: str) -> int:
    """How many entries of the loop make one step; `config` is JSON.

    Raises:
        BadInput: the configuration names a number of them that the class does not take.
    """
    stages = scheduler_of(class_name).stages
    if isinstance(stages, int):
        return stages
    told: int = json.loads(config).get(*stages)
    check_whole(stages[0], told, 1, 3)
    return told
