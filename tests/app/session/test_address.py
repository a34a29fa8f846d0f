"""The address: who wrote it, what is followed, and what is written."""

import pytest

from diffgrid.app.session.address import Address
from diffgrid.app.session.page import COMPARE, DECISIONS, GRID, PAGES, STRIP, Page
from diffgrid.app.session.session import Session
from diffgrid.sharing.address import from_query, query_of_one, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import parse_path
from tests.fakes import FakeEngine

DEFAULT = View.default()


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


def test_nothing_was_before_the_first_address(session: Session) -> None:
    session.load_query(GRID, {"seed": "9"})
    assert (session.history.before, session.view.seed) == (None, 9)
    session.load_query(GRID, {"seed": "10"})
    assert session.history.before == DEFAULT.with_options(seed=9)


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
    written = opened.address.write_query(to_query(opened.view), {})
    assert written == to_query(opened.view)
    opened.load_query(GRID, {}, back=True)
    assert opened.view.seed == 7
    opened.load_query(GRID, written)
    assert opened.view.seed == 8
    opened.undo()
    assert opened.view.seed == 7


@pytest.mark.parametrize("page", [GRID, STRIP, COMPARE, DECISIONS])
def test_a_link_to_the_page_one_is_on_leaves_what_is_on_view(page: Page, opened: Session) -> None:
    """Pressed twice, or by the page itself where its first press brought nothing for long."""
    opened.go(opened.view.with_options(seed=8))
    for written in (to_query(opened.view), {}):
        opened.load_query(page, {})
        assert opened.view.seed == 8
        opened.address.write_query(to_query(opened.view), written)


def test_what_is_written_already_is_not_written_again() -> None:
    address, query = Address(), to_query(DEFAULT.with_options(seed=8))
    assert address.write_query(query, {}) == query
    assert address.write_query(query, query) is None
    assert address.load_query(GRID, query, DEFAULT) is None
    assert address.write_query(query, {}) == query  # a link within the app took it away


def test_an_address_that_was_sent_before_the_newest_was_heard_of_takes_nothing_back(
    opened: Session,
) -> None:
    queries = []
    for seed in (8, 9, 10):
        opened.go(opened.view.with_options(seed=seed))
        queries.append(to_query(opened.view))
        assert opened.address.write_query(queries[-1], {}) == queries[-1]
        if seed == 8:
            opened.load_query(GRID, queries[0])  # it was heard of
    heard, unheard, newest = queries
    for late in (heard, unheard):
        opened.load_query(GRID, late)
        assert opened.view.seed == 10
        assert opened.address.write_query(newest, late) == newest
    opened.load_query(GRID, newest)
    opened.load_query(GRID, unheard, back=True)
    assert opened.view.seed == 9


def test_what_was_followed_is_confirmed_once() -> None:
    address, query = Address(), {"seed": "8"}
    assert address.load_query(GRID, query, DEFAULT) == (from_query(query), ())
    whole = to_query(from_query(query))
    assert address.write_query(whole, whole) == whole
    assert address.write_query(whole, whole) is None


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


@pytest.mark.parametrize("changes", [{}, {"seed": 8}])
@pytest.mark.parametrize("trunk", ["trunk", "5.2"])
@pytest.mark.parametrize("shown", ["trunk", "5.2", "5.3"])
def test_a_page_that_is_loaded_anew_has_the_grid_it_was_gone_to_from(
    changes: dict[str, int], trunk: str, shown: str, engine: FakeEngine
) -> None:
    view, path = DEFAULT.with_options(**changes).follow(parse_path(trunk)), parse_path(shown)
    for page, query in (
        (STRIP, query_of_one(view, path)),
        (GRID, query_of_one(view, path)),  # the strip's, for as long as its own is on its way
        (COMPARE, {**to_query(view), "runs": "deadbeef"}),
        (DECISIONS, to_query(view)),
    ):
        anew = Session(lambda: engine)
        anew.load_query(page, query)
        assert anew.view == view
        if page is STRIP:
            assert anew.one_run.picked(view, view.grid()) == path


def test_runs_alone_leave_the_grid_as_it_is(opened: Session) -> None:
    opened.go(opened.view.with_options(seed=8))
    opened.load_query(COMPARE, {"runs": "deadbeef"})
    assert opened.view.seed == 8


def test_an_address_of_before_the_connection_ended_is_late_unless_it_is_gone_back_to(
    opened: Session,
) -> None:
    before = to_query(DEFAULT.follow(parse_path("5.2")))
    opened.go(DEFAULT.follow(parse_path("5.2")))
    opened.go(DEFAULT.with_options(seed=8))
    opened.close()
    for query in ({}, before):  # once for Streamlit's own run, and once for the browser's
        opened.load_query(GRID, query)
        assert opened.view.seed == 8
        assert opened.address.write_query(to_query(opened.view), query)  # and it is told
    opened.load_query(GRID, before, back=True)
    assert opened.view.path == parse_path("5.2")
    opened.load_query(GRID, {}, back=True)  # no longer late
    assert opened.view == DEFAULT


def test_a_link_is_followed_though_the_connection_had_ended(opened: Session) -> None:
    opened.close()
    opened.load_query(GRID, {"seed": "9"})
    assert opened.view.seed == 9


@pytest.mark.parametrize("page", [GRID, STRIP])
@pytest.mark.parametrize("trunk", ["nonsense", "99.0"])
def test_a_trunk_that_cannot_be_is_told(page: Page, trunk: str, session: Session) -> None:
    session.load_query(page, {"path": "5.2", "trunk": trunk})
    assert trunk in str(session.error)
    assert session.view == DEFAULT


def test_no_page_claims_a_key_of_the_view() -> None:
    own = {key for page in PAGES for key in page.keys}
    assert own == {"runs"}
    assert not own & {*(option.name for option in OPTIONS), "rows", "columns", "path", "fork"}
