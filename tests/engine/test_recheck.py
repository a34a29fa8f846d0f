"""Stored runs are checked step by step, each from what is stored before it."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffgrid.engine.local import LocalEngine
from diffgrid.engine.recheck import Recheck
from diffgrid.limits import Limits
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec
from tests.engine.running import SECONDS, make

PATHS = ["trunk", "2.0", "1.0/3.1", "2.0~", "3.0-2", "2:prompt=a+hat", "1:guidance=2/3.0"]
ROUNDING = {"float32": 1e-4, "bfloat16": 2**-4}


def check(engine: LocalEngine, trajectory: Trajectory) -> float:
    recheck = Recheck(trajectory, engine.store)
    engine.background(recheck, Limits())
    assert recheck.progress.wait(SECONDS)
    assert not recheck.progress.snapshot.error
    return recheck.differs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_run_comes_out_as_it_is_stored_whatever_its_path(
    engine: LocalEngine, spec: RunSpec, dtype: str
) -> None:
    spec, paths = replace(spec, dtype=dtype), tuple(map(parse_path, PATHS))
    job = engine.submit(spec, paths)
    assert job.wait(SECONDS)
    for path in paths:
        assert check(engine, job.result(path)[0]) < ROUNDING[dtype]


@pytest.mark.slow
def test_a_run_says_where_it_was_made(engine: LocalEngine, spec: RunSpec) -> None:
    make(engine, spec, ((),))
    (info,) = engine.store.runs()
    stored = engine.store.get(info.key)
    assert stored is not None
    assert stored.made == info.made
    assert re.fullmatch(r"cpu, \d+ threads, torch [\d.]+\S*, diffusers [\d.]+", info.made)


def other_noise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([values[:3], np.roll(values[3:], 1, axis=-1)])


@pytest.mark.slow
@pytest.mark.parametrize("array", ["latents", "model_outputs"])
@pytest.mark.parametrize("path", ["trunk", "3.0-2"])
def test_a_number_that_does_not_follow_is_found(
    engine: LocalEngine, spec: RunSpec, array: str, path: str
) -> None:
    spec, forks = replace(spec, dtype="bfloat16"), parse_path(path)
    make(engine, spec, (forks,))
    stored: Any = engine.submit(spec, (forks,)).result(forks)[0]
    assert check(engine, replace(stored, **{array: other_noise(getattr(stored, array))})) > 0.1
