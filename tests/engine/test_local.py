"""Jobs: what they count, what they keep when they are stopped, and what they take up again; and how
the sessions of one server share an engine.

Run as a script, this file is a job that is killed: it prints how many evaluations it has made.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest

from diffgrid.engine import job as jobs
from diffgrid.engine.job import FRAMES, NOISY, Computation
from diffgrid.engine.local import FIRST_GUESS, LocalEngine, LocalJob
from diffgrid.engine.protocol import Estimate, Snapshot
from diffgrid.errors import BadInput, Busy, Cancelled, DiffgridError, ModelError
from diffgrid.limits import Limits
from diffgrid.models.registry import specify
from diffgrid.records.frames import decode
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, minimum, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

ROOT = Folder(__file__).parents[2]
STEPS = 6
SECONDS = 120  # far more than any job here takes: a test that hangs should fail
Waves = Callable[..., Iterator[list[Any]]]
OnWave = Callable[[int, Computation], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def spec(folder: Folder) -> RunSpec:
    return specification(folder)


@pytest.fixture
def store(cache_directory: Folder) -> TrajectoryStore:
    return TrajectoryStore(cache_directory)


@pytest.fixture
def engine(store: TrajectoryStore) -> Iterator[LocalEngine]:
    engine = LocalEngine(store, "cpu")
    yield engine
    with engine._change:
        under_way = [job for jobs in engine._jobs.values() for job in jobs]
    for job in under_way:  # or it would go on in the next test
        job.cancel()
        assert job.wait(SECONDS)


def specification(folder: Folder) -> RunSpec:
    return specify(model=str(folder), prompt="a red cat", steps=STEPS, seed=3)


def grid(spec: RunSpec, rows: tuple[int, ...] = (0, 2), columns: int = 2) -> tuple[Path, ...]:
    """The trunk and two branches in each of two rows: 6 + 2 · 5 + 2 · 3 evaluations."""
    return Grid.with_columns(spec, (), rows, columns).paths


def finish(job: LocalJob) -> Snapshot:
    assert job.wait(SECONDS)
    return job.snapshot()


def make(engine: LocalEngine, spec: RunSpec, paths: tuple[Path, ...]) -> Snapshot:
    """Do the job, which must succeed."""
    job = engine.submit(spec, paths)
    snapshot = finish(job)
    assert snapshot.state == "done", snapshot.error
    return snapshot


def conducted(sample: Waves, on_wave: Callable[[int], None]) -> Waves:
    """The sampler, but each wave's number is told before the job gets the wave."""

    def waves(*args: Any, **kwargs: Any) -> Iterator[list[Any]]:
        for number, wave in enumerate(sample(*args, **kwargs)):
            on_wave(number)
            yield wave

    return waves


@pytest.fixture
def conduct(monkeypatch: pytest.MonkeyPatch) -> Callable[[OnWave], None]:
    """Have a function called with each wave's number and the computation about to get it."""
    from diffgrid.sampling import sampler

    sample, run = sampler.sample, Computation.run
    running: list[Computation] = []

    def noted(job: Computation) -> None:
        running.append(job)
        run(job)

    monkeypatch.setattr(Computation, "run", noted)
    return lambda on_wave: monkeypatch.setattr(
        sampler, "sample", conducted(sample, lambda number: on_wave(number, running[-1]))
    )


def test_a_cold_job_makes_the_minimum_and_shows_every_path(
    engine: LocalEngine, spec: RunSpec
) -> None:
    done = make(engine, spec, grid(spec))
    assert done.sampled == done.to_sample == done.minimum == 6 + 2 * 5 + 2 * 3
    assert (done.reused, done.naive) == (0, 5 * STEPS)
    assert done.seconds_left == 0
    assert done.warning is None
    assert all(v.done and v.frame and v.step == STEPS for v in done.paths.values())


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
    conduct(lambda number, job: job.stop() if number == wave else None)
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
    engine: LocalEngine, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, added = engine.store._runs.add, []

    def fail_after_the_first(row: str, value: bytes) -> None:
        added.append(row)
        if len(added) > 3:  # the trunk, its description and its frames
            raise OSError(28, "No space left on device")
        add(row, value)

    monkeypatch.setattr(engine.store._runs, "add", fail_after_the_first)
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


