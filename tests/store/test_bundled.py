"""What is bundled with the package: complete, exact, and of use before any model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path as Folder
from unittest import TestCase

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from diffgrid.decisions.study import GridStudy, begin_study
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput
from diffgrid.models.registry import find_model, specify
from diffgrid.records.frames import FRAMES, Frames, decode
from diffgrid.spec.grid import Grid, default_rows
from diffgrid.spec.path import Path, fork, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.bundled import FIRST_GRID, LABELS, Bundled, unpack_floats
from diffgrid.store.forgiving import TrajectoryStore
from training.first_grid import pack_floats, shipped, write

WITHOUT_TORCH = """
import sys
from diffgrid.models.registry import find_model, specify
from diffgrid.engine.local import LocalEngine
from diffgrid.spec.grid import Grid, default_rows
from diffgrid.store.forgiving import TrajectoryStore

spec = specify()
engine = LocalEngine(TrajectoryStore.default())
first = Grid.with_columns(spec, (), default_rows(spec.loop), 4)
for path in ((), first.cells[1][2]):
    grid = Grid(spec, path, first.rows, first.branches)
    job = engine.submit(spec, grid.paths)
    assert job.wait(60)
    snapshot = job.snapshot()
    assert (snapshot.state, snapshot.sampled, snapshot.to_sample) == ("done", 0, 0), snapshot
    assert snapshot.reused == snapshot.minimum
    for each in grid.paths:
        trajectory, frames = job.result(each)
        assert trajectory.done and len(frames.x0) == spec.length
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return specify()


@pytest.fixture(scope="module")
def bundled() -> Bundled:
    return Bundled()


@pytest.fixture
def store(cache_directory: Folder, bundled: Bundled) -> TrajectoryStore:
    return TrajectoryStore(cache_directory, bundled=bundled)


def first_grid(spec: RunSpec) -> Grid:
    return Grid.with_columns(spec, (), default_rows(spec.loop), 4)


def pictures(stored: tuple[dict[str, object], memoryview] | None) -> Frames:
    assert stored is not None
    return Frames.from_payload(*stored)


def test_the_default_grid_and_every_first_click_on_it_are_bundled(
    spec: RunSpec, bundled: Bundled
) -> None:
    """Fails after a change of weights or defaults: run `python -m training.first_grid` again."""
    first = first_grid(spec)
    clicked = [Grid(spec, path, first.rows, first.branches) for path in first.paths]
    assert bundled.keys > {key(spec, path) for grid in clicked for path in grid.paths}
    assert bundled.keys == {key(spec, path) for grid in shipped() for path in grid.paths}
    assert bundled.decoder == FRAMES


def test_what_a_probe_saw_in_each_is_bundled(spec: RunSpec, store: TrajectoryStore) -> None:
    """Fails after a change of the probe: run `python -m training.first_grid --labels` again."""
    engine = LocalEngine(store)
    first = first_grid(spec)
    clicked = [Grid(spec, path, first.rows, first.branches) for path in first.paths]
    for grid in (*clicked, *shipped()):
        study = begin_study(engine, GridStudy(grid, include_focus=True), begin=False)
        assert study.snapshot.state == "done"
        for _, each, found in study.findings(1):
            stored = pictures(store.get_frames(key(spec, each), FRAMES))
            assert found.picture == stored.final


def test_each_is_whole_and_begins_as_its_parent_does(spec: RunSpec, bundled: Bundled) -> None:
    for name in bundled.keys:
        found = bundled.get(name)
        assert found is not None
        assert (found.key, found.spec, found.done) == (name, spec, True)
        assert len(pictures(bundled.get_frames(name, FRAMES)).x0) == spec.length
        if found.path:
            parent, step = bundled.get(key(spec, found.path[:-1])), found.path[-1].step
            assert parent is not None
            assert_array_equal(found.latents[: step + 1], parent.latents[: step + 1])
            assert_array_equal(found.model_outputs[: step + 1], parent.model_outputs[: step + 1])
            assert not np.array_equal(found.latents[step + 1], parent.latents[step + 1])


def test_nothing_else_is_found(bundled: Bundled) -> None:
    other = key(specify(seed=8), ())
    assert bundled.get(other) is None
    assert bundled.get_frames(other, FRAMES) is None


@pytest.mark.slow
def test_the_first_grid_and_a_click_need_no_evaluation_and_no_torch() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True)


@pytest.mark.slow
def test_what_is_bundled_is_what_the_sampler_makes_here(
    spec: RunSpec, bundled: Bundled, cache_directory: Folder
) -> None:
    cells = first_grid(spec).cells
    paths: list[Path] = [(), cells[1][1], cells[2][2]]
    job = LocalEngine(TrajectoryStore(cache_directory), "cpu").submit(spec, paths)
    assert job.wait(300)
    for path in paths:
        _, made = job.result(path)
        final = pictures(bundled.get_frames(key(spec, path), FRAMES)).final
        here, there = (np.asarray(decode(data), np.int16) for data in (made.final, final))
        assert_allclose(here, there, rtol=0, atol=2)  # of 255


