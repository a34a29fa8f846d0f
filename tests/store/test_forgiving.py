"""A failing disk: sampling goes on with one warning, and whoever asks for the rest is told."""

import contextlib
import errno
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
from tests.store.made import MemoryShelf, flipped, same, store_in_memory, trajectory


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


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/cache cannot be used .* DIFFGRID_CACHE") as refusal:
        TrajectoryStore(tmp_path / "file" / "cache")
    assert "\n" not in str(refusal.value)


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
            TrajectoryStore(directory)
        directory.chmod(0o755)


def test_a_database_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "cache.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        TrajectoryStore(tmp_path)


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
        assert opened.get(run.key) is None  # it is left alone
        opened.put_partial(trajectory(8, steps=3))
        opened.add_frames(run.key, "abc", {}, b"picture")
    clock[0] += SECONDS_OF_QUIET + 1
    assert same(opened.get(run.key), run)
    opened.add(trajectory(8))
    assert same(opened.get(trajectory(8).key), trajectory(8))
    assert opened.verify() == []


def test_commands_say_that_the_cache_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = store_in_memory()
    opened.add(trajectory())
    asked: dict[str, Callable[[], object]] = {
        "set": lambda: opened.save(trajectory().key, "mine"),
        "__iter__": opened.runs,
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
    assert "runs of another version of diffgrid, so some results are not kept" in str(
        opened.warning
    )
    assert opened._runs.get(run.key) == later
    opened.add(trajectory(8))  # and the rest goes on
    assert same(opened.get(trajectory(8).key), trajectory(8))


def test_what_is_bundled_is_found_without_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = Bundled()
    key = next(iter(bundled.keys))
    opened = store_in_memory(bundled=bundled)
    monkeypatch.setattr(MemoryShelf, "get", no_space)
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
    assert opened.get(trajectory().key) is None
    holder.execute("ROLLBACK")
    holder.close()
    monkeypatch.setattr(opened, "_quiet_until", 0.0)
    opened.add(trajectory())
    assert same(opened.get(trajectory().key), trajectory())
    opened.close()


def test_a_directory_that_vanishes_makes_the_store_quiet(opened: TrajectoryStore) -> None:
    opened.add(trajectory())
    opened.close()
    shutil.rmtree(opened.directory)
    assert opened.get(trajectory().key) is None
    assert opened.warning
