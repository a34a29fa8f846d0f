"""Shelves on disk: what is planted there runs no code, and others may use it at the same time."""

import gc
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffgrid.errors import Damaged
from diffgrid.records.trajectories import to_bytes
from diffgrid.store.disk import BytesDisk, DiskShelf
from diffgrid.store.forgiving import TrajectoryStore
from tests.store.made import flipped, same, trajectory


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[TrajectoryStore]:
    opened = TrajectoryStore(tmp_path / "cache")
    yield opened
    opened.close()


def rewrite(opened: TrajectoryStore, statement: str, *values: object, cache: str = "runs") -> None:
    """Do to the database what diffgrid never would."""
    connection = sqlite3.connect(opened.directory / cache / "cache.db")
    with connection:
        changed = connection.execute(statement, values).rowcount
    connection.close()
    assert changed == 1


def value_file(opened: TrajectoryStore, row: str, cache: str = "runs") -> Path:
    connection = sqlite3.connect(opened.directory / cache / "cache.db")
    ((name,),) = connection.execute("SELECT filename FROM Cache WHERE key = ?", (row,)).fetchall()
    connection.close()
    return opened.directory / cache / str(name)


@pytest.mark.parametrize("side", [4, 32])
def test_a_trajectory_comes_back_in_another_store(opened: TrajectoryStore, side: int) -> None:
    written = trajectory(path="1.0/3.2", side=side)
    assert opened.get(written.key) is None
    opened.add(written)
    assert same(opened.get(written.key), written)
    other = TrajectoryStore(opened.directory)
    assert same(other.get(written.key), written)
    other.close()
    assert opened.warning is None


def test_a_thread_that_has_ended_leaves_no_file_open(opened: TrajectoryStore) -> None:
    def files() -> int:
        return len(os.listdir("/dev/fd"))

    def look() -> None:
        reading = threading.Thread(target=opened.get, args=("a key",))
        reading.start()
        reading.join()

    look()
    gc.disable()
    try:
        before = files()
        for _ in range(10):
            look()
        assert files() == before
    finally:
        gc.enable()


def test_a_removed_run_leaves_nothing(opened: TrajectoryStore) -> None:
    run, other = trajectory(1), trajectory(2)
    for each in (run, other):
        opened.add(each)
        opened.add_frames(each.key, "abc", {}, b"picture" * 10_000)
    opened.put_partial(trajectory(1, steps=3))
    opened.save(run.key, "mine")
    opened.remove(run.key)
    assert opened.get(run.key) is None
    assert opened.get_partial(run.key) is None
    assert opened.get_frames(run.key, "abc") is None
    assert [info.key for info in opened.runs()] == [other.key]
    assert len(list(opened.directory.rglob("*.val"))) == 2  # the other's arrays and frames


# Quota


def test_a_full_cache_keeps_the_newest_and_the_saved(tmp_path: Path) -> None:
    opened = TrajectoryStore(tmp_path, limit=4_000_000)
    opened.add(trajectory(0))
    opened.save(trajectory(0).key, "mine")
    for seed in range(1, 41):  # 8.5 MB
        opened.add(trajectory(seed))
        assert same(opened.get(trajectory(seed).key), trajectory(seed))
        opened.get(trajectory(1).key)  # in use, so not the oldest
    kept = {info.spec.seed for info in opened.runs()}
    assert {0, 1, *range(33, 41)} <= kept
    assert not kept & set(range(2, 20))
    assert opened._runs.volume() <= 4_400_000
    assert opened.verify() == []
    opened.close()


@pytest.mark.slow
def test_large_runs_after_many_small_ones_stay_within_the_quota(tmp_path: Path) -> None:
    opened = TrajectoryStore(tmp_path, limit=4_000_000)
    for seed in range(300):
        opened.add(trajectory(seed, side=4))
    for seed in range(1000, 1030):
        opened.put_partial(trajectory(seed, steps=3, side=64))
        opened.add(trajectory(seed, side=64))
        assert opened._runs.volume() <= 4_400_000 + 900_000
    assert same(opened.get(trajectory(1029).key), trajectory(1029, side=64))
    opened.close()


