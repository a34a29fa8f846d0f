"""Every shelf keeps the promises of `Shelf`, and a store on it behaves as a dict does."""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from diffgrid.errors import BadInput, StoreError
from diffgrid.records.frames import Frames
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory
from diffgrid.store.disk import DiskShelf, shelves_on_disk
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.pictures import stored_frames
from diffgrid.store.runs import Runs, _opener
from diffgrid.store.shelf import Shelf, Shelves
from tests.store.made import (
    OTHER_VERSIONS,
    flipped,
    same,
    shelves_in_memory,
    trajectory,
    with_another_layout,
)


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Shelf]:
    """A new shelf of so many bytes."""

    def make(limit: int = 10**7, *, evict: bool = True) -> Shelf:
        if request.param == "memory":
            return MemoryShelf(limit, evict=evict)
        return DiskShelf(tmp_path / "shelf", limit, evict=evict)

    return make


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_values_come_back_until_they_are_deleted(make: Callable[..., Shelf], size: int) -> None:
    shelf = make()
    assert shelf.get("row") is None
    assert shelf.look("row") is None
    assert "row" not in shelf
    shelf.add("row", bytes(size))
    assert shelf.get("row") == shelf.look("row") == bytes(size)
    assert "row" in shelf
    assert shelf.volume() >= size
    shelf.close()
    assert list(shelf) == ["row"]
    shelf.delete("row")
    shelf.delete("row")
    assert shelf.get("row") is None
    assert list(shelf) == []


def test_to_add_is_to_leave_what_is_there_and_to_set_is_not(make: Callable[..., Shelf]) -> None:
    shelf = make()
    shelf.add("row", b"first")
    shelf.add("row", b"second")
    assert shelf.get("row") == b"first"
    shelf.set("row", b"third")
    assert shelf.get("row") == b"third"
    shelf.set("other", b"new")
    assert sorted(shelf) == ["other", "row"]
    shelf.clear()
    assert list(shelf) == []


def test_what_fails_in_a_transaction_was_never_begun(make: Callable[..., Shelf]) -> None:
    shelf = make()
    shelf.set("row", b"before")

    def write_and_fail() -> None:
        with shelf.transact():
            shelf.set("row", b"after")
            shelf.add("other", b"after")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_and_fail()
    assert list(shelf) == ["row"]
    assert shelf.get("row") == b"before"
    with shelf.transact():
        shelf.set("row", b"after")
    assert shelf.get("row") == b"after"


def test_a_full_shelf_evicts_what_was_used_longest_ago(make: Callable[..., Shelf]) -> None:
    shelf = make(1_000_000)
    for number in range(40):
        shelf.add(str(number), bytes(100_000))
        assert shelf.get("0")
        assert shelf.get(str(number))
        assert shelf.volume() <= 1_200_000
        shelf.look("1")  # is no use of it
    assert "1" not in shelf
    assert {"0", "36", "37", "38", "39"} <= set(shelf)


def test_a_shelf_for_what_is_saved_evicts_nothing(make: Callable[..., Shelf]) -> None:
    shelf = make(1_000_000, evict=False)
    for number in range(20):
        shelf.add(str(number), bytes(100_000))
    assert len(list(shelf)) == 20


# A store on three shelves, beside the dicts that say what it should hold.

RUNS = [trajectory(1, side=2), trajectory(2, "1.0/3.2", side=2), trajectory(3, "2.1", side=2)]
KEYS = [run.key for run in RUNS]
# The same by their keys, and by their numbers other ones.
THEIRS = [replace(run, latents=run.latents + 1) for run in RUNS]
PICTURES = Frames((b"theirs",), b"theirs")
NUMBERS = st.integers(0, len(RUNS) - 1)


def whole_rows(*shelves: Shelf) -> dict[tuple[str, str], bytes]:
    """What this version of diffgrid can read, by shelf and row."""
    found = {}
    for cache, shelf in zip(("runs", "saved", "imported"), shelves, strict=True):
        for row in shelf:
            with contextlib.suppress(StoreError):
                _opener(row)(row, value := shelf.look(row) or b"")
                found[cache, row] = value
    return found


