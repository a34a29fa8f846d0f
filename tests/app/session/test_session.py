"""A session, without any page: what it asks the engine for, and what there is to show."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from diffgrid.app.render_state import render_state
from diffgrid.app.session.page import DECISIONS, GRID
from diffgrid.app.session.session import Session
from diffgrid.errors import StoreError
from diffgrid.records.frames import Decoding
from diffgrid.spec.path import fork, format_path, parse_path
from tests.app.driver import cells, header
from tests.fakes import FakeEngine, FakeJob, pictures


def test_opening_asks_for_the_models_own_grid(opened: Session, engine: FakeEngine) -> None:
    (job,) = engine.jobs
    assert (job.spec.seed, job.spec.num_inference_steps) == (7, 25)
    assert job.paths[0] == ()
    assert len(job.paths) == 1 + 3 * 4
    assert cells(render_state(opened)) == [
        format_path(fork((), k, j)) for k in (1, 5, 10) for j in range(4)
    ]


def test_another_view_ends_what_was_under_way(opened: Session, engine: FakeEngine) -> None:
    opened.change(opened.view.with_options(seed=8))
    opened.change(opened.view.with_options(seed=9))
    assert [job.cancelled for job in engine.jobs] == [True, True, False]
    assert engine.jobs[-1].spec.seed == 9


def test_who_has_left_waits_for_nothing(opened: Session, engine: FakeEngine) -> None:
    path = parse_path("5.2")
    opened.one_run.ask(opened.view.spec, path)
    opened.close()
    assert [job.cancelled for job in engine.jobs] == [True, True]


def test_who_has_left_holds_nothing(opened: Session, engine: FakeEngine) -> None:
    engine.jobs[-1].finish()
    assert opened.made()
    opened.close()
    assert not opened.made()
    assert (opened.job, opened.grid) == (None, None)


class Left(Session):
    """One that another thread closes just after something of it was read for the n-th time."""

    reads = 0  # still to come; below 0 it stays open

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in ("grid", "job", "_made", "_levels", "one_run", "labels") and self.reads:
            self.reads -= 1
            if not self.reads:
                self.close()
        return value


def ask_for_one(session: Session) -> None:
    grid = session.view.grid()
    job = session.one_run.ask(grid.spec, grid.path)
    session.furthest(grid.spec, grid.path, job)


DOINGS: list[Callable[[Session], object]] = [
    render_state,
    ask_for_one,
    lambda session: session.around,
    lambda session: session.again(),
    lambda session: session.show_lane("xt"),
    lambda session: session.rest(parse_path("5.2")),
    lambda session: session.change(session.view.with_options(seed=8)),
    lambda session: session.go(session.view.follow(parse_path("5.2"))),
]


@pytest.mark.parametrize("lane", ["x0", "xt"])
@pytest.mark.parametrize("doing", DOINGS)
def test_who_leaves_while_a_page_is_drawn_disturbs_nothing(
    doing: Callable[[Session], object], lane: str, engine: FakeEngine
) -> None:
    for reads in range(1, 1000):
        session = Left(lambda: engine)
        session.load_query(GRID, {})
        session.show_lane(lane)
        session.open()
        engine.jobs[-1].finish()
        session.reads = reads
        doing(session)
        if session.reads:  # it did not come so far
            break


def test_approximate_pictures_are_told_while_they_come_and_afterwards(
    opened: Session, engine: FakeEngine
) -> None:
    (job,) = engine.jobs
    assert header(render_state(opened))["note"] == ""
    job.play(decoding=Decoding("linear", 12.0))
    assert "about 12 of 255 off" in header(render_state(opened))["note"]
    job.finish()
    assert header(render_state(opened))["note"] == opened.note != ""


def test_an_older_versions_pictures_make_way_for_what_is_drawn_anew(
    opened: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = engine.jobs
    new = pictures(job.spec.length)
    old = replace(pictures(job.spec.length, 9), decoding=Decoding("hindsight"))
    job.play(new.final, done=True)
    with monkeypatch.context() as patch:
        patch.setattr(job, "frames", lambda path: old)
        assert opened.made()[()] == old
        assert "older version" in opened.note
    job.finish()
    assert opened.made()[()] == new
    assert not opened.note


def test_a_page_looks_seldom_while_others_go_first(opened: Session, engine: FakeEngine) -> None:
    (job,) = engine.jobs
    often, around = opened.look_again, opened.around
    job.play(before=3)
    seldom = opened.look_again
    job.play(before=9)
    more_seldom = opened.look_again
    assert often
    assert seldom
    assert more_seldom
    assert more_seldom > seldom > often
    assert opened.around != around  # so that the page is drawn anew, with its other pace
    job.finish()
    assert opened.look_again is None


def test_a_page_without_a_grid_has_none_sampled(opened: Session, engine: FakeEngine) -> None:
    opened.load_query(DECISIONS, {})
    opened.change(opened.view.with_options(seed=8))
    assert engine.jobs[0].cancelled
    assert len(engine.jobs) == 1
    opened.load_query(GRID, {})
    opened.open()
    assert engine.jobs[-1].spec.seed == 8


def test_a_running_job_shows_its_newest_frames_and_how_far_it_is(
    opened: Session, engine: FakeEngine
) -> None:
    (job,), newest = engine.jobs, pictures(25).final
    assert header(render_state(opened))["lengths"] == []
    job.play(newest, state="sampling", sampled=96, to_sample=269, reused=12, seconds_left=3.2)
    message = render_state(opened)
    assert header(message)["status"] == "96 of 269 evaluations, 12 reused, 3 s left"
    assert header(message)["running"]
    assert message.endswith(newest)


def test_a_finished_grid_is_drawn_from_the_stored_bytes(
    opened: Session, engine: FakeEngine
) -> None:
    engine.jobs[0].finish()
    message = render_state(opened)
    assert pictures(25).final in message
    assert len(header(message)["levels"]) == 25
    assert "249 evaluations · 76 saved" in header(message)["cost"]


def test_a_store_that_cannot_be_used_is_one_sentence(opened: Session, engine: FakeEngine) -> None:
    engine.refuses = StoreError("cache directory /nowhere cannot be used: make it writable.")
    opened.change(opened.view.with_options(steps=5))
    assert "cannot be used" in str(opened.error)
    assert not engine.jobs[0].cancelled


def test_another_pick_gives_up_the_last_ones_place_first(
    opened: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a visitor may have two requests waiting, the grid's would make room for it."""
    spec = opened.view.spec
    waiting: list[FakeJob] = []
    opened.one_run.ask(spec, parse_path("5.2"))
    submit = engine.submit

    def noting(*args: Any, **kwargs: Any) -> FakeJob:
        waiting[:] = [job for job in engine.jobs if not job.cancelled]
        return submit(*args, **kwargs)

    monkeypatch.setattr(engine, "submit", noting)
    opened.one_run.ask(spec, parse_path("6.0"))
    assert waiting == [opened.job]


def test_of_two_jobs_for_one_path_the_one_ahead_is_shown(
    opened: Session, engine: FakeEngine
) -> None:
    spec, path = opened.view.spec, parse_path("5.2")
    own = opened.one_run.ask(spec, path)
    assert opened.furthest(spec, path, own) is own
    engine.jobs[0].play(state="sampling")
    assert opened.furthest(spec, path, own) is engine.jobs[0]
    elsewhere = parse_path("6.0")
    other = opened.one_run.ask(spec, elsewhere)
    assert engine.jobs[1].cancelled
    assert opened.furthest(spec, elsewhere, other) is other