def test_a_run_that_the_cache_dropped_is_an_error_that_says_so(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(spec, [()])
    finish(job)
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


def test_other_weights_are_not_passed_off_as_the_runs_own(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(replace(spec, digest="0" * 64), [()])
    assert finish(job).state == "failed"
    with pytest.raises(ModelError, match="has other weights than this run was made with"):
        job.result(())


def test_a_job_without_paths_or_with_a_late_fork_is_refused_at_once(
    engine: LocalEngine, spec: RunSpec
) -> None:
    with pytest.raises(BadInput, match="no paths"):
        engine.submit(spec, [])
    with pytest.raises(BadInput, match=f"forks at step {STEPS - 1}, which is too late"):
        engine.submit(spec, [parse_path(f"{STEPS - 1}.0")])


@pytest.mark.parametrize("name", ["", "gpu", "cpu:x", "cuda:", "cpu\n"])
def test_a_device_nobody_knows_is_refused_before_anything_is_loaded(
    store: TrajectoryStore, name: str
) -> None:
    with pytest.raises(BadInput, match="device .* is not known: use cpu, cuda or mps"):
        LocalEngine(store, name)


def test_a_model_whose_file_is_damaged_is_one_sentence_and_the_worker_lives_on(
    engine: LocalEngine, spec: RunSpec, folder: Folder, tmp_path: Folder
) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"junk")
    job = engine.submit(specification(broken), [()])
    failed = finish(job)
    assert failed.state == "failed"
    assert isinstance(failed.error, ModelError)
    assert "cannot be loaded" in str(failed.error)
    assert "\n" not in str(failed.error)
    assert make(engine, spec, ((),)).sampled == STEPS


# --- a service for several sessions ---------------------------------------------------------------


@dataclass
class Gate:
    """The worker stops before each computation's first wave until the gate is open."""

    started: list[int] = field(default_factory=list)  # seeds, in the order they were sampled
    opened: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def __call__(self, number: int, running: Computation) -> None:
        if number == 0:
            self.started.append(running.spec.seed)
            self.reached.set()
            assert self.opened.wait(SECONDS)


@pytest.fixture
def gate(conduct: Callable[[OnWave], None]) -> Iterator[Gate]:
    gate = Gate()
    conduct(gate)
    yield gate
    gate.opened.set()


def occupy(engine: LocalEngine, spec: RunSpec, gate: Gate, session: str = "") -> LocalJob:
    """A job that keeps the worker until the gate is open."""
    job = engine.submit(replace(spec, seed=0), [()], session=session)
    assert gate.reached.wait(SECONDS)
    return job


def test_what_is_stored_is_done_on_return_without_a_worker(
    engine: LocalEngine, spec: RunSpec
) -> None:
    make(engine, spec, grid(spec))
    fresh = LocalEngine(engine.store)
    job = fresh.submit(spec, grid(spec))
    assert job.snapshot().state == "done"
    assert job.wait(0)
    assert job.result(())[0].done
    assert fresh._worker is None


def test_what_is_stored_shows_while_the_rest_waits(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    gate.opened.set()
    make(engine, spec, ((),))
    gate.opened.clear()
    gate.reached.clear()
    occupy(engine, spec, gate)
    waiting = engine.submit(spec, grid(spec)).snapshot()
    assert waiting.state == "queued"
    assert waiting.paths[()].done
    assert waiting.paths[()].frame


@pytest.mark.parametrize("busy", [False, True], ids=["running", "queued"])
def test_identical_requests_are_evaluated_once(
    engine: LocalEngine, spec: RunSpec, gate: Gate, busy: bool
) -> None:
    if busy:
        occupy(engine, spec, gate)
    one, other = (engine.submit(spec, grid(spec), session=name) for name in "ab")
    gate.opened.set()
    assert finish(one) == finish(other)
    assert one.snapshot().sampled == one.snapshot().minimum
    assert gate.started.count(spec.seed) == 1
    for path in grid(spec):
        assert one.result(path)[1] == other.result(path)[1]


def test_who_leaves_a_shared_job_does_not_stop_it_and_the_last_one_does(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    first, second, third = (engine.submit(spec, grid(spec), session=name) for name in "abc")
    assert gate.reached.wait(SECONDS)
    first.cancel()
    first.cancel()
    assert first.wait(0)
    assert first.snapshot().state == "cancelled"
    assert second.snapshot().state == "sampling"
    third.cancel()
    second.cancel()
    gate.opened.set()
    assert finish(second).state == "cancelled"
    assert 0 < second.snapshot().sampled < second.snapshot().minimum
    assert third.snapshot().state == "cancelled"


def test_a_request_made_again_after_it_was_cancelled_goes_on_from_there(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    cancelled = engine.submit(spec, grid(spec))
    assert gate.reached.wait(SECONDS)
    cancelled.cancel()
    again = engine.submit(spec, grid(spec))
    assert again.computation is not cancelled.computation
    gate.opened.set()
    assert finish(again).state == "done"
    assert finish(cancelled).state == "cancelled"
    assert cancelled.snapshot().sampled + again.snapshot().sampled == again.snapshot().minimum


def test_a_full_queue_refuses_what_is_new_and_serves_what_is_not(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    gate.opened.set()
    make(engine, spec, ((),))
    gate.opened.clear()
    gate.reached.clear()
    occupy(engine, spec, gate)
    two = Limits(max_queue=2)
    waiting = [engine.submit(replace(spec, seed=seed), [()], limits=two) for seed in (10, 11)]
    with pytest.raises(
        Busy, match="the server is busy: 2 grids are waiting; try again in a moment"
    ):
        engine.submit(replace(spec, seed=12), [()], limits=two)
    joined = engine.submit(replace(spec, seed=11), [()], limits=two)
    assert engine.submit(spec, [()], limits=two).snapshot().state == "done"
    waiting[0].cancel()
    assert finish(waiting[0]).state == "cancelled"
    late = engine.submit(replace(spec, seed=12), [()], limits=two)
    gate.opened.set()
    assert finish(joined).state == finish(late).state == "done"
    assert gate.started == [spec.seed, 0, 11, 12]


def test_a_specification_above_the_servers_limits_is_refused(
    engine: LocalEngine, spec: RunSpec
) -> None:
    with pytest.raises(BadInput, match="steps 6 is not allowed"):
        engine.submit(spec, [()], limits=Limits(max_steps=5))


def test_sessions_take_turns(engine: LocalEngine, spec: RunSpec, gate: Gate) -> None:
    occupy(engine, spec, gate, session="a")
    asked = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)]
    jobs = [engine.submit(replace(spec, seed=seed), [()], session=name) for name, seed in asked]
    gate.opened.set()
    assert {finish(job).state for job in jobs} == {"done"}
    assert gate.started == [0, 4, 6, 1, 5, 2, 3]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many latents were decoded, call by call."""
    from diffgrid.sampling import decoding

    counts: list[int] = []
    decode = decoding.decode

    def counting(pipe: Any, latents: Any) -> Any:
        counts.append(len(latents))
        return decode(pipe, latents)

    monkeypatch.setattr(decoding, "decode", counting)
    return counts


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
    make_pictures = decoding.decode
    spec = specify(model=str(folder), prompt="a red cat", steps=STEPS, seed=3, scheduler="euler")
    make(engine, spec, ((),))

    def noting(pipe: Any, latents: Any) -> Any:
        given.append(latents)
        return make_pictures(pipe, latents)

    monkeypatch.setattr(decoding, "decode", noting)
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
    engine.store._runs.set(f"{key(spec, ())}/frames/{NOISY}", b"damaged")
    with pytest.raises(DiffgridError, match="no longer in the cache"):
        noisy.noisy(())
    with pytest.raises(DiffgridError, match="were not asked for"):
        plain.noisy(())
    again = engine.submit(spec, [()], noisy=True)
    assert finish(again).state == "done"
    assert len(again.noisy(())) == STEPS


def test_what_was_sampled_ahead_costs_nothing_when_it_is_asked_for(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    gate.opened.set()
    engine.ahead(spec, grid(spec), "a")
    assert gate.reached.wait(SECONDS)
    job = engine.submit(spec, grid(spec), session="a")
    assert finish(job).state == "done"
    assert gate.started == [spec.seed]


def test_who_asks_for_what_is_sampled_ahead_joins_in(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    engine.ahead(spec, grid(spec), "a")
    assert gate.reached.wait(SECONDS)
    job = engine.submit(spec, grid(spec), session="a")
    gate.opened.set()
    assert finish(job).sampled == job.snapshot().minimum
    assert gate.started == [spec.seed]


def test_a_request_stops_what_is_sampled_ahead_and_keeps_its_evaluations(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    engine.ahead(spec, grid(spec), "a")
    assert gate.reached.wait(SECONDS)
    job = engine.submit(replace(spec, seed=4), [()], session="b")
    gate.opened.set()
    assert finish(job).state == "done"
    assert gate.started == [spec.seed, 4]
    rest = make(engine, spec, grid(spec))
    assert 0 < rest.sampled == rest.minimum - 1  # it had one wave, of the trunk


def test_only_a_sessions_newest_wish_is_sampled_ahead_and_only_when_nobody_waits(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    occupy(engine, spec, gate, session="b")
    for seed in (10, 11):
        engine.ahead(replace(spec, seed=seed), [()], "a")
    waiting = engine.submit(replace(spec, seed=4), [()], session="b")
    gate.opened.set()
    assert finish(waiting).state == "done"
    ahead = engine.submit(replace(spec, seed=11), [()], session="c")  # joins in, or finds it done
    assert finish(ahead).state == "done"
    assert gate.started == [0, 4, 11]


def test_a_request_of_the_same_session_drops_its_wish(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    occupy(engine, spec, gate, session="a")
    engine.ahead(replace(spec, seed=10), [()], "a")
    engine.submit(replace(spec, seed=4), [()], session="a")
    gate.opened.set()
    last = engine.submit(replace(spec, seed=5), [()], session="b")
    finish(last)
    assert make(engine, replace(spec, seed=6), ((),)).state == "done"
    assert sorted(gate.started) == [0, 4, 5, 6]


def test_a_warm_engine_loads_once_and_survives_a_model_that_cannot_be_loaded(
    engine: LocalEngine, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffgrid.sampling import pipelines

    loads = []
    load = pipelines.load

    def counting(*args: Any) -> Any:
        loads.append(args)
        return load(*args)

    monkeypatch.setattr(pipelines, "load", counting)
    engine.warm(replace(spec, digest="0" * 64))
    engine.warm(spec)
    assert make(engine, spec, ((),)).sampled == STEPS
    engine.warm(spec)
    assert make(engine, spec, grid(spec)).state == "done"
    assert len(loads) == 1


def test_an_estimate_counts_what_a_job_then_makes(engine: LocalEngine, spec: RunSpec) -> None:
    fresh = engine.estimate(spec, grid(spec))
    assert fresh == Estimate(minimum(grid(spec), STEPS), None)
    assert engine._worker is None
    done = make(engine, spec, grid(spec))
    assert done.sampled == fresh.evaluations
    assert engine.estimate(spec, grid(spec)) == Estimate(0, 0.0)
    more = engine.estimate(spec, grid(spec, columns=3))
    assert more.evaluations == make(engine, spec, grid(spec, columns=3)).sampled
    assert more.seconds is not None
    assert more.seconds > 0
    unguided = engine.estimate(replace(spec, guidance_scale=1.0), [()])
    assert unguided == Estimate(STEPS, None)  # runs the model once: never timed


def test_an_estimate_for_the_bundled_model_begins_with_a_guess(engine: LocalEngine) -> None:
    bundled = specify()
    small = engine.estimate(bundled, [()])
    assert small.evaluations == bundled.length
    assert small.seconds == pytest.approx(FIRST_GUESS * bundled.length)


@pytest.mark.slow
def test_a_job_killed_with_kill_9_is_taken_up_by_the_next_process(
    engine: LocalEngine, spec: RunSpec, folder: Folder, tmp_path: Folder
) -> None:
    waves = STEPS + 2  # it is among the branches
    words = [sys.executable, __file__, str(folder), str(engine.store.directory), str(waves)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    evaluated = int(killed.stdout.split()[-1])
    assert 0 < evaluated < minimum(grid(spec), STEPS)
    rest = make(engine, spec, grid(spec))
    assert rest.sampled == rest.minimum - evaluated
    assert engine.store.verify() == []
    in_one_go = LocalEngine(TrajectoryStore(tmp_path / "elsewhere"), "cpu").submit(spec, grid(spec))
    finish(in_one_go)
    for path in grid(spec):
        resumed, expected = engine.store.get(key(spec, path)), in_one_go.result(path)[0]
        assert isinstance(resumed, Trajectory)
        np.testing.assert_allclose(resumed.latents, expected.latents, atol=1e-4)


def _sample_until_killed(folder: Folder, directory: Folder, waves: int) -> None:
    from diffgrid.sampling import sampler

    def kill_after(number: int) -> None:
        print(job.snapshot().sampled, flush=True)
        if number == waves:
            os.kill(os.getpid(), signal.SIGKILL)

    jobs.CHECKPOINT_SECONDS = -1.0  # after every wave,
    jobs.CHECKPOINT_SHARE = 1.0  # however long it takes
    sampler.sample = conducted(sampler.sample, kill_after)
    spec = specification(folder)
    job = LocalEngine(TrajectoryStore(directory), "cpu").submit(spec, grid(spec))
    job.wait()


if __name__ == "__main__":
    _sample_until_killed(Folder(sys.argv[1]), Folder(sys.argv[2]), int(sys.argv[3]))
