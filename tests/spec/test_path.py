"""Paths as they are written, forked and checked, and the evaluations that they share."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffgrid.errors import BadInput
from diffgrid.spec.path import (
    Fork,
    Path,
    ancestors,
    before,
    behind,
    check_path,
    describe,
    evaluations,
    file_name,
    fork,
    format_path,
    in_effect,
    minimum,
    naive,
    parse_path,
)
from diffgrid.spec.schedulers import Loop
from tests.spec.made import paths, paths_of_every_kind


@given(paths_of_every_kind)
def test_a_written_path_reads_back(path: Path) -> None:
    assert parse_path(format_path(path)) == path


@given(st.text(st.sampled_from("0123456789.:/-=&+%abeginprtu٣ "), max_size=20))
def test_any_text_is_a_path_or_refused_in_one_line(text: str) -> None:
    try:
        path = parse_path(text)
    except BadInput:
        return
    assert parse_path(format_path(path)) == path


def test_paths_are_written_as_the_design_says() -> None:
    assert parse_path("8.2/14.0") == (Fork(8, 2), Fork(14, 0))
    assert format_path((Fork(8, 2), Fork(14, 0))) == "8.2/14.0"
    assert parse_path("8.2~") == (Fork(8, 2, stochastic=True),)
    assert parse_path("trunk") == parse_path("") == ()
    assert format_path(()) == "trunk"


@pytest.mark.parametrize(
    "text",
    [
        "8",
        "8.2/",
        "/8.2",
        "8.2/8.3",
        "9.0/8.0",
        "-1.0",
        "1.-1",
        "8.2 ",
        "٣.1",
        "1.0-0",
        "8.0-3~",
        "8~",
        "8:",
        "8:seed=3",
        "8:guidance=x",
        "x" * 999,
    ],
)
def test_what_is_no_path_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match="path .* is not allowed: write trunk, or forks"):
        parse_path(text)


@given(paths, st.integers(0, 998), st.integers(0, 9))
def test_forking_keeps_earlier_forks_and_drops_later_ones(path: Path, step: int, new: int) -> None:
    forked = fork(path, step, new)
    assert forked[-1] == Fork(step, new)
    assert forked[:-1] == before(path, step) == tuple(f for f in path if f.step < step)
    check_path(forked, Loop(1000, range(999)))


def test_family_words() -> None:
    path = parse_path("3.1/8.2/14.0")
    assert [format_path(old) for old in ancestors(path)] == ["trunk", "3.1", "3.1/8.2"]
    assert ancestors(()) == []


def test_a_path_may_fork_up_to_the_last_transition_but_one() -> None:
    check_path(parse_path("23.0"), Loop(25, range(24)))
    with pytest.raises(BadInput, match=r"forks at step 24.*choose one from 0 to 23"):
        check_path(parse_path("24.0"), Loop(25, range(24)))
    with pytest.raises(BadInput, match="raise the steps"):
        check_path(parse_path("0.0"), Loop(1, range(0)))
    with pytest.raises(BadInput, match="must rise"):
        check_path((Fork(5, 0), Fork(5, 1)), Loop(25, range(24)))


def test_a_path_that_changes_something_is_read_in_words() -> None:
    path = parse_path("5.2/8:prompt=a+cat%2Fdog&guidance=3/12.0-3")
    assert describe(path) == "5.2 › from step 8: “a cat/dog”, guidance 3 › 12.0-3"
    assert describe(parse_path("5.2/12.0-3")) == "5.2/12.0-3"
    assert file_name(path) == "5.2-8-changed-12.0-3"


def test_a_fork_shares_the_evaluation_at_its_own_step() -> None:
    trunk, branch = (), parse_path("3.0")
    new = evaluations(10, [trunk, branch]) - evaluations(10, [trunk])
    assert new == {(branch, step) for step in range(4, 10)}


@given(paths, st.integers(0, 998))
@example((Fork(0, 10**9 - 1), Fork(1, 0)), 0)
def test_one_more_branch_costs_what_follows_it(path: Path, step: int) -> None:
    cost = minimum([path, fork(path, step, 10**9 - 1)], 1000) - 1000
    parts = step  # where the two go their own ways: at the fork, or where the path has another
    if Fork(step, 10**9 - 1) in path:
        parts = next((each.step for each in path if each.step > step), 999)
    assert cost == 999 - parts


@pytest.mark.parametrize(
    ("text", "cost"), [("12.0-3", 12 + (20 - 12 + 3)), ("5.2/12.0-3/14.0-2", 20 + 3 + 2)]
)
def test_going_back_costs_the_way_to_where_it_leaves_though_nobody_asks_for_that(
    text: str, cost: int
) -> None:
    alone = [parse_path(text)]
    assert minimum(alone, 20) == naive(alone, 20) == cost
    assert minimum([(), *alone], 20) == cost + (20 - 12 if text == "12.0-3" else 20 - 5 - 1)


@given(st.lists(paths_of_every_kind, min_size=1, max_size=4))
@settings(max_examples=15)  # of up to a thousand steps each
def test_sharing_costs_no_more_than_one_by_one_and_no_less_than_one(chosen: list[Path]) -> None:
    assert 1000 <= minimum(chosen, 1000) <= naive(chosen, 1000)
    assert minimum([*chosen, *chosen], 1000) == minimum(chosen, 1000)


@given(paths_of_every_kind, st.integers(0, 999))
def test_an_evaluation_depends_on_no_more_than_its_transition(path: Path, step: int) -> None:
    evaluation, transition = behind(path, step), in_effect(path, step)
    assert transition[: len(evaluation)] == evaluation
    assert path[: len(transition)] == transition