# Damaged files


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "emptied"])
def test_a_damaged_run_is_a_miss_and_can_be_stored_again(
    opened: TrajectoryStore, harm: str
) -> None:
    run = trajectory()
    opened.add(run)
    file = value_file(opened, run.key)
    value = file.read_bytes()
    match harm:
        case "truncated":
            file.write_bytes(value[:-1])
        case "flipped":
            file.write_bytes(flipped(value, len(value) // 2))
        case "emptied":
            file.write_bytes(b"")
        case "missing":
            file.unlink()
    other = TrajectoryStore(opened.directory)
    assert [(found.cache, found.row) for found in other.verify()] == [("runs", run.key)]
    assert other.verify() == []
    other.close()
    assert opened.get(run.key) is None
    assert opened.runs() == []
    opened.add(run)
    assert same(opened.get(run.key), run)
    assert opened.warning is None


def test_a_run_whose_file_is_gone_can_be_stored_again_at_once(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    value_file(opened, run.key).unlink()
    assert opened.get(run.key) is None
    opened.add(run)
    assert same(opened.get(run.key), run)


def test_a_saved_run_whose_file_is_gone_is_saved_again_when_computed(
    opened: TrajectoryStore,
) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.clear()
    value_file(opened, run.key, "saved").unlink()
    assert opened.get(run.key) is None
    assert [damage.reason for damage in opened.verify()] == ["the row's file is missing."]
    assert not opened.has(run.key)
    opened.add(run)
    (info,) = opened.runs()
    assert info.saved == "mine"
    assert same(opened.get(run.key), run)


def test_damage_found_by_reading_is_deleted_at_once(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.add_frames(run.key, "abc", {}, b"picture" * 10_000)
    opened.put_partial(trajectory(8, steps=3))
    rows = [run.key, f"{run.key}/frames/abc", f"{trajectory(8).key}/partial"]
    for row in rows:
        file = value_file(opened, row)
        file.write_bytes(file.read_bytes()[:-1])
    assert opened.get(run.key) is None
    assert opened.get_frames(run.key, "abc") is None
    assert opened.get_partial(trajectory(8).key) is None
    assert opened.verify() == []


# Planted rows


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_planted_pickle_is_not_loaded(opened: TrajectoryStore, tmp_path: Path) -> None:
    run, folder = trajectory(side=4), tmp_path / "exploded"
    opened.add(run)
    bomb = pickle.dumps(Bomb(folder))
    plant = "UPDATE Cache SET mode = 4, value = ? WHERE key = ?"
    rewrite(opened, plant, bomb, run.key)
    rewrite(opened, plant, bomb, f"{run.key}/meta")
    assert opened.get(run.key) is None
    assert opened.runs() == []
    opened.add(run)
    rewrite(opened, plant, bomb, run.key)
    assert {damage.row for damage in opened.verify()} == {run.key}
    opened.add(run)
    # A pickled key, which diskcache would load when it lists keys.
    rewrite(opened, "UPDATE Cache SET key = ?, raw = 0 WHERE key = ?", bomb, f"{run.key}/meta")
    assert [info.key for info in opened.runs()] == [run.key]
    (damage,) = opened.verify()
    assert damage.reason == "the row is not one of diffgrid's."
    assert opened.verify() == []
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../../secret", "{absolute}", "ab/cd/../../../../secret", "link"])
def test_a_planted_file_name_is_neither_read_nor_removed(
    opened: TrajectoryStore, tmp_path: Path, name: str
) -> None:
    run = trajectory()
    secret = tmp_path / "secret"
    secret.write_bytes(to_bytes(run))  # even one that would be believed
    opened.add(run)
    if name == "link":  # a good name, by way of a planted folder
        outside = tmp_path / "outside" / "cd"
        outside.mkdir(parents=True)
        secret = secret.rename(outside / ("0" * 28 + ".val"))
        (opened.directory / "runs" / "zz").symlink_to(tmp_path / "outside")
        (opened.directory / "runs" / "ab").unlink(missing_ok=True)
        (opened.directory / "runs" / "zz").rename(opened.directory / "runs" / "ab")
        name = "ab/cd/" + "0" * 28 + ".val"
    name = name.format(absolute=secret)
    rewrite(opened, "UPDATE Cache SET filename = ? WHERE key = ?", name, run.key)
    assert opened.get(run.key) is None
    assert opened.verify() == []  # deleted by reading it
    opened.add(run)
    rewrite(opened, "UPDATE Cache SET filename = ? WHERE key = ?", name, run.key)
    assert [damage.row for damage in opened.verify()] == [run.key]
    opened.add(run)
    rewrite(opened, "UPDATE Cache SET filename = ? WHERE key = ?", name, run.key)
    opened.clear()
    assert secret.exists()


def test_the_disk_takes_strings_and_bytes_only(tmp_path: Path) -> None:
    bytes_disk: Any = BytesDisk(str(tmp_path))
    for key_ in (b"key", 5, ("a", "b"), None):
        with pytest.raises(TypeError, match="keys are str"):
            bytes_disk.put(key_)
    for value in ("text", 5, None, bytearray(b"bytes"), [b"bytes"]):
        with pytest.raises(TypeError, match="values are bytes"):
            bytes_disk.store(value, read=False)
    for mode in (2, 3, 4):
        with pytest.raises(Damaged, match="no bytes of ours"):
            bytes_disk.fetch(mode, None, pickle.dumps(5), read=False)


# The directory


_FOLDERS = ("runs", "saved", "imported", "open")


def test_only_its_owner_can_enter(opened: TrajectoryStore) -> None:
    folders = [opened.directory, *(opened.directory / name for name in _FOLDERS)]
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}


def test_an_open_folder_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o755)
    TrajectoryStore(tmp_path).close()
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


# Others at the same time


def test_a_shelf_goes_before_its_threads_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    shelf, read, gone = DiskShelf(tmp_path, 10**6, evict=True), threading.Event(), threading.Event()

    def look(of: list[DiskShelf]) -> None:
        of.pop().look("a row")
        read.set()
        gone.wait(30)

    thread = threading.Thread(target=look, args=([shelf],))
    thread.start()
    read.wait(30)
    del shelf
    gc.collect()
    gone.set()
    thread.join()
    assert told == []


def test_threads_share_a_store(opened: TrajectoryStore) -> None:
    wrong = []

    def work(first: int) -> None:
        for seed in (*range(first, first + 10), *range(10)):
            run = trajectory(seed, side=16)
            opened.put_partial(trajectory(seed, steps=3, side=16))
            opened.add(run)
            if not same(opened.get(run.key), run):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert opened.warning is None
    assert len(opened.runs()) == 20


WRITER = """
import sys
from pathlib import Path
from diffgrid.store.forgiving import TrajectoryStore
from tests.store.made import same, trajectory
opened = TrajectoryStore(Path(sys.argv[1]))
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    run = trajectory(seed)
    opened.put_partial(trajectory(seed, steps=3))
    opened.add(run)
    assert same(opened.get(run.key), run), seed
assert opened.warning is None, opened.warning
"""


@pytest.mark.slow
def test_two_processes_share_a_directory(opened: TrajectoryStore) -> None:
    arguments = [sys.executable, "-c", WRITER, str(opened.directory)]
    writers = [
        subprocess.Popen([*arguments, first], cwd=Path(__file__).parents[2])
        for first in ("0", "10")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert {info.spec.seed for info in opened.runs()} == set(range(30))
    assert opened.verify() == []
    assert len(list((opened.directory / "open").iterdir())) == 1  # the others left


def test_listing_waits_for_no_writer_and_no_writer_for_it(opened: TrajectoryStore) -> None:
    for seed in range(3):
        opened.add(trajectory(seed, side=4))
    writer = sqlite3.connect(opened.directory / "runs" / "cache.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert len(opened.runs()) == 3
    assert opened.unreadable([]) == []
    writer.execute("ROLLBACK")
    writer.close()


def orphan(opened: TrajectoryStore) -> Path:
    file = opened.directory / "runs" / "ab" / "cd" / ("0" * 28 + ".val")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"half a traj")
    return file


def test_nothing_is_swept_up_while_somebody_may_be_writing(opened: TrajectoryStore) -> None:
    in_flight = orphan(opened)
    (opened.directory / "open" / "killed").touch()
    TrajectoryStore(opened.directory).close()
    assert in_flight.exists()


def test_the_first_one_in_sweeps_up_after_a_kill(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    left = orphan(opened)
    opened.close()
    TrajectoryStore(opened.directory).close()
    assert left.exists()  # nobody was killed: no time is spent on looking
    (opened.directory / "open" / "killed").touch()
    again = TrajectoryStore(opened.directory)
    assert not left.exists()
    assert same(again.get(run.key), run)
    again.close()


def test_sweeping_up_leaves_a_saved_run_whose_file_is_gone(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    value_file(opened, run.key, "saved").unlink()
    opened.close()
    (opened.directory / "open" / "killed").touch()
    again = TrajectoryStore(opened.directory)
    assert [info.saved for info in again.runs()] == ["mine"]
    assert [(found.cache, found.row) for found in again.verify()] == [("saved", run.key)]
    again.close()


def test_a_list_reads_again_only_what_was_written_since(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [trajectory(seed, side=4) for seed in range(4)]
    for run in runs:
        opened.add(run)
    look, read = DiskShelf.look, list[str]()

    def noted(self: DiskShelf, row: str) -> bytes | None:
        read.append(row)
        return look(self, row)

    def listed() -> dict[int, tuple[str | None, bool]]:
        read.clear()
        return {info.spec.seed: (info.saved, info.has_frames) for info in opened.runs()}

    monkeypatch.setattr(DiskShelf, "look", noted)
    plain = (None, False)
    assert listed() == {0: plain, 1: plain, 2: plain, 3: plain}
    assert len(read) == 4
    assert len(listed()) == 4
    assert read == []

    other = TrajectoryStore(opened.directory)  # another process's
    other.save(runs[0].key, "mine")
    other.add_frames(runs[1].key, "abc", {}, b"pictures")
    other.remove(runs[2].key)
    other.add(trajectory(9, side=4))
    assert listed() == {0: ("mine", False), 1: (None, True), 3: plain, 9: plain}
    assert {row for row in read if row.startswith(runs[3].key)} == set()
    other.save(runs[0].key, "yours")
    assert listed()[0] == ("yours", False)
    other.unsave(runs[0].key)
    assert listed() == {0: plain, 1: (None, True), 3: plain, 9: plain}
    other.close()
