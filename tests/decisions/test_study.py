"""Studies: what they cost, what they keep, and how they make way.

Run as a script, this file is a study that is killed once it has made a tree: it prints how many.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path as Folder

import pytest

from diffgrid.decisions.study import Plan, Study, begin_study
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput, Busy, Cancelled, NotFinite
from diffgrid.limits import Limits
from diffgrid.models.registry import specify
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import minimum
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

ROOT = Folder(__file__).parents[2]
SECONDS = 120  # far more than any study here takes
STEPS = 6
TREES = 12  # of the study that is killed among them
TREE = 6 + 2 * 5 + 2 * 3  # evaluations of two branches at steps 0 and 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def engine(cache_directory: Folder) -> LocalEngine:
    return LocalEngine(TrajectoryStore(cache_directory), "cpu")


def plan(folder: Folder, trunks: int = 3, columns: int = 2, **options: object) -> Plan:
    values: dict[str, object] = {"prompt": "a red cat", "steps": STEPS} | options
    spec = specify(model=str(folder), **values)  # type: ignore[arg-type]
    return Plan(spec, trunks, (0, 2), columns)


def carried_out(engine: LocalEngine, plan: Plan) -> Study:
    study = begin_study(engine, plan)
    assert study.wait(SECONDS)
    assert study.snapshot.error is None
    return study


@pytest.mark.slow
def test_a_study_costs_what_it_must_and_nothing_when_asked_again(
    engine: LocalEngine, folder: Folder
) -> None:
    first = carried_out(engine, plan(folder))
    assert first.snapshot.sampled == first.snapshot.minimum == 3 * TREE
    assert first.snapshot.trees == 3
    again = begin_study(engine, plan(folder))
    assert again.snapshot.state == "done"
    assert again.snapshot.sampled == again.snapshot.to_sample == 0
    assert list(again.findings(3)) == list(first.findings(3))


@pytest.mark.slow
def test_more_trunks_and_more_columns_take_only_what_is_new(
    engine: LocalEngine, folder: Folder
) -> None:
    carried_out(engine, plan(folder))
    assert carried_out(engine, plan(folder, trunks=4)).snapshot.sampled == TREE
    # A trunk is not kept, but its labels: it is sampled again as far as the last row.
    assert carried_out(engine, plan(folder, columns=3)).snapshot.sampled == 3 * (3 + 5 + 3)


def test_what_the_cache_holds_of_a_tree_is_used(engine: LocalEngine, folder: Folder) -> None:
    wanted = plan(folder, trunks=1, eta=1.0)
    job = engine.submit(wanted.trees[0], Grid.with_columns(wanted.trees[0], (), (2,), 2).paths)
    assert job.wait(SECONDS)
    study = carried_out(engine, wanted)
    assert study.snapshot.sampled == 2 * 5
    finals = {path: finding.picture for _, path, finding in study.findings(1)}
    assert finals[()] == job.frames(()).final


def test_its_pictures_are_the_grids_own(engine: LocalEngine, folder: Folder) -> None:
    wanted = plan(folder, trunks=1)
    study = carried_out(engine, wanted)
    other = TrajectoryStore(Folder(engine.store.directory) / "other")
    job = LocalEngine(other, "cpu").submit(wanted.trees[0], wanted.paths)
    assert job.wait(SECONDS)
    for _, path, finding in study.findings(1):
        assert finding.picture == job.frames(path).final
        assert finding.labels.keys() == {"colour", "middle"} == finding.again.keys()


def test_branches_of_a_scheduler_that_draws_no_noise_do_so_to_their_end(folder: Folder) -> None:
    kernels = [
        {fork.stochastic for path in plan(folder, scheduler=name, eta=eta).paths for fork in path}
        for name, eta in (("ddim", 0.0), ("ddim", 1.0), ("unipc", None), ("ddpm", None))
    ]
    assert kernels == [{True}, {False}, {True}, {False}]


def test_looks_are_doublings() -> None:
    spec = specify(steps=STEPS)
    assert Plan(spec, 64, (2,), 2).looks == [4, 8, 16, 32, 64]
    assert Plan(spec, 20, (2,), 2).looks == [4, 8, 16, 20]
    assert Plan(spec, 2, (2,), 2).looks == [2]
    assert Plan(spec, 3, (1, 2), 2).minimum == 3 * minimum(Plan(spec, 1, (1, 2), 2).paths, STEPS)


@pytest.mark.parametrize(
    ("trunks", "rows", "columns", "why"),
    [
        (0, (2,), 2, "trunks 0 is not allowed: use a whole number from 1 to 1024"),
        (2000, (2,), 2, "trunks 2000"),
        (2, (), 2, "rows are missing"),
        (2, (5,), 2, "row 5 is not allowed"),
        (2, (2,), 1, "columns 1 is not allowed in a study"),
    ],
)
def test_what_cannot_be_studied_is_told(
    trunks: int, rows: tuple[int, ...], columns: int, why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        Plan(specify(steps=STEPS), trunks, rows, columns)


def test_a_public_server_studies_little(
    engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="trunks 17 is not allowed: use a whole number from 1 to 16"):
        begin_study(engine, plan(folder, trunks=17), limits=Limits.from_environment())


def test_a_study_is_at_the_visitors_expense(engine: LocalEngine, folder: Folder) -> None:
    wanted = plan(folder, trunks=2)
    few = Limits(max_evaluations=wanted.minimum)
    study = begin_study(engine, wanted, limits=few, session="a")
    study.cancel()
    with pytest.raises(Busy, match="0 of yours are left"):
        begin_study(engine, plan(folder, trunks=3), limits=few, session="a")
    begin_study(engine, wanted, limits=few, session="another").cancel()


def test_the_specifications_own_seed_does_not_count(folder: Folder) -> None:
    assert plan(folder, seed=5) == plan(folder, seed=9)


def test_a_study_makes_way_for_a_job_and_goes_on(engine: LocalEngine, folder: Folder) -> None:
    wanted = plan(folder, trunks=2)
    study = Study(engine.store, wanted)
    study.run(engine._models, interrupted=lambda: True)
    assert (study.snapshot.trees, study.snapshot.sampled) == (0, 0)
    assert not study.snapshot.ended
    study.run(engine._models, interrupted=lambda: False)
    study.run(engine._models, interrupted=lambda: False)
    assert (study.snapshot.state, study.snapshot.sampled) == ("done", 2 * TREE)


def test_a_cancelled_study_keeps_its_whole_trees(engine: LocalEngine, folder: Folder) -> None:
    wanted = plan(folder, trunks=2)
    study = Study(engine.store, wanted)
    study.run(engine._models, interrupted=lambda: False)
    study.cancel()
    assert isinstance(study.snapshot.error, Cancelled)
    assert carried_out(engine, wanted).snapshot.sampled == TREE


def test_numbers_that_are_not_finite_are_labelled_as_nothing(
    engine: LocalEngine, folder: Folder
) -> None:
    config = {
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }
    usual = plan(folder, trunks=2)
    off = replace(usual.spec, scheduler="DDIMScheduler", scheduler_config=json.dumps(config))
    study = Study(engine.store, replace(usual, spec=replace(off, eta=1.0)))
    study.run(engine._models, interrupted=lambda: False)
    assert study.snapshot.trees == 0
    assert isinstance(study.snapshot.error, NotFinite)
    assert "from step 0 (of 6) on in the tree of seed 0: choose" in str(study.snapshot.error)


def test_a_model_that_cannot_be_loaded_fails_the_study(
    engine: LocalEngine, tmp_path: Folder
) -> None:
    model = tiny.save(tmp_path / "model")
    wanted = plan(model)
    (model / "unet" / "config.json").write_text("{}")
    study = begin_study(engine, wanted)
    assert study.wait(SECONDS)
    assert study.snapshot.state == "failed"


@pytest.mark.slow
def test_a_study_survives_being_killed(folder: Folder, cache_directory: Folder) -> None:
    killed = subprocess.run(
        [sys.executable, __file__, str(folder), str(cache_directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL
    trees = int(killed.stdout)
    study = carried_out(LocalEngine(TrajectoryStore(cache_directory), "cpu"), plan(folder, TREES))
    assert study.snapshot.trees == TREES
    assert 0 < study.snapshot.sampled <= (TREES - trees) * TREE


def _be_killed(folder: Folder, cache: Folder) -> None:
    study = begin_study(LocalEngine(TrajectoryStore(cache), "cpu"), plan(folder, TREES))
    while not study.snapshot.trees:
        assert not study.wait(0.005)
    print(study.snapshot.trees, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _be_killed(*map(Folder, sys.argv[1:]))
