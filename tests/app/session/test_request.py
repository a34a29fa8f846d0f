"""What is sampled unasked, and what is only offered."""

import pytest

from diffgrid.app.render_state import render_state
from diffgrid.app.session.page import GRID
from diffgrid.app.session.request import FEW
from diffgrid.app.session.session import Session
from diffgrid.spec.path import minimum, parse_path
from tests.app.driver import header
from tests.fakes import FakeEngine


@pytest.fixture
def slow(opened: Session, engine: FakeEngine) -> FakeEngine:
    """An engine for which anything takes 90 s, once the first grid is done."""
    engine.jobs[0].finish()
    engine.seconds = 90
    return engine


def test_what_takes_long_waits_for_a_word(opened: Session, slow: FakeEngine) -> None:
    opened.change(opened.view.with_options(steps=50))
    assert len(slow.jobs) == 1
    assert not slow.jobs[0].cancelled
    offer = opened.request.offer
    assert offer
    assert (offer.seconds, offer.view.steps, opened.form.steps) == (90, 50, 50)
    opened.accept(offer.view)
    assert slow.jobs[-1].spec.length == opened.view.steps == 50
    assert slow.jobs[0].cancelled
    assert opened.request.offer is None


def test_a_link_to_what_takes_long_shows_blanks_and_waits(
    opened: Session, slow: FakeEngine
) -> None:
    opened.load_query(GRID, {"steps": "50"})
    assert len(slow.jobs) == 1
    assert opened.view.steps == 50
    assert header(render_state(opened))["lengths"] == []
    assert opened.request.offer
    opened.accept(opened.request.offer.view)
    assert slow.jobs[-1].spec.length == 50


def test_no_more_evaluations_than_the_first_grid_has_are_made_unasked(
    opened: Session, slow: FakeEngine
) -> None:
    opened.change(opened.view.with_options(prompt="a red monster"))
    assert slow.jobs[-1].spec.prompt == "a red monster"


@pytest.mark.parametrize("seconds", [90, None])
def test_a_smaller_grid_is_offered_instead(
    opened: Session, slow: FakeEngine, seconds: float | None
) -> None:
    slow.seconds = seconds
    opened.change(opened.view.with_options(steps=100))
    assert opened.request.offer
    smaller = opened.request.offer.smaller
    assert smaller
    opened.accept(smaller)
    spec, paths = slow.jobs[-1].spec, slow.jobs[-1].paths
    assert minimum(paths, spec.length) < (minimum(slow.jobs[0].paths, 25) if seconds else FEW)


def test_a_resting_pointer_has_the_next_grid_sampled_ahead(
    opened: Session, engine: FakeEngine
) -> None:
    opened.rest(parse_path("5.2"))
    assert not engine.ahead_of  # first what was asked for
    engine.jobs[0].finish()
    opened.rest(parse_path("5.2"))
    assert engine.ahead_of[-1][0] == parse_path("5.2")
    engine.seconds = 90
    opened.rest(parse_path("5.3"))
    engine.seconds = None
    opened.rest(parse_path("5.3"))
    assert len(engine.ahead_of) == 1
    assert len(engine.jobs) == 1
