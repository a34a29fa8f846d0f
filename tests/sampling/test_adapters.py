"""What a row says of its scheduler, held against the library's own class."""

import copy
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import diffusers
import pytest
import torch
from numpy.testing import assert_allclose

from diffgrid.models.registry import specify
from diffgrid.sampling import noise, pipelines, preparation
from diffgrid.sampling.adapters import adapt
from diffgrid.spec.schedulers import SCHEDULERS, Scheduler, scheduler_of
from tests import tiny
from tests.sampling import gaussian
from tests.sampling.recorded import record, whole

HERE = [kind for kind in SCHEDULERS if not kind.missing()]


@pytest.mark.filterwarnings("ignore:The `scale_model_input`")  # a step alone is what is tried
@pytest.mark.parametrize("kind", HERE, ids=[kind.name for kind in HERE])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_row_says_whether_steps_add_noise(kind: Scheduler, eta: float) -> None:
    """Which the form tells people; the sampler tries it out."""
    seen = next(x for x in gaussian.PREDICTION_TYPES if gaussian.build(kind.name, x) is not None)
    spec, prepared = gaussian.prepare(kind.name, seen, seed=0)
    scheduler = copy.deepcopy(prepared.adapter.scheduler)
    adapter = adapt(scheduler, eta if kind.takes_eta else None)
    step = spec.fork_steps[len(spec.fork_steps) // 2]
    adapter.start_at(step)
    stages = prepared.timesteps[step : step + spec.stages]
    x = torch.ones(1, 4, 2, 2)
    if hasattr(scheduler, "scale_model_input"):  # or some warn
        scheduler.scale_model_input(x, stages[0])
    drawn = adapter.draws_noise(x, stages, x)
    assert drawn is kind.draws(dict(scheduler.config), eta if kind.takes_eta else None)


def test_rows_of_one_class_are_driven_and_keyed_alike() -> None:
    """Runs name the class alone."""
    for kind in SCHEDULERS:
        first = scheduler_of(kind.class_name)
        for fact in (
            "adapter",
            "stages",
            "repeats",
            "warm_up",
            "tail",
            "version",
            "draws_noise",
            "limits",
        ):
            assert getattr(kind, fact) == getattr(first, fact)


SETTINGS = {"thresholding": False, "clip_sample": False}


@pytest.mark.filterwarnings("ignore:The `scale_model_input`")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", HERE, ids=[kind.name for kind in HERE])
def test_a_row_says_what_keeps_x0_small(kind: Scheduler, setting: str) -> None:
    build = getattr(diffusers, kind.class_name).from_config
    # Some schedulers go through all of them when they are made, a third of a second for 1,000.
    adds = {**kind.adds, "num_train_timesteps": 100}
    x = 3 * torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    ends = []
    for told in (SETTINGS, {**SETTINGS, setting: True}):
        adapter = adapt(build({**adds, **told}), 0.0 if kind.takes_eta else None)
        adapter.scheduler.set_timesteps(10)
        adapter.start_at(None)
        following = x
        for timestep in adapter.scheduler.timesteps[:3]:
            generator = torch.Generator().manual_seed(0)
            following = adapter.step(2 * x, timestep, following, generator, trunk=False)
        ends.append(following)
    assert torch.equal(*ends) is (setting not in kind.limits)


STEPS = [7, 13, 20, 30]
SPACINGS = ["leading", "linspace", "trailing"]
LIMITS = [{"clip_sample": False}, {"clip_sample": True}, {"thresholding": True}]


@lru_cache(maxsize=1)
def load(folder: Path) -> diffusers.DiffusionPipeline:
    return pipelines.load(folder, "float32", torch.device("cpu"))


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "ddim", family="ddim")


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS, ids=["free", "clipped", "thresholded"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", STEPS)
def test_a_fork_of_ddim_is_its_own_step_with_eta_1(
    steps: int, spacing: str, limit: dict[str, bool], pixels: Path
) -> None:
    """(Case of a trunk with eta 0, whose forks are made noisy: Song et al., arXiv 2010.02502.)"""
    config = {"timestep_spacing": spacing, "beta_end": 0.02, **limit}
    spec = replace(
        specify(model=str(pixels), steps=steps, eta=0.0, seed=3),
        scheduler_config=json.dumps(config),
    )
    prepared = preparation.prepare(load(pixels), spec, pipelines.build_scheduler(spec))
    made, _ = record(spec, prepared, whole(spec, "trunk", "1.0", f"{steps // 2}.0"))
    trunk = made[()]
    for path, branch in made.items():
        if not path:
            continue
        step = path[-1].step
        x, output = (torch.tensor(a[step])[None] for a in (trunk.latents, trunk.model_outputs))
        scheduler = diffusers.DDIMScheduler.from_config(config)
        scheduler.set_timesteps(steps)
        xi = noise.noise_like(x, noise.keyed_generator(3, path, step))
        own = scheduler.step(output, scheduler.timesteps[step], x, eta=1.0, variance_noise=xi)
        assert_allclose(branch.latents[step + 1], own.prev_sample[0].numpy(), atol=2e-5)
        x0 = own.pred_original_sample[0].numpy()
        assert_allclose(branch.pred_original_sample[step], x0, rtol=1e-5, atol=2e-5)
