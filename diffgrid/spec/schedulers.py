"""The schedulers people can name, and what of each must be known before torch is loaded.

How long its loop is and where it can be forked decide what a path may be, so the words of
`spec.py` stand on this table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from diffgrid.errors import BadInput

Config = Mapping[str, Any]

NOT_SUPPORTED = {
    "IPNDMScheduler": "it keeps x_t at levels that it does not tell",
    "CMStochasticIterativeScheduler": "it is made for consistency models alone",
}


@dataclass(frozen=True)
class Scheduler:
    """A scheduler people can name: a diffusers class, and what its form adds to a configuration."""

    name: str
    class_name: str
    adds: Mapping[str, str | int] = field(default_factory=dict)
    takes_eta: bool = False
    # Where the class makes only so many steps: that setting's name in diffusers, and its default.
    most_steps: tuple[str, int] | None = None
    stages: int = 1  # evaluations it makes of one step; a fork can only leave before the first
    repeats: bool = False  # whether the loop holds each stage: then T = stages (n-1) + 1
    flow: bool = False  # for flow matching: x_t = (1-sigma) x_0 + sigma noise
    scales_input: bool = False  # x_t is not what the denoiser sees
    needs: str | None = None  # a package that diffusers leaves to be installed

    def missing(self) -> str | None:
        """The package it needs and that is not installed here."""
        return self.needs if self.needs and find_spec(self.needs) is None else None


SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler("ddpm", "DDPMScheduler"),
    Scheduler("ddim", "DDIMScheduler", takes_eta=True),
    Scheduler("euler", "EulerDiscreteScheduler", scales_input=True),
    Scheduler("euler_ancestral", "EulerAncestralDiscreteScheduler", scales_input=True),
    Scheduler("dpmsolver", "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    Scheduler(
        "dpmsolver_sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
    ),
    Scheduler(
        "dpmsolver_3m",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 3},
    ),
    Scheduler(
        "dpmsolver_singlestep",
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver++"},
        stages=2,
    ),
    Scheduler("unipc", "UniPCMultistepScheduler"),
    Scheduler("lcm", "LCMScheduler", most_steps=("original_inference_steps", 50)),
    Scheduler("tcd", "TCDScheduler", takes_eta=True, most_steps=("original_inference_steps", 50)),
    Scheduler("pndm", "PNDMScheduler"),
    Scheduler("heun", "HeunDiscreteScheduler", stages=2, repeats=True, scales_input=True),
    Scheduler("kdpm2", "KDPM2DiscreteScheduler", stages=2, repeats=True, scales_input=True),
    Scheduler(
        "kdpm2_ancestral",
        "KDPM2AncestralDiscreteScheduler",
        stages=2,
        repeats=True,
        scales_input=True,
    ),
    Scheduler("lms", "LMSDiscreteScheduler", scales_input=True, needs="scipy"),
    Scheduler("deis", "DEISMultistepScheduler"),
    Scheduler("sasolver", "SASolverScheduler", {"algorithm_type": "data_prediction"}),
    Scheduler(
        "dpm_sde",
        "DPMSolverSDEScheduler",
        stages=2,
        repeats=True,
        scales_input=True,
        needs="torchsde",
    ),
    Scheduler("edm_euler", "EDMEulerScheduler", scales_input=True),
    Scheduler("flow_match_euler", "FlowMatchEulerDiscreteScheduler", flow=True),
    Scheduler(
        "flow_match_heun", "FlowMatchHeunDiscreteScheduler", stages=2, repeats=True, flow=True
    ),
)


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

    The last one ends at the final sample, where most schedulers add no noise: no fork there.
    """

    length: int
    fork_steps: range


@lru_cache(maxsize=1000)
def loop(class_name: str, config: str, num_inference_steps: int) -> Loop:
    """The loop that so many inference steps make; `config` is JSON.

    Schedulers with stages can be forked at the first of them only. PNDM starts with steps that are
    corrected afterwards: the Runge-Kutta ones of the paper (arXiv 2202.09778), or one that is
    taken twice. With Gaussian data forks kept the standard deviation within 0.02 but at the last
    step of those with stages (off by 0.04) and the last four of LMS (0.05): there is none there.
    """
    kind = next((s for s in SCHEDULERS if s.class_name == class_name), None)
    length, first, stages = num_inference_steps, 0, stages_of(class_name, config)
    if kind and kind.repeats:
        length = 2 * num_inference_steps - 1
    elif class_name == "PNDMScheduler":
        skips = bool(json.loads(config).get("skip_prk_steps"))
        first = 2 if skips else 12
        length = num_inference_steps + (1 if skips else 9)
    last = 5 if class_name == "LMSDiscreteScheduler" else stages * 2 if stages > 1 else 1
    return Loop(length, range(first, length - last, stages))


@lru_cache(maxsize=1000)
def stages_of(class_name: str, config: str) -> int:
    """How many entries of the loop make one step; `config` is JSON."""
    if class_name == "DPMSolverSinglestepScheduler":
        return int(json.loads(config).get("solver_order", 2))
    return next((s.stages for s in SCHEDULERS if s.class_name == class_name), 1)
