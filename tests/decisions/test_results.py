"""What a study says, from its findings: who counts, what is drawn together, what ships."""

import json
from pathlib import Path as Folder

import pytest

from diffgrid.api import study
from diffgrid.decisions.decision_steps import COLUMNS
from diffgrid.decisions.results import TRUNK, Results, read, results
from diffgrid.decisions.study import GridStudy, Plan, Study, begin_study
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import parse_path
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

SECONDS = 120
STEPS, ROWS = 6, (0, 2)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(TrajectoryStore(tmp_path_factory.mktemp("store")), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


def finished(
    engine: LocalEngine, folder: Folder, scheduler: str, eta: float | None = None
) -> Study:
    spec = specify(model=str(folder), prompt="a red cat", steps=STEPS, scheduler=scheduler, eta=eta)
    under_way = begin_study(engine, Plan(spec, 4, ROWS, 3))
    assert under_way.wait(SECONDS)
    return under_way


@pytest.mark.slow
def test_the_trunk_counts_where_its_own_noise_drew_the_branches(
    engine: LocalEngine, folder: Folder
) -> None:
    own = results(finished(engine, folder, "ddim", 1.0), 4)
    assert sorted(set(own.cells.branch)) == [TRUNK, 0, 1, 2]
    assert own.kernel == "the scheduler's own noise, ddim with eta 1"
    kicked = results(finished(engine, folder, "unipc"), 4)
    assert sorted(set(kicked.cells.branch)) == [0, 1, 2]
    assert "η-kernel with η = 1 at each transition from the fork on" in kicked.kernel


@pytest.mark.slow
def test_a_line_a_cell_and_a_level_a_step(engine: LocalEngine, folder: Folder) -> None:
    found = results(finished(engine, folder, "ddim", 1.0), 4, bands=True)
    assert len(found.cells) == len(found.again) == 4 * len(ROWS) * (3 + 1)
    assert list(found.levels.step) == list(range(STEPS))
    assert found.levels.alpha_bar.is_monotonic_increasing
    assert found.divergence is not None
    assert set(found.divergence.step) == set(ROWS)
    assert found.divergence.ratio.between(0, 3).all()
    assert list(found.decisions.table().columns) == list(COLUMNS)


def test_its_record_holds_all_of_it(engine: LocalEngine, folder: Folder) -> None:
    found = results(finished(engine, folder, "ddim", 1.0), 4, bands=True)
    record = found.to_record()
    assert record == found.to_record()
    again = Results.from_record(record)
    assert again.to_csv() == found.to_csv()
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())


def test_one_tree_is_read_from_the_cache_and_counts_no_chosen_trunk(
    engine: LocalEngine, folder: Folder
) -> None:
    spec = specify(model=str(folder), prompt="a blue dog", steps=STEPS, seed=9, eta=1.0)
    grid = Grid.with_columns(spec, parse_path("2.1"), ROWS, 3)
    job = engine.submit(spec, grid.paths)
    assert job.wait(SECONDS)
    under_way = begin_study(engine, GridStudy(grid))
    assert under_way.wait(SECONDS)
    assert under_way.snapshot.sampled == 0
    found = results(under_way, 1)
    assert sorted(map(tuple, found.cells[["step", "branch"]].to_numpy().tolist())) == [
        (0, 0), (0, 1), (0, 2), (2, 0), (2, 2),
    ]  # fmt: skip
    assert {factor.scope for factor in found.decisions.factors} == {"this trunk"}


def test_nothing_says_nothing() -> None:
    with pytest.raises(BadInput, match="a study of no trunk says nothing"):
        read(Plan(specify(steps=STEPS), 1, ROWS, 2), [])


def test_a_study_in_python(engine: LocalEngine, folder: Folder) -> None:
    seen: list[int] = []
    options = {"model": str(folder), "prompt": "a red cat", "steps": STEPS, "eta": 1.0}
    made = study(
        **options, trunks=4, rows=ROWS, columns=3, engine=engine,
        watch=lambda snapshot: seen.append(snapshot.trees),
    )  # fmt: skip
    costs = made.evaluations
    assert costs["minimum"] == 4 * (6 + 3 * 5 + 3 * 3) == costs["sampled"] + costs["reused"]
    assert costs["naive"] == 4 * 7 * STEPS
    assert set(made.to_frame().columns) == set(COLUMNS)
    assert made.report()["study"]["trunks"] == 4


def test_a_grid_whose_words_changed_on_the_way_is_read_too(
    engine: LocalEngine, folder: Folder
) -> None:
    spec = specify(model=str(folder), prompt="a blue dog", steps=STEPS, seed=4, eta=1.0)
    grid = Grid.with_columns(spec, parse_path("1:prompt=a+red+cat/2.0"), (3,), 2)
    job = engine.submit(spec, grid.paths)
    assert job.wait(SECONDS)
    under_way = begin_study(engine, GridStudy(grid))
    assert under_way.wait(SECONDS)
    assert under_way.snapshot.error is None
    assert under_way.snapshot.sampled == 0
    assert len(results(under_way, 1).cells) == 2
