"""The address: who wrote it, what is followed, and what is written."""

import pytest

from diffgrid.app.session.address import Address
from diffgrid.app.session.page import COMPARE, GRID, PAGES, STRIP
from diffgrid.app.session.session import Session
from diffgrid.sharing.address import from_query, to_query
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import parse_path
from tests.fakes import FakeEngine


def test_a_page_that_is_come_to_without_a_query_keeps_the_view(opened: Session) -> None:
    opened.go(opened.view.with_options(seed=8).follow(parse_path("5.2")))
    for page in (STRIP, GRID, COMPARE, GRID):
        opened.load_query(page, {})
        assert (opened.view.seed, opened.view.path) == (8, parse_path("5.2"))


def test_an_address_opens_its_view(session: Session, engine: FakeEngine) -> None:
    session.load_query(GRID, {"seed": "9", "rows": "1,5:0.7", "columns": "2", "path": "5.7"})
    session.open()
    (job,) = engine.jobs
    assert job.spec.seed == 9
    assert job.paths[0] == parse_path("5.7")


@pytest.mark.parametrize("query", [{"rows": "nonsense"}, {"model": "/etc"}, {"steps": "1e9"}])
def test_a_hostile_address_is_told_and_the_view_stays(
    query: dict[str, str], session: Session, engine: FakeEngine
) -> None:
    session.load_query(GRID, query)
    session.open()
    assert "not" in str(session.error)
    assert engine.jobs[0].spec.seed == 7


def test_the_address_is_followed_back_and_forth(opened: Session) -> None:
    opened.go(opened.view.with_options(seed=8))
    written = opened.address.write_query(opened.view, {})
    assert written == to_query(opened.view)
    opened.load_query(GRID, {})
    assert opened.view.seed == 7
    opened.load_query(GRID, written)
    assert opened.view.seed == 8
    opened.undo()
    assert opened.view.seed == 7


def test_what_is_written_already_is_not_written_again() -> None:
    address, view = Address(), from_query({"seed": "8"})
    query = address.write_query(view, {})
    assert query == to_query(view)
    assert address.write_query(view, query) is None
    assert address.load_query(GRID, query) is None
    assert address.write_query(view, {}) == query  # a link within the app took it away


def test_what_was_followed_is_confirmed_once() -> None:
    address, query = Address(), {"seed": "8"}
    view = address.load_query(GRID, query)
    assert view == from_query(query)
    assert address.write_query(view, to_query(view)) == to_query(view)
    assert address.write_query(view, to_query(view)) is None


def test_the_strip_shows_a_path_of_the_grid_on_view_by_itself(
    opened: Session, engine: FakeEngine
) -> None:
    opened.load_query(STRIP, {})
    opened.load_query(STRIP, {**to_query(opened.view), "path": "5.2"})
    assert opened.grid is not None
    assert opened.view.path == ()
    assert opened.one_run.picked(opened.view, opened.grid) == parse_path("5.2")
    opened.load_query(STRIP, {**to_query(opened.view), "path": "6.0"})  # of another grid
    assert opened.view.path == parse_path("6.0")
    assert opened.one_run.picked(opened.view, opened.view.grid()) == parse_path("6.0")


def test_no_page_claims_a_key_of_the_view() -> None:
    own = {key for page in PAGES for key in page.keys}
    assert own == {"runs"}
    assert not own & {*(option.name for option in OPTIONS), "rows", "columns", "path", "fork"}
