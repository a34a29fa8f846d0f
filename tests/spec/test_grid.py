"""Which trajectories a grid shows, what they cost, and what cannot be shown."""

from dataclasses import fields, replace
from pathlib import Path as File

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffgrid
from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.spec.grid import (
    Grid,
    default_rows,
    format_fork_kind,
    nearest,
    parse_fork_kind,
    row_steps,
    rows_near,
)
from diffgrid.spec.path import Path, format_path, minimum, naive, parse_path
from diffgrid.spec.schedulers import Loop
from tests.spec.made import SPEC, paths


def cells(focus: str, rows: list[int], columns: int) -> list[str]:
    grid = Grid.with_columns(SPEC, parse_path(focus), rows, columns)
    return [" ".join(map(format_path, row)) for row in grid.cells]


def test_a_grid_on_the_trunk_shows_its_branches() -> None:
    assert cells("trunk", [5, 1], 3) == ["1.0 1.1 1.2", "5.0 5.1 5.2"]


def test_the_slot_of_the_focus_shows_the_path_it_left() -> None:
    assert cells("5.2/10.0", [1, 5, 10, 16], 3) == [
        "1.0 1.1 1.2",
        "5.0 5.1 trunk",
        "5.2 5.2/10.1 5.2/10.2",
        "5.2/10.0/16.0 5.2/10.0/16.1 5.2/10.0/16.2",
    ]


def test_a_focus_beyond_the_columns_leaves_the_row_as_it_was() -> None:
    assert cells("5.7", [5], 3) == ["5.0 5.1 5.2"]


def test_rerolled_branches_stand_where_they_were_put() -> None:
    grid = Grid(SPEC, parse_path("5.7"), (5, 10), ((0, 7, 3), (4,)))
    shown = [" ".join(map(format_path, row)) for row in grid.cells]
    assert shown == ["5.0 trunk 5.3", "5.7/10.4"]


def test_clicking_a_cell_leaves_nothing_new_in_its_row_or_above() -> None:
    rows = [1, 5, 10, 16]
    old = Grid.with_columns(SPEC, (), rows, 4)
    new = Grid.with_columns(SPEC, old.cells[1][2], rows, 4)
    assert {new.path, *new.cells[0], *new.cells[1]} == {old.path, *old.cells[0], *old.cells[1]}
    assert not {*new.cells[2], *new.cells[3]} & set(old.paths)


@given(paths, st.sets(st.integers(0, 998), max_size=6), st.integers(1, 9))
def test_a_grid_never_shows_a_trajectory_twice(focus: Path, rows: set[int], columns: int) -> None:
    grid = Grid.with_columns(replace(SPEC, num_inference_steps=1000), focus, rows, columns)
    shown = [path for row in grid.cells for path in row]
    assert grid.paths == (focus, *shown)
    assert len(set(grid.paths)) == 1 + columns * len(rows)


