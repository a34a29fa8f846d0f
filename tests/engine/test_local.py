"""How the sessions of one server share an engine."""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from diffgrid.engine.job import LocalJob
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Estimate
from diffgrid.errors import BadInput, Busy, DiffgridError
from diffgrid.limits import Limits
from diffgrid.spec.path import minimum
from diffgrid.spec.run import RunSpec
from tests.engine.running import SECONDS, STEPS, Gate, finish, grid, make, occupy


def occupied_after_a_trunk(engine: LocalEngine, spec: RunSpec, gate: Gate) -> None:
    """The trunk is stored, and a job keeps the worker until the gate is open."""
    gate.opened.set()
    make(engine, spec, ((),))
    gate.opened.clear()
    gate.reached.clear()
    occupy(engine, spec, gate)


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
    occupied_after_a_trunk(engine, spec, gate)
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


def test_nine_tabs_of_one_visitor_lock_nobody_out(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    occupied_after_a_trunk(engine, spec, gate)
    few = Limits(max_queue=3, max_waiting=2)

    def submit(seed: int, visitor: str) -> LocalJob:
        return engine.submit(replace(spec, seed=seed), [()], session=visitor, limits=few)

    tabs = [submit(seed, "many tabs") for seed in range(20, 29)]
    other = submit(30, "one tab")
    assert [job.snapshot().state for job in tabs] == ["cancelled"] * 7 + ["queued"] * 2
    assert other.snapshot().state == "queued"
    joined = submit(27, "many tabs")  # what waits already takes nobody's place
    assert [job.snapshot().state for job in tabs[-2:]] == ["queued"] * 2
    for job in (*tabs, joined, other):
        job.cancel()


def test_a_visitors_evaluations_are_counted_where_they_are_sampled(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    gate.opened.set()
    few = Limits(max_evaluations=spec.length)
    job = engine.submit(spec, [()], session="a", limits=few)
    assert finish(job).state == "done"
    assert engine.submit(spec, [()], session="a", limits=few).snapshot().state == "done"
    with pytest.raises(Busy, match="evaluations for one visitor, and 0 of yours are left"):
        engine.submit(replace(spec, seed=31), [()], session="a", limits=few)
    engine.submit(replace(spec, seed=31), [()], session="b", limits=few).cancel()


def test_whom_a_full_queue_refuses_is_charged_nothing(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    occupied_after_a_trunk(engine, spec, gate)
    one = Limits(max_queue=1, max_evaluations=spec.length)
    waiting = engine.submit(replace(spec, seed=10), [()], session="a", limits=one)
    for _ in range(2):
        with pytest.raises(Busy, match="the server is busy: 1 grid is waiting"):
            engine.submit(replace(spec, seed=11), [()], session="b", limits=one)
    waiting.cancel()
    late = engine.submit(replace(spec, seed=11), [()], session="b", limits=one)
    assert late.snapshot().state == "queued"
    late.cancel()


def test_a_full_queue_refuses_what_is_new_and_serves_what_is_not(
    engine: LocalEngine, spec: RunSpec, gate: Gate
) -> None:
    occupied_after_a_trunk(engine, spec, gate)
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


def _submit(engine: LocalEngine, spec: RunSpec, answer: Connection) -> None:
    """In a forked child: what is stored, and then what is not."""
    try:
        answer.send(engine.submit(spec, [()]).snapshot().state)
        engine.submit(replace(spec, seed=4), [()])
    except DiffgridError as error:
        answer.send(str(error))


def test_a_forked_child_is_told_that_it_cannot_sample(engine: LocalEngine, spec: RunSpec) -> None:
    make(engine, spec, ((),))
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_submit, args=(engine, spec, there))
    child.start()
    assert here.poll(SECONDS)
    assert here.recv() == "done"
    assert here.poll(SECONDS)
    assert 'multiprocessing.get_context("spawn")' in here.recv()
    child.join()
