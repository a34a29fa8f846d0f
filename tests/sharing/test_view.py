"""What somebody looks at, and what each change makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgrid.errors import BadInput
from diffgrid.sharing.address import from_query, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Fork, parse_path
from diffgrid.spec.schedulers import SCHEDULERS

DEFAULT = View.default()

# Also what no form offers: a browser may send anything, and another scheduler leaves old paths.
steps = st.sampled_from([-1, 0, 1, 5, 8, 10, 16, 23, 24, 999, 1000, 10**18])
texts = st.sampled_from(["", "a red monster", DEFAULT.prompt, "x" * 2001, "-\n\u00a0/&=%"])
scales = st.sampled_from([-1.0, 0.0, 1.0, DEFAULT.guidance, 7.5, float("inf"), float("nan")])
sides = st.none() | st.sampled_from([-8, 0, 8, 64, 100, 10**6])
names = st.none() | st.sampled_from([s.name for s in SCHEDULERS] + ["os.system"])
options = st.fixed_dictionaries(
    {},
    optional={
        "prompt": texts,
        "negative_prompt": texts,
        "seed": st.integers(-1, 2**63),
        "scheduler": names,
        "steps": steps,
        "guidance": scales,
        "eta": st.none() | st.floats(-1, 2),
        "height": sides,
        "width": sides,
    },
)
forks = st.builds(Fork, st.integers(0, 25), st.integers(0, 5))
Change = Callable[[View], View]
changes: st.SearchStrategy[Change] = st.one_of(
    options.map(lambda chosen: lambda view: view.with_options(**chosen)),
    steps.map(lambda back: lambda view: view.with_fork_kind(back)),
    st.tuples(st.sampled_from([0, 1, 4, 8, 12]), st.sampled_from([0, 1, 4, 64, 65])).map(
        lambda shape: lambda view: view.with_shape(*shape)
    ),
    st.lists(steps, max_size=4).map(lambda rows: lambda view: view.with_steps(rows)),
    st.lists(forks, max_size=3).map(lambda path: lambda view: view.follow(tuple(path))),
    st.tuples(steps, st.none() | texts, st.none() | scales).map(
        lambda what: lambda view: view.change(*what)
    ),
    st.tuples(st.sampled_from(["add_row", "drop_row", "reroll_row"]), steps).map(
        lambda what: lambda view: getattr(view, what[0])(what[1])
    ),
    st.tuples(steps, st.integers(-1, 9)).map(lambda cell: lambda view: view.reroll_cell(*cell)),
    st.sampled_from(["add_column", "drop_column"]).map(
        lambda name: lambda view: getattr(view, name)()
    ),
)


def _grid(view: View, change: Change) -> tuple[View, Grid | None]:
    """The view a change makes, or the old one where it is refused; its grid where there is one."""
    try:
        view = change(view)
        return view, view.grid()
    except BadInput:
        return view, None


@pytest.mark.slow
@given(st.lists(changes, max_size=8))
def test_after_any_changes_a_view_is_a_grid_or_says_what_is_wrong(sequence: list[Change]) -> None:
    kept = form = DEFAULT  # what cannot be is typed in a form all the same, and never in view
    for change in sequence:
        form, _ = _grid(form, change)
        view, grid = _grid(kept, change)
        if grid:
            kept = view
            assert tuple(zip(grid.rows, grid.branches, strict=True)) == view.rows
            assert (grid.path, grid.back) == (view.path, view.back)
            assert from_query(to_query(view)).grid() == grid


def test_other_steps_keep_each_rows_share_of_the_way() -> None:
    assert [k for k, _ in DEFAULT.with_options(steps=50).rows] == [2, 10, 20]
    moved = DEFAULT.add_row(12).reroll_cell(5, 0).with_options(steps=50).rows
    assert moved == ((2, (0, 1, 2, 3)), (10, (4, 1, 2, 3)), (20, (0, 1, 2, 3)), (24, (0, 1, 2, 3)))
    assert DEFAULT.with_options(steps=1).rows == ()


def test_another_run_begins_at_its_trunk() -> None:
    assert DEFAULT.follow(parse_path("5.2")).with_options(prompt="a hat").path == ()


def test_only_a_scheduler_that_takes_eta_has_one() -> None:
    euler = DEFAULT.with_options(scheduler="euler")
    assert euler.eta is None
    assert euler.with_options(scheduler=None).eta == 1.0


def test_rows_and_columns_come_and_go() -> None:
    view = DEFAULT.add_row(12).add_column().drop_row(1)
    assert [(k, js) for k, js in view.rows][:2] == [(5, (0, 1, 2, 3, 4)), (10, (0, 1, 2, 3, 4))]
    assert view.drop_column().columns == 4
    alone = DEFAULT.with_shape(1, 1)
    assert alone.drop_row(alone.rows[0][0]) == alone.drop_column() == alone
    assert DEFAULT.with_shape(1, 0).add_column().columns == 1


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (6, 3), (8, 2)])
def test_a_shape_has_as_many_rows_as_were_asked_for(rows: int, columns: int) -> None:
    view = DEFAULT.with_shape(rows, columns)
    assert (len(view.rows), view.columns) == (rows, columns)
    assert len(DEFAULT.with_options(steps=4).with_shape(rows, columns).rows) == min(rows, 3)


def test_a_change_leaves_the_trunk_at_its_step_and_keeps_what_was_before() -> None:
    view = DEFAULT.follow(parse_path("5.2/10.1")).change(8, "a red monster", DEFAULT.guidance)
    assert view.path == (Fork(5, 2), Fork(8, 0, prompt="a red monster"))
    below = view.grid().cells[2][1]
    assert below == (*view.path, Fork(10, 1))
    assert from_query(to_query(view)) == view
    again = view.change(12, "a red monster", 1.0)
    assert again.path[-1] == Fork(12, 0, guidance_scale=1.0)


def test_a_change_that_changes_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="nothing changes at step 8"):
        DEFAULT.change(8, DEFAULT.prompt, DEFAULT.guidance)


def test_limits_hold_for_the_prompts_of_a_path_too(monkeypatch: pytest.MonkeyPatch) -> None:
    view = DEFAULT.change(8, "x" * 1000, 3.0).change(12, "y", 3.0)
    view.grid()
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="prompt has 1,000 characters"):
        view.grid()