@pytest.mark.parametrize(
    ("path", "rows", "columns", "said"),
    [
        ("trunk", [24], 4, "row 24 is not allowed: with 25 steps, choose one from 0 to 23"),
        ("trunk", [-1], 4, "row -1"),
        ("trunk", [1, 5, 5], 4, "rows '1,5,5' are not allowed"),
        ("trunk", [1], 0, "columns 0 is not allowed: use a whole number from 1 to 64"),
        ("trunk", [1], 65, "columns 65"),
        ("24.0", [1], 4, "forks at step 24"),
    ],
)
def test_impossible_grids_are_refused(path: str, rows: list[int], columns: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Grid.with_columns(SPEC, parse_path(path), rows, columns)


def test_branches_must_fit_the_rows() -> None:
    with pytest.raises(BadInput, match="2 rows, but there are 1"):
        Grid(SPEC, (), (1,), ((0,), (1,)))
    with pytest.raises(BadInput, match="give each branch once"):
        Grid(SPEC, (), (1,), ((3, 3),))
    with pytest.raises(BadInput, match="columns 0"):
        Grid(SPEC, (), (1,), ((),))


def test_default_rows() -> None:
    assert default_rows(Loop(25, range(24))) == (1, 5, 10)
    assert default_rows(Loop(3, range(2))) == (0, 1)
    assert default_rows(Loop(1, range(0))) == default_rows(Loop(0, range(-1))) == ()
    for length in range(1, 1001):
        Grid.with_columns(
            replace(SPEC, num_inference_steps=length),
            (),
            default_rows(Loop(length, range(length - 1))),
            1,
        )


def test_tighter_limits_hold_where_the_server_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.with_columns(replace(SPEC, num_inference_steps=51), (), [1], 9)
    assert Limits.from_environment() == Limits()
    grid.check(Limits.from_environment())
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="steps 51"):
        grid.check(Limits.from_environment())
    with pytest.raises(BadInput, match="columns 9"):
        replace(grid, spec=SPEC).check(Limits.from_environment())
    with pytest.raises(BadInput, match="a grid of 49 cells is too large: use at most 48"):
        Grid.with_columns(SPEC, (), range(7), 7).check(Limits.from_environment())
    public, private = Limits.from_environment(), Limits()
    same = {f.name for f in fields(Limits) if getattr(public, f.name) >= getattr(private, f.name)}
    assert same == {"public", "max_queue", "max_seed", "max_branch", "max_path"}


@pytest.mark.parametrize(
    ("told", "public"), [("", False), ("0", False), ("no", False), ("true", True), ("yes", True)]
)
def test_whoever_says_public_in_another_word_is_not_left_open(
    told: str, public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", told)
    assert Limits.from_environment().public is public


@pytest.mark.parametrize(
    ("told", "public"), [(None, True), ("1", True), ("", True), ("yes", True), ("0", False)]
)
def test_community_cloud_is_public_by_itself(
    told: str | None, public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffgrid.limits.COMMUNITY_CLOUD", File(diffgrid.__file__).parents[1])
    if told is not None:
        monkeypatch.setenv("DIFFGRID_PUBLIC", told)
    assert Limits.from_environment().public is public


def test_the_cost_of_the_default_grid() -> None:
    grid = Grid.with_columns(SPEC, (), default_rows(SPEC.loop), 4)
    assert naive(grid.paths, 25) == 13 * 25 == 325
    assert minimum(grid.paths, 25) == 25 + 4 * sum(25 - k - 1 for k in (1, 5, 10)) == 249


loops = st.builds(
    lambda length, first, tail, stages: Loop(length, range(first, length - tail, stages)),
    st.integers(0, 60),
    st.integers(0, 12),
    st.integers(1, 6),
    st.integers(1, 3),
)


@given(loops, st.integers(0, 60))
def test_a_row_stands_where_one_can_fork_and_go_back(loop: Loop, back: int) -> None:
    possible = [step for step in loop.fork_steps if step - back in loop.fork_steps]
    assert list(row_steps(loop, back)) == possible


@given(loops, st.lists(st.integers(-5, 1100), max_size=5), st.integers(0, 20))
def test_rows_move_to_the_nearest_step_there_is(loop: Loop, wanted: list[int], back: int) -> None:
    possible = row_steps(loop, back)
    for step in wanted if possible else []:
        assert abs(nearest(possible, step) - step) == min(abs(k - step) for k in possible)
    rows = rows_near(loop, wanted, back)
    assert list(rows) == sorted(set(rows))
    assert set(rows) <= set(possible)
    assert bool(rows) == bool(wanted and possible)


@given(st.integers(0, 9999))
def test_a_written_kind_of_fork_reads_back(back: int) -> None:
    assert parse_fork_kind(format_fork_kind(back)) == back


@pytest.mark.parametrize("text", ["", "Fresh", "renoise", "renoise:0", "renoise:-1", "renoise:٣"])
def test_what_is_no_kind_of_fork_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="fork .* is not allowed: write fresh, or renoise: and"):
        parse_fork_kind(text)
