"""What a row says of its scheduler, held against the library's own class."""

import copy

import pytest
import torch

from diffgrid.sampling.adapters import adapt
from diffgrid.spec.schedulers import SCHEDULERS, Scheduler, scheduler_of
from tests.sampling import gaussian

HERE = [kind for kind in SCHEDULERS if not kind.missing()]


@pytest.mark.filterwarnings("ignore:The `scale_model_input`")  # a step alone is what is tried
@pytest.mark.parametrize("kind", HERE, ids=[kind.name for kind in HERE])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_row_says_whether_steps_add_noise(kind: Scheduler, eta: float) -> None:
    """Which the form tells people; the sampler tries it out."""
    seen = next(x for x in gaussian.PREDICTION_TYPES if gaussian.build(kind.name, x) is not None)
    spec, prepared = gaussian.prepare(kind.name, seen, seed=0)
    scheduler = copy.deepcopy(prepared.adapter.scheduler)
    adapter = adapt(scheduler, **({"eta": eta} if kind.takes_eta else {}))
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
        for fact in ("adapter", "stages", "repeats", "warm_up", "tail", "version", "draws_noise"):
            assert getattr(kind, fact) == getattr(first, fact)
