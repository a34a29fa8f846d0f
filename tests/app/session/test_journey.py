"""The tree of the grids that were visited, and what a browser keeps of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgrid.app.render_state import render_history
from diffgrid.app.session.actions import act
from diffgrid.app.session.history import MOST_UNDONE, History
from diffgrid.app.session.journey import LARGEST, LONGEST, MOST_VISITED, Journey, what_changed
from diffgrid.app.session.session import Session
from diffgrid.browser.protocol import unpack
from diffgrid.records.frames import DIGESTS, Frames
from diffgrid.sharing.address import full_query
from diffgrid.sharing.view import View
from diffgrid.spec.path import format_path, parse_path
from diffgrid.spec.run import key
from tests.app.driver import header
from tests.fakes import FakeEngine, pictures, trajectory
from tests.sharing.made import views

DEFAULT = View.default()


def seeded(seed: int) -> View:
    return DEFAULT.with_options(seed=seed)


def shape(journey: Journey) -> dict[str, str | None]:
    """Path -> the path above it."""
    found = {}
    for view in journey:
        above = journey.above(view)
        found[format_path(view.path)] = format_path(above.path) if above else None
    return found


def check(journey: Journey) -> None:
    """It is one tree, what is on view is in it, and each comes after the one above it."""
    found: set[View] = set()
    for view in journey:
        assert (journey.above(view) in found) == bool(found)
        found.add(view)
    assert journey.here in found
    assert len(found) <= MOST_VISITED


def follow(session: Session, *paths: str) -> None:
    for path in paths:
        act(session, {"do": "follow", "path": path})


def test_an_undo_and_another_choice_leave_two_ways(opened: Session) -> None:
    follow(opened, "5.2", "5.2/10.1", "5.2/10.1/16.0")
    act(opened, {"do": "undo"})
    follow(opened, "5.2/10.1/16.3")
    act(opened, {"do": "goto", "path": "trunk"})
    assert shape(opened.history.journey) == {
        "trunk": None,
        "5.2": "trunk",
        "5.2/10.1": "5.2",
        "5.2/10.1/16.0": "5.2/10.1",
        "5.2/10.1/16.3": "5.2/10.1",
    }
    assert opened.history.journey.here == DEFAULT


steps = st.one_of(st.integers(0, 9).map(seeded), st.just("undo"), st.just("redo"))


@given(st.lists(steps, max_size=40))
def test_undo_and_redo_are_what_they_were_without_the_tree(does: list[View | str]) -> None:
    history, here = History(DEFAULT), DEFAULT
    past: list[View] = []
    future: list[View] = []
    for do in does:
        if isinstance(do, View):
            past, future, here = [*past, here], [], do
            history.go(do)
        elif do == "undo" and past:
            *past, before = past
            future, here = [*future, here], before
            history.undo()
        elif do == "redo" and future:
            *future, after = future
            past, here = [*past, here], after
            history.redo()
        assert (history.view, history.before, history.after) == (
            here,
            past[-1] if past else None,
            future[-1] if future else None,
        )
        check(history.journey)
    assert MOST_UNDONE > 40


@given(st.lists(views(), max_size=6), st.lists(st.sampled_from(["back", "stay"]), max_size=6))
def test_a_new_session_takes_in_what_a_browser_kept(visited: list[View], goes: list[str]) -> None:
    journey = Journey(DEFAULT)
    for view, go in zip(visited, [*goes, *["stay"] * 6], strict=False):
        journey.visit(view)
        if go == "back":
            journey.visit(DEFAULT)
    kept = json.loads(json.dumps(journey.kept()))
    later = Journey(journey.here)
    later.take_in(kept, list(journey).index(journey.here))
    told = {view: journey.above(view) for view in journey}
    if all(sum(map(len, full_query(view).values())) <= LONGEST for view in journey):
        assert {view: later.above(view) for view in later} == told
    check(later)
    later.take_in([[-1, {"seed": "99"}]], 0)  # once
    assert seeded(99) not in later


def test_another_address_in_the_tab_goes_on_from_what_it_showed() -> None:
    journey = Journey(DEFAULT)
    journey.visit(seeded(8))
    journey.visit(seeded(9))
    later = Journey(seeded(20))
    later.visit(seeded(21))
    later.take_in(journey.kept(), 1)
    assert later.above(seeded(20)) == seeded(8)
    assert later.above(seeded(21)) == seeded(20)
    assert later.here == seeded(21)


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 6) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["seed", "path", "model", "rows", "x"]), inner, max_size=3
        )
    ),
    max_leaves=30,
)


@given(st.lists(nonsense, max_size=12), nonsense)
def test_nonsense_is_left_out(nodes: list[Any], at: object) -> None:
    journey = Journey(DEFAULT)
    journey.visit(seeded(8))
    journey.take_in(nodes, at)
    check(journey)
    assert journey.above(seeded(8))
    assert journey.here == seeded(8)


def test_what_was_reached_from_nonsense_goes_under_the_one_above_it() -> None:
    journey = Journey(DEFAULT)
    nodes: list[Any] = [
        [-1, {"seed": "7"}],
        [0, {"model": "/etc/passwd"}],
        [1, {"model": "monsters"}],
    ]
    nodes += [[2, {"seed": "8"}], [7, {"seed": "9"}], [0, {"prompt": "x" * 5000}], "no"]
    journey.take_in(nodes, 3)
    first = DEFAULT.with_options(seed=7)
    assert journey.above(seeded(8)) == first
    assert set(journey) == {first, seeded(8)}


def test_the_oldest_leaves_go() -> None:
    journey = Journey(DEFAULT)
    for seed in range(100, 110 + MOST_VISITED):
        journey.visit(seeded(seed))
        journey.visit(DEFAULT)
    check(journey)
    assert DEFAULT in journey
    assert seeded(110) not in journey
    assert seeded(109 + MOST_VISITED) in journey


def test_of_one_line_the_beginning_goes() -> None:
    journey = Journey(DEFAULT)
    for seed in range(100, 110 + MOST_VISITED):
        journey.visit(seeded(seed))
    check(journey)
    assert next(iter(journey)) == seeded(110)
    assert len(journey) == MOST_VISITED


def test_long_prompts_are_kept_as_far_as_a_browser_has_room() -> None:
    journey = Journey(DEFAULT)
    for number in range(30):
        journey.visit(DEFAULT.with_options(prompt=f"{number} " + "\N{ROCKET}" * 1900))
        check(journey)
        assert len(json.dumps(journey.kept())) <= LARGEST


def test_a_node_says_what_it_has_other_than_the_one_above() -> None:
    followed = DEFAULT.follow(parse_path("5.2"))
    for view, words in [
        (DEFAULT, "trunk"),
        (followed, "5.2"),
        (seeded(8), "seed 8"),
        (DEFAULT.with_options(prompt="a\nred monster"), "“a red monster”"),
        (DEFAULT.with_options(prompt="", guidance=5.0), "no prompt, guidance 5"),
        (DEFAULT.with_options(image="ab" * 32), "photo abababab"),
        (DEFAULT.reroll_row(5), "rerolled"),
        (DEFAULT.drop_row(5), "2 rows"),
        (DEFAULT.add_column(), "5 columns"),
        (DEFAULT.with_steps((2, 5, 10)), "other rows"),
    ]:
        assert what_changed(view, None if view == DEFAULT else DEFAULT) == words
    assert what_changed(DEFAULT, followed) == "trunk"


# What the page is sent.


def add(engine: FakeEngine, view: View, frames: Frames) -> None:
    digest = DIGESTS[frames.decoding.way]
    engine.store.add_frames(key(view.spec, view.path), digest, *frames.to_payload())


def test_pictures_come_from_the_store_once_and_nothing_is_sampled(
    opened: Session, engine: FakeEngine
) -> None:
    add(engine, DEFAULT, pictures(25))
    follow(opened, "5.2")
    jobs = len(engine.jobs)
    told, sent = unpack(render_history(opened))
    assert [node["picture"] for node in told["nodes"]] == [0, None]
    assert all(sent)
    add(engine, opened.view, pictures(25, 9))
    told, sent = unpack(render_history(opened))
    assert [node["picture"] for node in told["nodes"]] == [0, 1]
    assert list(map(bool, sent)) == [False, True]
    assert (told["at"], told["taken_in"], told["more"]) == (1, False, False)
    assert len(engine.jobs) == jobs
    opened.close()
    engine.store.clear()
    assert header(render_history(opened))["names"] == []  # who has left holds nothing


def test_strangers_are_shown_their_own(
    opened: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    for view in (DEFAULT, seeded(8)):
        add(engine, view, pictures(25))
    act(opened, {"do": "take_in", "nodes": [[-1, {"seed": "8"}]], "at": 0})
    told = header(render_history(opened))
    assert [node["picture"] for node in told["nodes"]] == [None, 0]
    assert not told["stars"]


def test_many_pictures_come_in_several_messages(opened: Session, engine: FakeEngine) -> None:
    nodes = [[-1, {"seed": "0"}], *([0, {"seed": str(seed)}] for seed in range(1, 19))]
    act(opened, {"do": "take_in", "nodes": nodes, "at": 0})
    assert [header(render_history(opened))["more"] for _ in range(4)] == [True, True, False, False]


def test_a_star_on_a_node_keeps_its_trajectory(opened: Session, engine: FakeEngine) -> None:
    engine.store.add(trajectory(seeded(8).spec, ()))
    follow(opened, "5.2")
    opened.go(seeded(8))
    act(opened, {"do": "undo"})
    act(opened, {"do": "star", "path": "trunk", "on": True, "query": full_query(seeded(8))})
    nodes = header(render_history(opened))["nodes"]
    assert [node["starred"] for node in nodes] == [False, False, True]
