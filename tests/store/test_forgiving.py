"""A failing disk: sampling goes on with one warning, and whoever asks for the rest is told."""

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

from diffgrid.errors import StoreError
from diffgrid.records.trajectories import to_bytes
from diffgrid.store import disk
from diffgrid.store.bundled import Bundled
from diffgrid.store.disk import BytesDisk
from diffgrid.store.forgiving import SECONDS_OF_QUIET, TrajectoryStore
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.shelf import Shelves
from tests.store.made import flipped, same, store_in_memory, trajectory


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[TrajectoryStore]:
    opened = TrajectoryStore(tmp_path / "cache")
    yield opened
    opened.close()


# The directory


def test_the_default_directory_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", str(tmp_path / "named"))
    named = TrajectoryStore.default()
    assert named.directory == tmp_path / "named"
    named.close()
    monkeypatch.delenv("DIFFGRID_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    default = TrajectoryStore.default()
    assert default.directory == tmp_path / "diffgrid"
    default.close()


def test_a_home_that_nobody_has_is_one_plain_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(StoreError, match="cannot be found"):
        TrajectoryStore.default()


def test_without_a_directory_people_are_told_and_sampling_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    opened = TrajectoryStore(tmp_path / "file" / "cache")
    with pytest.raises(StoreError, match="file/cache cannot be used .* DIFFGRID_CACHE") as refusal:
        opened.runs()
    assert "\n" not in str(refusal.value)
    assert "file/cache failed (" in str(opened.warning)
    opened.add(trajectory())
    assert same(opened.get(trajectory().key), trajectory())  # in memory


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to write anywhere, where the tests have it."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("used_before", [True, False])
def test_a_read_only_directory_is_one_clear_line(used_before: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies where root alone can enter
        directory = Path(name)
        if used_before:
            TrajectoryStore(directory).close()
            (directory / "runs" / "cache.db").chmod(0o444)
        directory.chmod(0o555)
        with unprivileged(), pytest.raises(StoreError, match="cannot be used .* make it writable"):
            TrajectoryStore(directory).runs()
        directory.chmod(0o755)


def no_database(shelf: Path) -> None:
    (shelf / "cache.db").write_bytes(b"not a database" * 1000)


def malformed(shelf: Path) -> None:
    with (shelf / "cache.db").open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * 8192)


def a_folder(shelf: Path) -> None:
    (shelf / "cache.db").unlink()
    (shelf / "cache.db").mkdir()


def other_tables(shelf: Path) -> None:
    with contextlib.closing(sqlite3.connect(shelf / "cache.db")) as connection:
        connection.execute("ALTER TABLE Cache RENAME COLUMN value TO worth")


def a_file(shelf: Path) -> None:
    shutil.rmtree(shelf)
    shelf.touch()


BREAKS = [no_database, malformed, a_folder, other_tables, a_file]


@pytest.mark.parametrize("harm", BREAKS)
def test_a_broken_cache_is_set_aside_and_what_is_saved_stays(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    opened = TrajectoryStore(tmp_path)
    for seed in range(30):
        opened.add(trajectory(seed, side=4))
    opened.save(trajectory(1, side=4).key, "mine")
    opened.close()
    harm(tmp_path / "runs")
    again = TrajectoryStore(tmp_path)
    assert [info.saved for info in again.runs()] == ["mine"]
    (aside,) = tmp_path.glob("runs-aside-*")
    assert "was found broken: runs (" in str(again.warning)
    assert aside.name in str(again.warning)
    again.add(trajectory(2, side=4))
    assert len(again.runs()) == 2
    again.close()


def test_a_cache_that_breaks_while_it_is_open_is_set_aside(tmp_path: Path) -> None:
    opened = TrajectoryStore(tmp_path)
    for seed in range(30):
        opened.add(trajectory(seed, side=4))
    opened._hang_up()  # what it wrote is in the file now
    malformed(tmp_path / "runs")
    for seed in range(30):
        assert opened.get(trajectory(seed, side=4).key) is None
    opened.add(trajectory(side=4))
    assert same(opened.get(trajectory(side=4).key), trajectory(side=4))
    assert "is set aside as runs-aside-" in str(opened.warning)
    opened.close()


@pytest.mark.parametrize("setting", ["disk_evil", "sqlite_evil", "get", "_sql", "size"])
def test_a_planted_setting_is_not_heeded(opened: TrajectoryStore, setting: str) -> None:
    opened.add(trajectory())
    connection = sqlite3.connect(opened.directory / "runs" / "cache.db")
    with connection:
        connection.execute("INSERT OR REPLACE INTO Settings VALUES (?, 'evil')", (setting,))
    connection.close()
    again = TrajectoryStore(opened.directory)
    assert same(again.get(trajectory().key), trajectory())
    again.add(trajectory(8))
    assert again.size() > 400_000
    assert again.warning is None
    again.close()


# Failure


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_makes_the_store_quiet(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = trajectory(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    opened.add(run)
    with monkeypatch.context() as full:
        full.setattr(BytesDisk, "store", no_space)
        opened.add(trajectory(8))
        assert "No space left on device" in str(opened.warning)
        assert "\n" not in str(opened.warning)
        opened.put_partial(trajectory(9, steps=3))
        opened.add_frames(run.key, "abc", {}, b"picture")
    for _ in range(2):
        assert same(opened.get(run.key), run)
        assert same(opened.get(trajectory(8).key), trajectory(8))
        assert same(opened.get_partial(trajectory(9).key), trajectory(9, steps=3))
        assert opened.get_frames(run.key, "abc")
        assert opened.get(trajectory(10).key) is None
        clock[0] += SECONDS_OF_QUIET + 1  # then all of it goes to the disk
    assert opened.warning is None
    assert list(opened._memory) == []
    assert len(opened.runs()) == 2
    assert opened.verify() == []


def test_what_does_not_fit_on_the_disk_is_not_begun(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, small, clock = trajectory(), trajectory(8, side=4), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    opened.add(small)
    usage = shutil.disk_usage(opened.directory)
    with monkeypatch.context() as full:
        free = disk._LEFT_FREE + 100_000  # the run takes 213 kB
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
        opened.add(run)
        assert "No space left on device" in str(opened.warning)
        assert not list(opened.directory.rglob("*.val"))
        assert same(opened.get(run.key), run)  # in memory
        with pytest.raises(StoreError, match="No space left on device.*: free disk space"):
            opened.save(run.key, "mine")
    opened.save(run.key, "mine")
    clock[0] += SECONDS_OF_QUIET + 1
    assert same(opened.get(run.key), run)
    assert opened.warning is None
    assert len(opened.runs()) == 2


def test_a_disk_that_stays_full_costs_one_try_in_a_while(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, clock = [], [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def full(*_: object, **__: object) -> None:
        tries.append(1)
        no_space()

    monkeypatch.setattr(BytesDisk, "store", full)
    for seed in range(20):
        opened.add(trajectory(seed, side=4))
    assert len(tries) == 2  # on shelves that were open, and on new ones
    clock[0] += SECONDS_OF_QUIET + 1
    for seed in range(20):
        opened.add(trajectory(seed, side=4))
        assert same(opened.get(trajectory(seed, side=4).key), trajectory(seed, side=4))
    assert len(tries) == 4


def test_commands_say_that_the_cache_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = store_in_memory()
    opened.add(trajectory())
    asked: dict[str, Callable[[], object]] = {
        "set": lambda: opened.save(trajectory().key, "mine"),
        "stamps": opened.runs,
        "clear": opened.clear,
        "get": opened.verify,
    }
    for method, ask in asked.items():
        with monkeypatch.context() as failing:
            failing.setattr(MemoryShelf, method, no_space)
            with pytest.raises(StoreError, match="memory cannot be used .*No space left on device"):
                ask()
    assert opened.warning is None


def test_a_run_that_two_other_versions_wrote_is_a_warning() -> None:
    opened, run = store_in_memory(), trajectory()
    later = flipped(to_bytes(run), 9)  # another layout
    opened._runs.set(run.key, later)
    opened._runs.set(f"{run.key}/v1", later)
    assert opened.get(run.key) is None
    assert opened.warning is None
    opened.add(run)
    assert "runs of other versions of diffgrid, so some results are not kept" in str(opened.warning)
    assert opened._runs.get(run.key) == later
    opened.add(trajectory(8))  # and the rest goes on
    assert same(opened.get(trajectory(8).key), trajectory(8))


class Failing(MemoryShelf):
    pass


def test_what_is_bundled_is_found_without_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = Bundled()
    key = next(iter(bundled.keys))
    for method in ("get", "look", "__contains__"):
        monkeypatch.setattr(Failing, method, no_space, raising=False)
    failing = Shelves(Failing(0), Failing(0), Failing(0), leave=bool)
    opened = TrajectoryStore(Path("memory"), bundled=bundled, shelves=lambda *_: failing)
    for _ in range(2):  # when it fails, and while it is left alone
        assert same(opened.get(key), bundled.get(key))
        assert opened.get_frames(key, bundled.decoder)
        assert opened.has(key)
        assert not opened.has(trajectory().key)
    assert "No space left on device" in str(opened.warning)


def test_a_locked_database_is_not_waited_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_SECONDS_TO_WAIT", 0.01)
    opened = TrajectoryStore(tmp_path)
    holder = sqlite3.connect(tmp_path / "runs" / "cache.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    opened.add(trajectory())
    assert "locked by another process" in str(opened.warning)
    assert "end the process that holds it" in str(opened.warning)
    assert same(opened.get(trajectory().key), trajectory())
    assert opened.runs() == []  # reading needs no lock
    with pytest.raises(StoreError, match="locked by another process"):
        opened.clear()
    holder.execute("ROLLBACK")
    holder.close()
    monkeypatch.setattr(opened, "_unwritten_until", 0.0)
    assert same(opened.get(trajectory().key), trajectory())
    assert len(opened.runs()) == 1
    assert opened.warning is None
    opened.close()


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_store_opens_while_another_process_has_it_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    TrajectoryStore(tmp_path).close()
    monkeypatch.setattr(disk, "_SECONDS_TO_OPEN", 0.01)
    holder = sqlite3.connect(tmp_path / "runs" / "cache.db", isolation_level=None)
    holder.execute(f"BEGIN {mode}")
    opened = TrajectoryStore(tmp_path)
    with pytest.raises(StoreError, match="locked by another process"):
        opened.runs()
    opened.add(trajectory())
    assert same(opened.get(trajectory().key), trajectory())
    holder.execute("ROLLBACK")
    holder.close()
    monkeypatch.setattr(opened, "_unwritten_until", 0.0)
    assert opened.has(trajectory().key)
    assert len(opened.runs()) == 1
    assert not list(tmp_path.glob("*aside*"))
    opened.close()


def test_a_store_opens_while_another_process_sweeps_it_and_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TrajectoryStore(tmp_path).close()
    monkeypatch.setattr(disk, "_SECONDS_TO_OPEN", 0.01)
    sweeper = os.open(tmp_path / "open", os.O_RDONLY)
    fcntl.flock(sweeper, fcntl.LOCK_EX)
    opened = TrajectoryStore(tmp_path)
    with pytest.raises(StoreError, match="locked by another process"):
        opened.runs()
    opened.add(trajectory())
    os.close(sweeper)
    monkeypatch.setattr(opened, "_unwritten_until", 0.0)
    assert opened.has(trajectory().key)
    assert len(opened.runs()) == 1
    opened.close()


@contextlib.contextmanager
def waits_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was asked of SQLite in vain: each such call took as long as it may."""
    waits: list[str] = []

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            try:
                return super().execute(sql, *args)  # type: ignore[arg-type]
            except sqlite3.OperationalError as error:
                waits.extend([sql] * (str(error) == "database is locked"))
                raise

    connect = sqlite3.connect
    with monkeypatch.context() as counting:
        counting.setattr(sqlite3, "connect", functools.partial(connect, factory=Connection))
        counting.setattr(disk, "_SECONDS_TO_OPEN", 0.01)
        counting.setattr(disk, "_SECONDS_TO_WAIT", 0.01)
        yield waits


ASKED: dict[str, Callable[[TrajectoryStore], object]] = {
    "runs": TrajectoryStore.runs,
    "verify": TrajectoryStore.verify,
    "clear": TrajectoryStore.clear,
    "save": lambda store: store.save(trajectory().key, "mine"),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("held", [["runs"], ["saved"], ["runs", "saved"]], ids="+".join)
def test_whoever_meets_a_lock_waits_once_and_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: list[str],
    ask: Callable[[TrajectoryStore], object],
) -> None:
    with contextlib.ExitStack() as locks, waits_counted(monkeypatch) as waits:
        before = TrajectoryStore(tmp_path)
        before.add(trajectory())
        for name in held:
            database = tmp_path / name / "cache.db"
            holder = sqlite3.connect(database, isolation_level=None)
            locks.enter_context(contextlib.closing(holder)).execute("BEGIN IMMEDIATE")
        with contextlib.suppress(StoreError):  # reading needs no lock where it is open already
            ask(before)
        assert len(waits) <= 1
        waits.clear()
        opened = TrajectoryStore(tmp_path)
        with pytest.raises(StoreError, match="locked by another process"):
            ask(opened)
        for seed in range(5):  # and sampling goes on
            opened.put_partial(trajectory(seed, steps=2, side=4))
            opened.add(trajectory(seed, side=4))
            assert opened.has(trajectory(seed, side=4).key)
        assert waits == ["BEGIN IMMEDIATE"]
    before.close()
    opened.close()


def test_a_directory_that_vanishes_is_made_again(opened: TrajectoryStore) -> None:
    opened.add(trajectory())
    shutil.rmtree(opened.directory)
    assert opened.get(trajectory().key) is None
    opened.add(trajectory(8))
    again = TrajectoryStore(opened.directory)
    assert same(again.get(trajectory(8).key), trajectory(8))
    again.close()
    assert opened.warning is None
