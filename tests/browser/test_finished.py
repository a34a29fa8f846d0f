"""What a page takes from the store: whole grids behind the one on view, and each run but once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from diffgrid.browser import finished
from diffgrid.browser.finished import MOST_BEHIND, page_of
from diffgrid.browser.page import Page
from diffgrid.models.registry import specify
from diffgrid.records.frames import FRAMES, Frames
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, format_path, parse_path
from diffgrid.spec.run import key
from diffgrid.store.bundled import Bundled
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames
from tests.fakes import FakeEngine, focus, pictures, trajectory
from tests.store.made import store_in_memory


def grid(path: str = "trunk", steps: int = 4, columns: int = 1) -> Grid:
    return Grid.with_columns(specify(steps=steps), parse_path(path), range(steps - 1), columns)


def put(store: TrajectoryStore, one: Grid) -> None:
    for path in one.paths:
        store.add(trajectory(one.spec, path))
        store.add_frames(key(one.spec, path), FRAMES, *pictures(one.spec.length).to_payload())


def made_of(one: Grid, store: TrajectoryStore, behind: bool = True) -> Page:
    made = dict.fromkeys(one.paths, pictures(one.spec.length))
    return page_of(one, made, focus(one), ["seed 7"], FakeEngine(store), behind=behind)


def paths(page: Page) -> list[str]:
    return [format_path(state.grid.path) for state in page.behind]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the pictures of each key were looked for."""
    counted: Counter[str] = Counter()

    def counting(store: TrajectoryStore, name: str) -> Frames | None:
        counted[name] += 1
        return stored_frames(store, name)

    monkeypatch.setattr(finished, "stored_frames", counting)
    return counted


def test_a_grid_that_is_not_whole_costs_one_look_and_so_many_grids_are_looked_for(
    read: Counter[str],
) -> None:
    large = grid(steps=30, columns=4)
    assert len(large.paths) > MOST_BEHIND
    # The last row's grids are on view already; all others lack something.
    assert paths(made_of(large, store_in_memory())) == []
    assert 0 < read.total() <= MOST_BEHIND


def test_of_many_grids_that_are_whole_the_first_ones_are_taken_and_read_once(
    read: Counter[str],
) -> None:
    large, store = grid(steps=9, columns=9), store_in_memory()
    behind = [Grid(large.spec, p, large.rows, large.branches) for p in large.paths[1:]]
    every: set[Path] = {path for one in behind[:MOST_BEHIND] for path in one.paths}
    for path in every:
        store.add(trajectory(large.spec, path))
        store.add_frames(key(large.spec, path), FRAMES, *pictures(9).to_payload())
    page = made_of(large, store)
    assert sorted(paths(page)) == sorted(format_path(p) for p in large.paths[1 : 1 + MOST_BEHIND])
    assert set(read.values()) == {1}
    assert len(read) == len(every - {*large.paths})


def test_nothing_behind_is_looked_for_where_it_is_not_asked_for(read: Counter[str]) -> None:
    store = store_in_memory()
    put(store, grid("0.0"))
    assert made_of(grid(), store, behind=False).behind == []
    assert not read
    assert "0.0" in paths(made_of(grid(), store))


def test_a_public_server_gives_away_what_is_kept_and_the_sessions_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, followed = store_in_memory(), grid("0.0")
    put(store, followed)
    assert paths(made_of(grid(), store)) == ["2.0", "0.0"]
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    assert paths(made_of(grid(), store)) == ["2.0"]  # all of its cells are on view

    def save(some: Iterable[Path]) -> None:
        for path in some:
            store.save(key(followed.spec, path), "mine")

    first, *others = [path for path in followed.paths if path not in grid().paths]
    save(others)
    assert paths(made_of(grid(), store)) == ["2.0"]
    save([first])
    assert paths(made_of(grid(), store)) == ["2.0", "0.0"]


def test_what_came_along_is_given_away_by_a_public_server_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    first = View.default().grid()
    assert set(paths(made_of(first, store_in_memory(Bundled())))) == {
        format_path(path) for path in first.paths[1:]
    }
