"""The other kinds of fork: noise to the end, back to more noise, and on with other words."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path as Folder

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.records.trajectories import Trajectory
from diffgrid.sampling import noise, pipelines, preparation, sampler
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, before, behind, format_path, minimum, parse_path
from diffgrid.spec.run import RunSpec, conditions, key
from tests import tiny
from tests.sampling.recorded import final, record, whole

pytestmark = pytest.mark.slow

STEPS = 8
CHANGED = "prompt=a+blue+dog&guidance=2.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@lru_cache(maxsize=1)
def load(folder: Folder) -> DiffusionPipeline:
    return pipelines.load(folder, "float32", torch.device("cpu"))


def spec_for(folder: Folder, scheduler: str, **options: object) -> RunSpec:
    values: dict[str, object] = {"prompt": "a red cat", "steps": STEPS, "seed": 3} | options
    if scheduler == "ddim":
        values.setdefault("eta", 1.0)
    return specify(model=str(folder), scheduler=scheduler, **values)  # type: ignore[arg-type]


def make(
    folder: Folder,
    spec: RunSpec,
    lengths: dict[Path, int],
    history: dict[Path, Trajectory] | None = None,
    rows: int = 16,
) -> tuple[dict[Path, Trajectory], int]:
    pipe = load(folder)
    prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
    return record(spec, prepared, lengths, history, rows=rows)


# --- words


@pytest.mark.parametrize(
    "text", ["12.0~", "12.0-3", "5.2/12.0-3/14.1", f"8:{CHANGED}", "8:prompt=a%2Fb"]
)
def test_every_kind_of_fork_has_its_way_of_writing(text: str) -> None:
    path = parse_path(text)
    assert parse_path(format_path(path)) == path
    assert len({key(specify(steps=20), p) for p in (path, path[:-1], ())}) == len(
        {path, path[:-1], ()}
    )


def test_what_an_evaluation_depends_on() -> None:
    fresh, back, change = (parse_path(p) for p in ("5.2", "5.2/12.0-3", "5:guidance=2.0"))
    assert [behind(fresh, step) for step in (5, 6)] == [(), fresh]
    assert [behind(back, step) for step in (8, 9)] == [fresh, back]
    assert [behind(change, step) for step in (4, 5)] == [(), change]
    assert before(back, 12) == fresh  # forked at 12 again, it is another one


def test_going_back_costs_the_steps_that_are_gone_twice() -> None:
    assert minimum([(), parse_path("12.0-3")], 20) == 20 + (20 - 12 + 3)
    assert minimum([(), parse_path("12.0")], 20) == 20 + (20 - 12 - 1)
    assert minimum([(), parse_path("12:guidance=2.0")], 20) == 20 + (20 - 12)


def test_a_row_of_a_grid_goes_back_together() -> None:
    spec = specify(steps=20)
    grid = Grid.with_columns(spec, parse_path("12.1-3"), (5, 12), 2, back=3)
    assert [[format_path(p) for p in row] for row in grid.cells] == [
        ["5.0-3", "5.1-3"],
        ["12.0-3", "trunk"],
    ]
    with pytest.raises(BadInput, match="row 2 is not allowed with a re-noise by 3 steps"):
        Grid.with_columns(spec, (), (2,), 2, back=3)


@pytest.mark.parametrize(
    ("scheduler", "path", "why"),
    [
        ("heun", "3.0", "in steps of 2"),
        ("heun", "4.0-1", "goes back to step 3"),
        ("pndm", "1.0", "corrects the first ones"),
    ],
)
def test_where_a_scheduler_cannot_be_forked_is_told(
    folder: Folder, scheduler: str, path: str, why: str
) -> None:
    spec = spec_for(folder, scheduler)
    with pytest.raises(BadInput, match=why):
        Grid(spec, parse_path(path), (), ())


# --- numbers


def test_ddims_stochastic_fork_is_its_branch_with_eta_1(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = noise.keyed_generator

    def of_plain_forks(seed: int, path: Path, step: int) -> torch.Generator:
        return keyed(seed, tuple(replace(fork, stochastic=False) for fork in path), step)

    monkeypatch.setattr(noise, "keyed_generator", of_plain_forks)
    finals = []
    for eta, path in ((0.0, "0.1~"), (1.0, "0.1")):
        spec = spec_for(folder, "ddim", eta=eta)
        made, _ = make(folder, spec, whole(spec, "trunk", path))
        finals.append(final(made[parse_path(path)]))
    np.testing.assert_allclose(finals[0], finals[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "stages"), [("unipc", 1), ("heun", 2), ("dpmsolver_singlestep", 2)]
)
def test_after_a_stochastic_fork_every_step_draws_noise_and_is_replayed(
    folder: Folder, scheduler: str, stages: int
) -> None:
    spec = spec_for(folder, scheduler)
    path, changed = parse_path("0.0~"), parse_path(f"0.0~/2:guidance={spec.guidance_scale}")
    prepared = preparation.prepare(load(folder), spec, pipelines.build_scheduler(spec))
    waves = sampler.sample(prepared, spec, whole(spec, "trunk", "0.0~"), {})
    drew = [step.step for wave in waves for step in wave if step.forced_noise]
    assert drew == list(range(stages - 1, spec.length, stages))

    made, _ = make(folder, spec, whole(spec, "trunk", format_path(path), format_path(changed)))
    np.testing.assert_array_equal(made[changed].latents, made[path].latents)  # with all its noise
    trunk, _ = make(folder, spec, whole(spec, "trunk"))  # the path is alone in each batch below
    alone, _ = make(folder, spec, whole(spec, "trunk", "0.0~"), trunk)
    known, _ = make(folder, spec, {(): spec.length, path: 5}, trunk)
    again, evaluated = make(folder, spec, whole(spec, "trunk", "0.0~"), known)
    assert evaluated == spec.length - 5
    np.testing.assert_array_equal(final(again[path]), final(alone[path]))


@pytest.mark.parametrize("scheduler", ["ddim", "euler_ancestral", "unipc", "heun"])
def test_a_change_before_the_first_step_is_the_other_runs_trunk(
    folder: Folder, scheduler: str
) -> None:
    spec = spec_for(folder, scheduler)
    path = parse_path(f"0:{CHANGED}")
    other = conditions(spec, path)
    assert (other.prompt, other.guidance_scale) == ("a blue dog", 2.0)
    changed, _ = make(folder, spec, whole(spec, format_path(path)) | {(): 0})
    trunk, _ = make(folder, other, whole(other, "trunk"))
    np.testing.assert_allclose(final(changed[path]), final(trunk[()]), atol=1e-5)


def test_a_path_with_more_words_than_there_are_is_refused() -> None:
    with pytest.raises(BadInput, match="path .* is not allowed"):
        parse_path("8:prompt=a&guidance=2&seed=3")


def test_a_long_prompt_of_any_script_comes_back_from_its_path() -> None:
    path = parse_path("8:prompt=" + "%F0%9F%98%80" * 2000)
    assert parse_path(format_path(path)) == path
