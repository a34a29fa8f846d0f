"""Specifications, paths, grids and the counting of evaluations."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgrid.errors import BadInput, DiffgridError
from diffgrid.limits import Limits
from diffgrid.spec.grid import Grid, default_rows
from diffgrid.spec.path import (
    Fork,
    Path,
    ancestors,
    before,
    check_path,
    evaluations,
    fork,
    format_path,
    minimum,
    naive,
    parse_path,
)
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import Loop

SPEC = RunSpec(
    model="monsters",
    digest="ab" * 32,
    prompt="a green monster",
    negative_prompt="",
    guidance_scale=3.0,
    scheduler="DDIMScheduler",
    scheduler_config='{"beta_schedule": "linear", "beta_end": 0.02}',
    num_inference_steps=25,
    eta=1.0,
    seed=7,
    height=128,
    width=128,
)

paths = st.dictionaries(st.integers(0, 998), st.integers(0, 10**9 - 1), max_size=5).map(
    lambda chosen: tuple(Fork(step, chosen[step]) for step in sorted(chosen))
)


# Paths


@given(paths)
def test_a_written_path_reads_back(path: Path) -> None:
    if all(fork.branch < 10**9 for fork in path):
        assert parse_path(format_path(path)) == path


def test_paths_are_written_as_the_design_says() -> None:
    assert parse_path("8.2/14.0") == (Fork(8, 2), Fork(14, 0))
    assert format_path((Fork(8, 2), Fork(14, 0))) == "8.2/14.0"
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


# Specifications


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("guidance_scale", math.nan, "guidance nan"),
        ("guidance_scale", -0.5, "guidance -0.5"),
        ("guidance_scale", math.inf, "guidance inf"),
        ("guidance_scale", True, "guidance True"),
        ("eta", 1.01, "eta 1.01 is not allowed: use a number from 0 to 1"),
        ("eta", -0.1, "eta -0.1"),
        ("eta", math.nan, "eta nan"),
        ("num_inference_steps", 0, "steps 0 is not allowed: use a whole number from 1 to 1000"),
        ("num_inference_steps", 1001, "steps 1001"),
        ("num_inference_steps", 2.0, "steps 2.0"),
        ("seed", -1, "seed -1"),
        ("seed", 2**63, "from 0 to 9223372036854775807"),
        ("prompt", "x" * 2001, "prompt has 2,001 characters"),
        ("prompt", "\ud800", "prompt .* is not valid Unicode"),
        ("negative_prompt", "x" * 2001, "negative prompt has 2,001"),
        ("negative_prompt", None, "negative prompt None"),
        ("height", 0, "height 0"),
        ("height", 130, "height 130 is not allowed: use a multiple of 8"),
        ("width", 4104, "width 4104"),
        ("digest", "AB" * 32, "digest"),
        ("scheduler", "DDIM Scheduler", "scheduler"),
        ("scheduler_config", "[1]", "give a JSON object"),
        ("scheduler_config", "[" * 100_000, "give a JSON object"),
        ("dtype", "float8", "dtype 'float8' is not allowed: choose one of float32"),
    ],
)
def test_bad_values_are_refused_in_one_line(field: str, value: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refusal:
        replace(SPEC, **{field: value})
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200
    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, DiffgridError)


def test_the_ends_of_every_range_are_allowed() -> None:
    replace(SPEC, guidance_scale=0, eta=0, num_inference_steps=1, seed=0, prompt="")
    replace(SPEC, eta=None, num_inference_steps=1000, seed=2**63 - 1, prompt="ü" * 2000, width=8)


def test_a_specification_survives_json() -> None:
    again = RunSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())))
    assert again == SPEC
    assert hash(again) == hash(SPEC)


@pytest.mark.parametrize("change", [{"seed": None}, {"colour": "green"}])
def test_fields_must_be_exactly_those_of_a_specification(change: dict[str, Any]) -> None:
    values = {**SPEC.to_dict(), **change}
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(BadInput, match=f"lacks or does not know '{next(iter(change))}'"):
        RunSpec.from_dict(values)


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
    assert Limits.from_environment().max_queue < Limits().max_queue


# Keys


def test_keys_are_what_they_were() -> None:
    # A change here makes every stored trajectory unreachable: raise its sampler version instead,
    # if the numbers changed, and only then write the new values down.
    assert key(SPEC, ()) == "01d971c8d17f7e4fcadeed0b0c90f735a0e82ee0025b018b98990205b5de93a1"
    assert (
        key(SPEC, parse_path("8.2/14.0"))
        == "5db7172f80f63a816514735e9baaa41bc9a4d294215c650773b61639aaaa2c30"
    )


def test_the_key_knows_the_model_by_its_weights_alone() -> None:
    assert key(replace(SPEC, model="/home/me/monsters"), ()) == key(SPEC, ())
    assert key(replace(SPEC, digest="cd" * 32), ()) != key(SPEC, ())


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a red monster"},
        {"negative_prompt": "horns"},
        {"guidance_scale": 1.0},
        {"scheduler": "DDPMScheduler"},
        {"scheduler_config": "{}"},
        {"num_inference_steps": 26},
        {"eta": None},
        {"seed": 8},
        {"height": 64},
        {"width": 64},
        {"dtype": "bfloat16"},
    ],
)
def test_everything_else_that_decides_a_run_is_in_its_key(change: dict[str, Any]) -> None:
    assert key(replace(SPEC, **change), ()) != key(SPEC, ())


def test_equal_values_written_differently_have_one_key() -> None:
    config = '{"beta_end":2e-2,   "beta_schedule":"linear"}'
    same = replace(SPEC, guidance_scale=3, eta=1, scheduler_config=config)
    assert same == SPEC
    assert key(same, ()) == key(SPEC, ())
    zero, minus_zero = replace(SPEC, guidance_scale=0), replace(SPEC, guidance_scale=-0.0)
    assert key(zero, ()) == key(minus_zero, ())


def test_a_configuration_may_hold_infinity() -> None:
    spec = replace(SPEC, scheduler_config='{"lambda_min_clipped": -Infinity}')
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


# Grids


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
    assert default_rows(Loop(25, range(24))) == (1, 5, 10, 16)
    assert default_rows(Loop(3, range(2))) == (0, 1)
    assert default_rows(Loop(1, range(0))) == default_rows(Loop(0, range(-1))) == ()
    for length in range(1, 1001):
        Grid.with_columns(
            replace(SPEC, num_inference_steps=length),
            (),
            default_rows(Loop(length, range(length - 1))),
            1,
        )


# Evaluations


def test_the_cost_of_the_default_grid() -> None:
    grid = Grid.with_columns(SPEC, (), default_rows(SPEC.loop), 4)
    assert naive(grid.paths, 25) == 17 * 25 == 425
    assert minimum(grid.paths, 25) == 25 + 4 * sum(25 - k - 1 for k in (1, 5, 10, 16)) == 281


def test_a_fork_shares_the_evaluation_at_its_own_step() -> None:
    trunk, branch = (), parse_path("3.0")
    new = evaluations(10, [trunk, branch]) - evaluations(10, [trunk])
    assert new == {(branch, step) for step in range(4, 10)}


@given(paths, st.integers(0, 998))
def test_one_more_branch_costs_what_follows_it(path: Path, step: int) -> None:
    cost = minimum([path, fork(path, step, 10**9 - 1)], 1000) - 1000
    assert cost == (0 if Fork(step, 10**9 - 1) in path else 1000 - step - 1)
