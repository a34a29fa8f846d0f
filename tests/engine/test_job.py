"""Jobs: what they count, what they keep when they are stopped, and what they take up again.

Run as a script, this file is a job that is killed: it prints how many evaluations it has made.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest

from diffgrid.engine import sample as checkpoints
from diffgrid.engine.builder import Recordings
from diffgrid.engine.job import Computation
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Snapshot
from diffgrid.errors import BadInput, Cancelled, DiffgridError, NotFinite
from diffgrid.models.registry import specify
from diffgrid.records.frames import FRAMES, NOISY_DIGESTS, decode
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import minimum, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.disk import DiskShelf
from diffgrid.store.forgiving import TrajectoryStore
from tests.engine.running import (
    SECONDS,
    STEPS,
    Gate,
    OnWave,
    conducted,
    finish,
    grid,
    make,
    specification,
)

ROOT = Folder(__file__).parents[2]


def test_a_cold_job_makes_the_minimum_and_shows_every_path(
    engine: LocalEngine, spec: RunSpec
) -> None:
    done = make(engine, spec, grid(spec))
    assert done.sampled == done.to_sample == done.minimum == 6 + 2 * 5 + 2 * 3
    assert (done.reused, done.naive) == (0, 5 * STEPS)
    assert done.seconds_left == 0
    assert done.warning is None
    assert all(v.done and v.frame and v.step == STEPS for v in done.paths.values())


def test_a_path_whose_numbers_are_not_finite_ends_alone(engine: LocalEngine, spec: RunSpec) -> None:
    lost = parse_path("3:guidance=1e300"), parse_path("3:guidance=1e300/4.1")
    job = engine.submit(spec, (*grid(spec), *lost))
    ended = finish(job)
    assert isinstance(ended.error, NotFinite)
    said = "the model's numbers are not finite from step 3 (of 6) on in 2 of 7 trajectories"
    assert str(ended.error).startswith(f"{said}: choose a smaller guidance, another scheduler")
    assert {path for path, view in ended.paths.items() if view.lost} == set(lost)
    for path in grid(spec):
        assert ended.paths[path].done
        assert np.isfinite(job.result(path)[0].latents).all()
    for path in lost:
        assert not engine.store.has(key(spec, path))
        with pytest.raises(NotFinite):
            job.frames(path)
    again = finish(engine.submit(spec, (*grid(spec), *lost)))
    assert again.sampled == 1  # the step at which it ends
    assert {path for path, view in again.paths.items() if view.lost} == set(lost)


def test_a_configuration_that_makes_nothing_finite_is_named(
    engine: LocalEngine, spec: RunSpec
) -> None:
    config = {
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }
    off = replace(spec, scheduler="DDIMScheduler", eta=1.0, scheduler_config=json.dumps(config))
    ended = finish(engine.submit(off, grid(off)))
    assert isinstance(ended.error, NotFinite)
    assert "from step 0 (of 6) on in 5 of 5 trajectories" in str(ended.error)
    assert "whose rescale_betas_zero_snr goes with v_prediction alone" in str(ended.error)
    assert all(view.lost and not view.done for view in ended.paths.values())
    assert not any(engine.store.has(key(off, path)) for path in grid(off))


def test_a_lone_branch_that_goes_back_costs_the_minimum_too(
    engine: LocalEngine, spec: RunSpec
) -> None:
    done = make(engine, spec, (parse_path("3.0-2"),))
    assert done.sampled == done.minimum == done.naive == STEPS + 2


def test_results_are_whole_and_branches_share_their_way_up_to_the_fork(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(spec, grid(spec))
    finish(job)
    trunk, _ = job.result(())
    for path in grid(spec)[1:]:
        branch, frames = job.result(path)
        fork = path[-1].step
        assert branch.done
        assert branch.path == path
        assert len(frames.x0) == STEPS
        np.testing.assert_array_equal(branch.latents[: fork + 1], trunk.latents[: fork + 1])
        np.testing.assert_array_equal(
            branch.model_outputs[: fork + 1], trunk.model_outputs[: fork + 1]
        )
        assert abs(branch.latents[fork + 1] - trunk.latents[fork + 1]).max() > 0.01


def test_a_second_job_evaluates_nothing_and_loads_no_model(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, grid(spec))
    fresh = LocalEngine(engine.store)
    again = make(fresh, spec, grid(spec))
    assert (again.sampled, again.to_sample) == (0, 0)
    assert again.reused == again.minimum
    assert not fresh._models.loaded


def test_more_columns_and_rows_cost_their_own_cells_alone(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, grid(spec))
    assert make(engine, spec, grid(spec, columns=3)).sampled == 5 + 3
    assert make(engine, spec, grid(spec, rows=(0, 1, 2))).sampled == 2 * 4
    focus = Grid.with_columns(spec, parse_path("0.1"), (0, 1, 2), 2)
    assert make(engine, spec, focus.paths).sampled == 2 * 4 + 2 * 3


def test_what_is_done_is_shown_as_done_while_it_is_forked_anew(
    engine: LocalEngine, spec: RunSpec, conduct: Callable[[OnWave], None]
) -> None:
    make(engine, spec, ((),))
    seen = []
    conduct(lambda _, job: seen.append(job.snapshot.paths[()]))
    final = make(engine, spec, grid(spec)).paths[()]
    assert final.done
    assert final.step == STEPS
    assert seen
    assert all(view == final for view in seen)


def test_a_branch_of_a_stored_trunk_costs_its_own_steps_alone(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, ((),))
    assert make(engine, spec, (parse_path("3.0"),)).sampled == STEPS - 4


def test_a_snapshot_is_immutable_and_stays_as_it_was(engine: LocalEngine, spec: RunSpec) -> None:
    job = engine.submit(spec, grid(spec))
    first = job.snapshot()
    copy = replace(first, paths=dict(first.paths))
    finish(job)
    assert replace(first, paths=dict(first.paths)) == copy
    assert job.snapshot() != first
    with pytest.raises(FrozenInstanceError):
        first.sampled = 9  # type: ignore[misc]
    with pytest.raises(TypeError):
        first.paths[()] = first.paths[()]  # type: ignore[index]


def test_counts_add_up_at_every_wave_and_a_picture_is_there_after_the_first(
    engine: LocalEngine, spec: RunSpec, conduct: Callable[[OnWave], None]
) -> None:
    make(engine, spec, grid(spec)[:2])
    snapshots: list[Snapshot] = []
    conduct(lambda _, job: snapshots.append(job.snapshot))
    job = engine.submit(replace(spec, seed=4), grid(spec))
    snapshots.append(finish(job))
    assert [s.sampled for s in snapshots] == sorted(s.sampled for s in snapshots)
    for snapshot in snapshots:
        assert snapshot.sampled <= snapshot.to_sample
        assert snapshot.to_sample + snapshot.reused == snapshot.minimum
    assert snapshots[0].state == "sampling"
    assert snapshots[1].paths[()].frame  # the focus, after its first evaluation
    assert snapshots[1].paths[()].step == 1


@pytest.mark.parametrize("wave", [2, STEPS + 2])  # among the trunk's, and among the branches'
def test_a_cancelled_job_is_taken_up_where_it_stopped(
    engine: LocalEngine,
    spec: RunSpec,
    wave: int,
    conduct: Callable[[OnWave], None],
    tmp_path: Folder,
) -> None:
    conduct(lambda number, job: job.progress.stop() if number == wave else None)
    job = engine.submit(spec, grid(spec))
    stopped = finish(job)
    assert stopped.state == "cancelled"
    assert 0 < stopped.sampled < stopped.minimum
    with pytest.raises(Cancelled, match="what was computed is kept"):
        job.result(grid(spec)[-1])
    if wave > STEPS:
        assert job.result(())[0].done  # what was finished before is there

    conduct(lambda *_: None)
    resumed = engine.submit(spec, grid(spec))
    rest = finish(resumed)
    assert rest.sampled == rest.minimum - stopped.sampled
    assert rest.reused == stopped.sampled

    elsewhere = LocalEngine(TrajectoryStore(tmp_path / "elsewhere"), "cpu")
    in_one_go = elsewhere.submit(spec, grid(spec))
    finish(in_one_go)
    for path in grid(spec):
        expected, found = in_one_go.result(path)[0], resumed.result(path)[0]
        np.testing.assert_allclose(found.latents, expected.latents, atol=1e-4)


def test_a_job_cancelled_while_it_waits_evaluates_nothing(
    engine: LocalEngine, spec: RunSpec, conduct: Callable[[OnWave], None]
) -> None:
    go_on = threading.Event()

    def wait(number: int, job: Computation) -> None:
        go_on.wait(SECONDS)

    conduct(wait)
    first = engine.submit(spec, [()])
    second = engine.submit(replace(spec, seed=4), [()])
    assert second.snapshot().state == "queued"
    second.cancel()
    go_on.set()
    assert finish(first).state == "done"
    assert finish(second).state == "cancelled"
    assert second.snapshot().sampled == 0


def test_a_branch_asked_for_alone_leaves_its_parents_beginning_for_later(
    engine: LocalEngine, spec: RunSpec
) -> None:
    path = parse_path("1.0/3.1")
    assert make(engine, spec, (path,)).sampled == STEPS
    whole = make(engine, spec, (path, path[:1], ()))
    assert whole.sampled == whole.minimum - STEPS == (STEPS - 4) + (STEPS - 2)


def test_a_cache_that_fails_in_the_middle_costs_a_warning_and_no_result(
    cache_directory: Folder, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(TrajectoryStore(cache_directory), "cpu")
    write, written = DiskShelf.set, []

    def fail_after_the_first(shelf: DiskShelf, row: str, value: bytes) -> None:
        written.append(row)
        if len(written) > 3:  # the trunk, its description and its frames
            raise OSError(28, "No space left on device")
        write(shelf, row, value)

    monkeypatch.setattr(DiskShelf, "set", fail_after_the_first)
    job = engine.submit(spec, grid(spec))
    done = finish(job)
    assert done.state == "done"
    assert done.sampled == done.minimum
    assert done.warning is not None
    assert "No space left on device" in done.warning
    assert "\n" not in done.warning
    for path in grid(spec):  # the one that was stored, too: the store is not asked for a while
        trajectory, frames = job.result(path)
        assert trajectory.done
        assert frames.final


def test_frames_that_were_lost_are_decoded_again_with_no_evaluation(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(spec, grid(spec))
    finish(job)
    before = {path: job.result(path)[1] for path in grid(spec)}
    for path in grid(spec)[:3]:
        engine.store._runs.delete(f"{key(spec, path)}/frames/{FRAMES}")
    again = engine.submit(spec, grid(spec))
    done = finish(again)
    assert (done.sampled, done.to_sample, done.reused) == (0, 0, done.minimum)
    for path, frames in before.items():
        found = again.result(path)[1]
        assert len(found.x0) == len(frames.x0) == STEPS
        assert found.final == frames.final
    assert engine.store.get_frames(key(spec, ()), FRAMES) is not None


def test_a_damaged_trajectory_is_sampled_again(engine: LocalEngine, spec: RunSpec) -> None:
    make(engine, spec, grid(spec))
    path = grid(spec)[1]
    engine.store._runs.set(key(spec, path), b"not a trajectory")
    assert make(engine, spec, grid(spec)).sampled == STEPS - path[-1].step - 1


def test_a_job_that_trusts_the_store_reads_arrays_only_where_they_are_needed(
    engine: LocalEngine, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(engine, spec, grid(spec))
    read, get = [], engine.store.get

    def counting(name: str) -> Trajectory | None:
        read.append(name)
        return get(name)

    monkeypatch.setattr(engine.store, "get", counting)
    job = engine.submit(spec, grid(spec), trust=True)
    assert job.snapshot().state == "done"
    assert all(job.frames(path).final for path in grid(spec))
    assert read == []
    more = engine.submit(spec, grid(spec, columns=3), trust=True)
    assert finish(more).sampled == 5 + 3
    assert set(read) == {key(spec, path) for path in [(), *map(parse_path, ("0.2", "2.2"))]}


def test_a_damaged_trajectory_that_was_trusted_is_missed_when_it_is_needed(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, grid(spec))
    path = grid(spec)[1]
    engine.store._runs.set(key(spec, path), b"not a trajectory")
    job = engine.submit(spec, grid(spec), trust=True)
    assert job.snapshot().state == "done"
    with pytest.raises(DiffgridError, match="no longer in the cache: ask for it again"):
        job.result(path)
    again = engine.submit(spec, grid(spec), trust=True)
    assert finish(again).sampled == STEPS - path[-1].step - 1
    assert again.result(path)[0].done
    engine.store._runs.set(key(spec, ()), b"not a trajectory")
    forked = engine.submit(spec, (*grid(spec), parse_path("2.5")), trust=True)
    assert finish(forked).sampled == STEPS + (STEPS - 3)
    assert forked.result(())[0].done


def test_what_a_job_has_made_is_its_own_though_the_cache_drops_it(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(spec, [()], noisy=True)
    finish(job)
    engine.store.clear()
    assert job.result(())[0].done
    assert len(job.noisy(())) == STEPS
    assert engine.store.get(key(spec, ())) is None


def test_a_job_that_trusts_the_store_keeps_no_array_that_is_in_there(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(spec, grid(spec), noisy=True, trust=True)
    assert finish(job).state == "done"
    assert not job.computation.progress.trajectories
    assert job.result(())[0].done
    assert len(job.noisy(())) == STEPS


def test_a_job_that_trusts_a_store_that_keeps_nothing_keeps_all(
    engine: LocalEngine, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.store, "has", lambda _: False)
    job = engine.submit(spec, grid(spec), trust=True)
    finish(job)
    assert {*job.computation.progress.trajectories} == {*grid(spec)}


def test_the_error_of_a_cancelled_job_holds_no_arrays(
    engine: LocalEngine, spec: RunSpec, conduct: Callable[[OnWave], None]
) -> None:
    conduct(lambda number, running: running.progress.stop() if number == 2 else None)
    own = replace(spec, seed=41)
    job = engine.submit(own, grid(own))
    assert finish(job).state == "cancelled"
    recordings = (each for each in gc.get_objects() if isinstance(each, Recordings))
    assert not [each for each in recordings if each.spec == own]


def test_what_a_job_found_alone_is_missed_when_the_cache_has_dropped_it(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, ((),))
    job = engine.submit(spec, [()], trust=True)
    engine.store.clear()
    with pytest.raises(DiffgridError, match="no longer in the cache: ask for it again"):
        job.result(())


def test_a_job_that_breaks_leaves_the_worker_to_the_next(
    engine: LocalEngine, spec: RunSpec, conduct: Callable[[OnWave], None]
) -> None:
    def fail(number: int, job: Computation) -> None:
        raise RuntimeError("boom\nand a long story")

    conduct(fail)
    broken = engine.submit(spec, [()])
    snapshot = finish(broken)
    assert snapshot.state == "failed"
    assert str(snapshot.error) == "sampling failed: boom"
    with pytest.raises(DiffgridError, match="boom"):
        broken.result(())
    conduct(lambda *_: None)
    assert make(engine, spec, ((),)).sampled == STEPS


def test_a_job_without_paths_or_with_a_late_fork_is_refused_at_once(
    engine: LocalEngine, spec: RunSpec
) -> None:
    with pytest.raises(BadInput, match="no paths"):
        engine.submit(spec, [])
    with pytest.raises(BadInput, match=f"forks at step {STEPS - 1}, which is too late"):
        engine.submit(spec, [parse_path(f"{STEPS - 1}.0")])


def test_noisy_pictures_are_decoded_once_and_read_from_the_store(
    engine: LocalEngine, spec: RunSpec, decoded: list[int]
) -> None:
    make(engine, spec, grid(spec))
    decoded.clear()
    job = engine.submit(spec, grid(spec), noisy=True)
    done = finish(job)
    assert (done.state, done.sampled) == ("done", 0)
    assert sum(decoded) == done.minimum
    trunk, branch = job.noisy(()), job.noisy(parse_path("2.1"))
    assert len(trunk) == len(branch) == STEPS
    assert trunk[:3] == branch[:3]
    assert trunk[3:] != branch[3:]
    assert decode(trunk[0]).size == decode(job.result(())[1].final).size

    fresh = LocalEngine(engine.store)
    again = fresh.submit(spec, grid(spec), noisy=True)
    assert again.snapshot().state == "done"
    assert again.noisy(()) == trunk
    assert not fresh._models.loaded


def test_a_cold_noisy_job_shows_everything_else_first(
    engine: LocalEngine, spec: RunSpec, decoded: list[int]
) -> None:
    job = engine.submit(spec, grid(spec), noisy=True)
    done = finish(job)
    assert done.sampled == done.minimum
    assert sum(decoded) == 2 * done.minimum + len(grid(spec))  # x̂0, x_t, finished pictures
    assert all(len(job.noisy(path)) == STEPS for path in grid(spec))


def test_noisy_pictures_of_every_scheduler_have_the_decoders_scale(
    engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffgrid.sampling import decoding

    given: list[Any] = []
    make_pictures = decoding.Decoder.final
    spec = specify(model=str(folder), prompt="a red cat", steps=STEPS, seed=3, scheduler="euler")
    make(engine, spec, ((),))

    def noting(decoder: decoding.Decoder, latents: Any) -> Any:
        given.append(latents)
        return make_pictures(decoder, latents)

    monkeypatch.setattr(decoding.Decoder, "final", noting)
    assert finish(engine.submit(spec, [()], noisy=True)).state == "done"
    assert 0.5 < given[0][0].std() < 1.5  # Euler's own has a standard deviation of 14


def test_noisy_pictures_that_are_not_there_are_an_error_that_says_so(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    plain = engine.submit(spec, [()])
    noisy = engine.submit(spec, [()], noisy=True)
    with pytest.raises(DiffgridError, match="not finished: wait for it"):
        noisy.noisy(())
    gate.opened.set()
    assert finish(noisy).state == "done"
    engine.store._runs.set(f"{key(spec, ())}/frames/{NOISY_DIGESTS['vae']}", b"damaged")
    assert len(noisy.noisy(())) == STEPS  # its own
    with pytest.raises(DiffgridError, match="were not asked for"):
        plain.noisy(())
    again = engine.submit(spec, [()], noisy=True)
    assert finish(again).state == "done"
    assert len(again.noisy(())) == STEPS


@pytest.mark.slow
def test_a_job_killed_with_kill_9_is_taken_up_by_the_next_process(
    engine: LocalEngine, spec: RunSpec, folder: Folder, cache_directory: Folder
) -> None:
    waves = STEPS + 2  # it is among the branches
    words = [sys.executable, __file__, str(folder), str(cache_directory), str(waves)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    evaluated = int(killed.stdout.split()[-1])
    assert 0 < evaluated < minimum(grid(spec), STEPS)
    store = TrajectoryStore(cache_directory)
    rest = make(LocalEngine(store, "cpu"), spec, grid(spec))
    assert rest.sampled == rest.minimum - evaluated
    assert store.verify() == []
    in_one_go = engine.submit(spec, grid(spec))
    finish(in_one_go)
    for path in grid(spec):
        resumed, expected = store.get(key(spec, path)), in_one_go.result(path)[0]
        assert isinstance(resumed, Trajectory)
        np.testing.assert_allclose(resumed.latents, expected.latents, atol=1e-4)


def _sample_until_killed(folder: Folder, directory: Folder, waves: int) -> None:
    from diffgrid.sampling import sampler

    def kill_after(number: int) -> None:
        print(job.snapshot().sampled, flush=True)
        if number == waves:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.CHECKPOINT_SECONDS = -1.0  # after every wave,
    checkpoints.CHECKPOINT_SHARE = 1.0  # however long it takes
    sampler.sample = conducted(sampler.sample, kill_after)
    spec = specification(folder)
    job = LocalEngine(TrajectoryStore(directory), "cpu").submit(spec, grid(spec))
    job.wait()


if __name__ == "__main__":
    _sample_until_killed(Folder(sys.argv[1]), Folder(sys.argv[2]), int(sys.argv[3]))