def begun(number: int, steps: int) -> Trajectory:
    return trajectory(RUNS[number].spec.seed, ("trunk", "1.0/3.2", "2.1")[number], steps, side=2)


class StoreBesideDicts(RuleBasedStateMachine):
    """What is added and saved is found until it is removed, evicted or damaged, and nothing else.

    `stored`, `saved` and `imported` hold, by run, whether its arrays are whole there; `names` and
    `notes` what the saved are called.
    """

    shelves: Callable[[Path, int, int, int, bool], Shelves]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stored: dict[int, bool] = {}
        self.saved: dict[int, bool] = {}
        self.imported: dict[int, bool] = {}
        self.names: dict[int, tuple[str, str]] = {}
        self.partial: dict[int, int] = {}
        self.pictures: set[tuple[str, int]] = set()
        self.store = self.open()

    def open(self) -> TrajectoryStore:
        return TrajectoryStore(Path(self.folder.name), shelves=type(self).shelves)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def whole(self, number: int) -> bool:
        return self.saved.get(number, False) or self.stored.get(number, False)

    @rule(number=NUMBERS)
    def add(self, number: int) -> None:
        self.store.add(RUNS[number])
        self.partial.pop(number, None)
        home = self.saved if number in self.names else self.stored
        home[number] = True

    @rule(number=NUMBERS, steps=st.integers(0, 5))
    def put_partial(self, number: int, steps: int) -> None:
        self.store.put_partial(begun(number, steps))
        self.partial[number] = steps

    @rule(number=NUMBERS)
    def add_frames(self, number: int) -> None:
        self.store.add_frames(KEYS[number], "abc", {"of": number}, b"pictures")
        self.pictures.add(("saved" if number in self.names else "runs", number))

    @rule(number=NUMBERS, name=st.sampled_from(["one", "other"]), note=st.sampled_from([None, "!"]))
    def save(self, number: int, name: str, note: str | None) -> None:
        if not self.whole(number):
            with pytest.raises(BadInput):
                self.store.save(KEYS[number], name, note)
            return
        self.store.save(KEYS[number], name, note)
        self.saved[number] = True
        if ("runs", number) in self.pictures:
            self.pictures.add(("saved", number))
        self.names[number] = name, note or self.names.get(number, ("", ""))[1]

    @rule(numbers=st.lists(NUMBERS, min_size=1, unique=True))
    def import_(self, numbers: list[int]) -> None:
        runs = [SharedRun(THEIRS[number], PICTURES) for number in numbers]
        new = [number for number in numbers if not self.imported.get(number)]
        assert self.store.add_imported(runs, "9.9") == [KEYS[number] for number in new]
        self.imported |= dict.fromkeys(numbers, True)

    @rule(number=NUMBERS)
    def unsave(self, number: int) -> None:
        self.store.unsave(KEYS[number])
        if self.names.pop(number, None) is None:
            return
        if number in self.saved:
            self.stored[number] = self.saved.pop(number) or self.stored.get(number, False)
        if ("saved", number) in self.pictures:
            self.pictures -= {("saved", number)}
            self.pictures.add(("runs", number))

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        self.store.remove(KEYS[number])
        for held in (self.stored, self.saved, self.imported, self.names, self.partial):
            held.pop(number, None)
        self.pictures -= {("runs", number), ("saved", number)}

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.stored.clear()
        self.partial.clear()
        self.pictures = {held for held in self.pictures if held[0] == "saved"}

    @rule(number=NUMBERS, kind=st.sampled_from(["", "/meta", "/partial", "/frames/abc"]))
    def evict(self, number: int, kind: str) -> None:
        self.store._runs.delete(KEYS[number] + kind)
        match kind:
            case "":
                self.stored.pop(number, None)
            case "/partial":
                self.partial.pop(number, None)
            case "/frames/abc":
                self.pictures.discard(("runs", number))

    @rule(
        number=NUMBERS,
        shelf=st.sampled_from(["runs", "saved", "imported"]),
        place=st.integers(10, 300),
    )
    def damage(self, number: int, shelf: str, place: int) -> None:
        rows, held = {
            "runs": (self.store._runs, self.stored),
            "saved": (self.store._saved, self.saved),
            "imported": (self.store._imported, self.imported),
        }[shelf]
        if held.get(number):
            rows.set(KEYS[number], flipped(rows.get(KEYS[number]) or b"", place))
            held[number] = False

    @rule(number=NUMBERS)
    def damage_frames(self, number: int) -> None:
        if ("runs", number) in self.pictures:
            self.store._runs.set(f"{KEYS[number]}/frames/abc", b"no pictures")
            self.pictures.discard(("runs", number))

    @rule()
    def verify(self) -> None:
        found = {(damage.cache, KEYS.index(damage.row[:64])) for damage in self.store.verify()}
        kept = {"saved": self.saved, "imported": self.imported}
        damaged = {(c, number) for c, held in kept.items() for number in held if not held[number]}
        assert {damage for damage in found if damage[0] in kept} == damaged
        assert {found.cache for found in self.store.verify()} <= kept.keys()

    @rule(change=st.sampled_from(OTHER_VERSIONS), number=NUMBERS)
    def another_version_comes_and_goes(
        self, change: Callable[[pytest.MonkeyPatch], None], number: int
    ) -> None:
        """It reads all there is, and stores a run of its own where we have one."""
        shelves = self.store._runs, self.store._saved, self.store._imported
        rows = whole_rows(*shelves)
        with pytest.MonkeyPatch.context() as changed:
            change(changed)
            other = Runs(*shelves, saved_limit=10**9, imported_limit=10**9)
            for key in KEYS:
                assert other.get(key) is None or change is with_another_layout
                other.get_partial(key)
                other.get_frames(key, "abc")
                assert other.get_imported(key) is None or change is with_another_layout
            assert not rows.keys() & {(found.cache, found.row) for found in other.verify()}
            listed = other.runs()
            unreadable = {found.key: found.reason for found in other.unreadable(listed)}
            for mine in filter(self.whole, range(len(RUNS))):
                if KEYS[mine] not in {info.key for info in listed}:
                    assert unreadable[KEYS[mine]] == "made by another version of diffgrid"
            if change is with_another_layout and self.whole(number):
                other.add(RUNS[number])
                assert same(other.get(KEYS[number]), RUNS[number])
        assert rows.items() <= whole_rows(*shelves).items()

    @precondition(lambda self: self.shelves is shelves_on_disk)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()

    @invariant()
    def holds_what_the_dicts_hold(self) -> None:
        if not hasattr(self, "store"):
            return
        for number, run in enumerate(RUNS):
            found = self.store.get(run.key)
            assert same(found, run) if self.whole(number) else found is None
            assert self.store.has(run.key) == self.whole(number)
            checkpoint, steps = self.store.get_partial(run.key), self.partial.get(number)
            assert (checkpoint and checkpoint.steps) == steps
            assert self.store.is_saved(run.key) == (number in self.names)
            frames = self.store.get_frames(run.key, "abc")
            drawn = {("runs", number), ("saved", number)} & self.pictures
            assert (frames is not None) == bool(drawn)
            assert frames is None or (frames[0], bytes(frames[1])) == ({"of": number}, b"pictures")
            imported = self.store.get_imported(run.key)
            whole = self.imported.get(number)
            assert same(imported, THEIRS[number]) if whole else imported is None
            pictures = stored_frames(self.store, run.key, imported=True)
            assert pictures == (PICTURES if number in self.imported else None)
        infos = {KEYS.index(info.key): info for info in self.store.runs()}
        came = {number for number, info in infos.items() if info.imported}
        assert came == set(self.imported)
        assert all(infos[number].computed for number in range(len(RUNS)) if self.whole(number))
        assert all(number in came for number, info in infos.items() if not info.computed)
        listed = {number: info.saved for number, info in infos.items()}
        names = {number: name for number, (name, _) in self.names.items()}
        assert {number: name for number, name in listed.items() if name} == names
        assert {number for number in range(len(RUNS)) if self.whole(number)} <= set(listed)
        assert self.store.warning is None


class InMemory(StoreBesideDicts):
    shelves = staticmethod(shelves_in_memory)


class OnDisk(StoreBesideDicts):
    shelves = staticmethod(shelves_on_disk)


TestStoreInMemory = InMemory.TestCase
TestStoreInMemory.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestStoreOnDisk = OnDisk.TestCase
TestStoreOnDisk.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
