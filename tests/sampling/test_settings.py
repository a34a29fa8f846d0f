"""Every scheduler at few steps and at as many as there are, with each switch of its configuration
turned: it samples, or one sentence says why not."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.sampling import pipelines, preparation
from diffgrid.spec.path import Fork
from diffgrid.spec.path import Path as TreePath
from diffgrid.spec.schedulers import SCHEDULERS, Scheduler, find_scheduler
from tests import tiny
from tests.sampling.plain import in_batches
from tests.sampling.recorded import record

pytestmark = pytest.mark.slow
HERE = [kind for kind in SCHEDULERS if not kind.missing()]
each_scheduler = pytest.mark.parametrize("kind", HERE, ids=[kind.name for kind in HERE])
TRIED = 3  # steps: what a scheduler refuses it refuses at once
REFUSED = {
    ("ddpm", 1000),  # with steps_offset 1 the first timestep is 1000
    ("ddim", 1000),
    ("cogvideox_ddim", 1000),
    ("pndm", 1000),
    ("pndm", 1),
    ("pndm", 2),
    ("pndm", 3),
    ("lcm", 999),  # made for 50 at most
    ("lcm", 1000),
    ("tcd", 999),
    ("tcd", 1000),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A model for each kind of scheduler: for flow matching, and not."""
    folder = tmp_path_factory.mktemp("tiny")
    families = {False: "stable_diffusion", True: "stable_diffusion_3"}
    return {flow: tiny.save(folder / name, family=name) for flow, name in families.items()}


@cache
def load(folder: Path) -> diffusers.DiffusionPipeline:
    return pipelines.load(folder, "float32", torch.device("cpu"))


def sample(
    folder: Path, kind: Scheduler, steps: int, told: Mapping[str, Any], fork: bool = False
) -> None:
    """The first steps, with the first fork where one is wanted, of a model that takes a tenth of
    what it is shown for noise."""
    spec = specify(model=str(folder), scheduler=kind.name, prompt="a red cat", steps=steps, seed=1)
    config = json.dumps({**json.loads(spec.scheduler_config), **told})
    spec = replace(spec, scheduler_config=config)
    prepared = preparation.prepare(load(folder), spec, pipelines.build_scheduler(spec))
    prepared = replace(prepared, denoise=in_batches(lambda latents, _: 0.1 * latents))
    length = min(TRIED + (spec.fork_steps[0] if fork else 0), spec.length)
    paths: list[TreePath] = [(), *([(Fork(spec.fork_steps[0], 0),)] if fork else [])]
    record(spec, prepared, dict.fromkeys(paths, length))


@each_scheduler
@pytest.mark.parametrize("steps", [1, 2, 3, 999, 1000])
def test_any_number_of_steps_is_sampled_or_refused(
    kind: Scheduler, steps: int, folders: dict[bool, Path]
) -> None:
    if (kind.name, steps) not in REFUSED:
        return sample(folders[kind.flow], kind, steps, {})
    with pytest.raises(BadInput, match=f"steps {steps} is not allowed with") as refused:
        sample(folders[kind.flow], kind, steps, {})
    assert "\n" not in str(refused.value)


@each_scheduler
def test_any_switch_of_the_configuration_is_heeded_or_refused(
    kind: Scheduler, folders: dict[bool, Path]
) -> None:
    settings = inspect.signature(getattr(diffusers, kind.class_name).__init__).parameters
    switches = {n: each.default for n, each in settings.items() if isinstance(each.default, bool)}
    for name, usual in switches.items():
        if (kind.name, name) == ("unipc", "use_dynamic_shifting"):
            with pytest.raises(BadInput, match="UniPCMultistepScheduler as this model configures"):
                sample(folders[kind.flow], kind, 20, {name: not usual})
        else:
            sample(folders[kind.flow], kind, 20, {name: not usual}, fork=True)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # the library's own division
def test_a_last_level_that_no_step_reaches_is_refused(folders: dict[bool, Path]) -> None:
    kind = find_scheduler("flow_match_euler")
    sample(folders[True], kind, 4, {"shift_terminal": 0.1})
    with pytest.raises(BadInput, match="steps 1 is not allowed with FlowMatchEuler"):
        sample(folders[True], kind, 1, {"shift_terminal": 0.1})


def test_sigmas_may_run_the_other_way(folders: dict[bool, Path]) -> None:
    kind = find_scheduler("flow_match_euler")
    sample(folders[True], kind, 5, {"invert_sigmas": True}, fork=True)