@pytest.mark.slow
def test_a_bundled_trajectory_can_be_forked(
    spec: RunSpec, store: TrajectoryStore, tmp_path: Folder
) -> None:
    parent = first_grid(spec).cells[1][2]
    path = fork(parent, 20, 9)
    job = LocalEngine(store, "cpu").submit(spec, [path])
    assert job.wait(300)
    assert job.snapshot().sampled == spec.length - 21
    scratch = LocalEngine(TrajectoryStore(tmp_path / "empty"), "cpu").submit(spec, [path])
    assert scratch.wait(300)
    assert_allclose(job.result(path)[0].latents, scratch.result(path)[0].latents, atol=1e-4)


def test_a_bundled_trajectory_is_stored_by_saving_it(spec: RunSpec, store: TrajectoryStore) -> None:
    name = key(spec, parse_path("5.2"))
    assert store.get(name) is not None
    assert store.runs() == []
    store.save(name, "the one with horns")
    (info,) = store.runs()
    assert (info.key, info.saved, info.has_frames) == (name, "the one with horns", True)
    alone = TrajectoryStore(store.directory)
    alone.clear()
    kept, found = alone.get(name), store.get(name)
    assert kept is not None
    assert found is not None
    assert_array_equal(kept.latents, found.latents)
    assert pictures(alone.get_frames(name, FRAMES)) == pictures(store.get_frames(name, FRAMES))


def test_a_bundled_trajectory_is_stored_by_naming_it(spec: RunSpec, store: TrajectoryStore) -> None:
    name = key(spec, ())
    assert store.find(name[:8]) == name
    assert [(info.key, info.saved) for info in store.runs()] == [(name, None)]
    assert store.verify() == []


def test_removing_a_saved_one_leaves_what_is_bundled(spec: RunSpec, store: TrajectoryStore) -> None:
    name = key(spec, ())
    store.save(name, "the first")
    store.remove(name)
    assert store.runs() == []
    assert store.get(name) is not None


def test_what_is_not_bundled_cannot_be_saved(store: TrajectoryStore) -> None:
    with pytest.raises(BadInput, match="compute it before saving it"):
        store.save(key(specify(seed=8), ()), "nothing")


def test_pictures_of_another_decoder_are_not_taken_for_its(
    spec: RunSpec, store: TrajectoryStore
) -> None:
    assert store.get_frames(key(spec, ()), "another") is None


def test_a_missing_or_cut_folder_bundles_nothing(bundled: Bundled, tmp_path: Folder) -> None:
    assert Bundled(tmp_path / "missing").keys == set()
    for file in FIRST_GRID.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2])
    with TestCase().assertLogs("diffgrid.store.bundled") as told:
        assert Bundled(tmp_path).keys == set()
        assert Bundled(tmp_path).get(next(iter(bundled.keys))) is None
    assert all("cannot be read" in line for line in told.output)


def test_a_folder_gives_back_what_was_written(
    spec: RunSpec, bundled: Bundled, tmp_path: Folder
) -> None:
    paths = [(), parse_path("5.2"), parse_path("5.2/16.1")]
    store = TrajectoryStore(tmp_path / "cache", bundled=bundled)
    job = LocalEngine(store).submit(spec, paths)
    assert job.wait(60)
    write(tmp_path / "again", map(job.result, paths), FRAMES)
    again = Bundled(tmp_path / "again")
    for path in paths:
        trajectory, frames = job.result(path)
        found = again.get(trajectory.key)
        assert found is not None
        assert (found.path, found.prediction_type) == (path, trajectory.prediction_type)
        for name in ("latents", "model_outputs", "timesteps", "alphas", "sigmas"):
            assert_array_equal(getattr(found, name), getattr(trajectory, name), strict=True)
        assert pictures(again.get_frames(found.key, FRAMES)) == frames


def test_packing_keeps_every_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 999, np.uint32)  # NaNs of all kinds too
    bits[:3] = (0, 2**31, 2**31 - 1)
    assert_array_equal(unpack_floats(pack_floats(bits.view(np.float32))).view(np.uint32), bits)


def test_labels_of_another_probe_or_another_shape_are_none(
    spec: RunSpec, bundled: Bundled, tmp_path: Folder
) -> None:
    trunk, probe = key(spec, ()), find_model(spec.model).probe
    assert bundled.get_labels(trunk, probe)
    assert bundled.get_labels(trunk, "another") is None
    for name in ("index.json", "arrays.safetensors"):
        (tmp_path / name).symlink_to(FIRST_GRID / name)
    assert Bundled(tmp_path).get_labels(trunk, probe) is None
    (tmp_path / LABELS).write_text("[]")
    assert Bundled(tmp_path).get_labels(trunk, probe) is None
