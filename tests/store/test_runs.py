"""The store: what goes in comes out, what is damaged or planted does not, and failure is quiet."""

import contextlib
import errno
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from diffgrid.errors import BadInput, StoreError
from diffgrid.records.codec import seal
from diffgrid.records.trajectories import Trajectory, to_bytes
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store import disk
from diffgrid.store.disk import BytesDisk
from diffgrid.store.runs import SECONDS_OF_QUIET, TrajectoryStore

SPEC = RunSpec(
    model="monsters",
    digest="ab" * 32,
    prompt="a spotted green monster",
    negative_prompt="",
    guidance_scale=3.0,
    scheduler="DDIMScheduler",
    scheduler_config="{}",
    num_inference_steps=6,
    eta=1.0,
    seed=7,
    height=64,
    width=64,
)


def trajectory(seed: int = 7, path: str = "trunk", steps: int = 6, side: int = 32) -> Trajectory:
    """Numbers that only the seed decides. At side 32 it takes 213 kB, a file; at 4, a row."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((7, 4, side, side)).astype(np.float32)
    return Trajectory(
        spec=replace(SPEC, seed=seed),
        path=parse_path(path),
        latents=latents[: steps + 1],
        model_outputs=-latents[:steps],
        timesteps=np.linspace(999, 0, 6),
        alphas=np.linspace(0.1, 1, 7),
        sigmas=np.linspace(1, 0, 7),
        prediction_type="epsilon",
    )


def same(one: Trajectory | None, other: Trajectory | None) -> bool:
    return one is not None and other is not None and to_bytes(one) == to_bytes(other)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[TrajectoryStore]:
    opened = TrajectoryStore(tmp_path / "cache")
    yield opened
    opened.close()


def frames(opened: TrajectoryStore, key_: str) -> tuple[dict[str, Any], bytes] | None:
    found = opened.get_frames(key_, "abc")
    return found and (found[0], bytes(found[1]))


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


# What goes in comes out


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


def test_a_trajectory_is_written_once(opened: TrajectoryStore) -> None:
    first = trajectory()
    opened.add(first)
    opened.add(replace(first, latents=first.latents + 1))
    assert same(opened.get(first.key), first)


def test_the_store_has_what_was_finished_and_stored(opened: TrajectoryStore) -> None:
    made, begun = trajectory(), trajectory(seed=8, steps=3)
    opened.add(made)
    opened.put_partial(begun)
    assert opened.has(made.key)
    assert not opened.has(begun.key)
    opened.save(made.key, "kept")
    opened.clear()
    assert opened.has(made.key)
    opened.remove(made.key)
    assert not opened.has(made.key)


def test_a_checkpoint_is_replaced_and_goes_with_the_finished_run(opened: TrajectoryStore) -> None:
    done = trajectory()
    for steps in (0, 2, 4):
        opened.put_partial(trajectory(steps=steps))
        assert same(opened.get_partial(done.key), trajectory(steps=steps))
    assert opened.get(done.key) is None
    assert opened.runs() == []
    opened.add(done)
    assert opened.get_partial(done.key) is None


def test_an_unfinished_trajectory_is_not_added(opened: TrajectoryStore) -> None:
    with pytest.raises(ValueError, match="5 of 6 steps"):
        opened.add(trajectory(steps=5))


@pytest.mark.parametrize("size", [10, 100_000])
def test_frames_come_back_by_their_decoder(opened: TrajectoryStore, size: int) -> None:
    run, pictures = trajectory(), os.urandom(size)
    opened.add(run)
    opened.add_frames(run.key, "abc123", {"lengths": [size]}, pictures)
    header, payload = opened.get_frames(run.key, "abc123") or ({}, b"")
    assert header == {"lengths": [size]}
    assert payload == pictures
    assert opened.get_frames(run.key, "other") is None
    with pytest.raises(ValueError, match="digest"):
        opened.get_frames(run.key, "../meta")


def test_runs_are_listed_newest_first(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, path in ((1, "trunk"), (2, "3.1")):
        monkeypatch.setattr(time, "time", lambda seed=seed: 1000.0 + seed)
        opened.add(trajectory(seed, path))
    opened.add_frames(key(replace(SPEC, seed=1), ()), "abc", {}, b"picture")
    newest, oldest = opened.runs()
    assert newest.spec == replace(SPEC, seed=2)
    assert newest.path == parse_path("3.1")
    assert newest.key == key(newest.spec, newest.path)
    assert newest.created == 1002.0
    assert newest.size == 4 * 13 * 4 * 32 * 32
    assert newest.saved is None
    assert (newest.has_frames, oldest.has_frames) == (False, True)


def test_a_prefix_finds_its_run(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    assert opened.find(run.key[:8]) == run.key
    opened.save(run.key, "both copies count as one")
    assert opened.find(run.key) == run.key
    for prefix in ("", "zzzz", "../..", "0" * 64, f"{run.key}/meta"):
        with pytest.raises(BadInput, match="no stored run has the key"):
            opened.find(prefix)


def test_an_ambiguous_prefix_is_refused(opened: TrajectoryStore) -> None:
    keys: dict[str, list[str]] = {}
    for seed in range(17):  # of 17 keys, two begin with the same of 16 digits
        run = trajectory(seed, side=4)
        opened.add(run)
        keys.setdefault(run.key[0], []).append(run.key)
    shared = next(digit for digit, found in keys.items() if len(found) > 1)
    with pytest.raises(BadInput, match="several stored runs .* give more of its digits"):
        opened.find(shared)


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


# Saved runs


def test_a_saved_run_outlives_the_cache(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.add_frames(run.key, "abc", {"n": 1}, b"picture")
    (before,) = opened.runs()
    opened.save(run.key, " the green one ")
    opened.clear()
    assert same(opened.get(run.key), run)
    assert frames(opened, run.key) == ({"n": 1}, b"picture")
    (info,) = opened.runs()
    assert info == replace(before, saved="the green one")
    opened.save(run.key, "renamed")
    assert opened.runs() == [replace(info, saved="renamed")]


def test_a_saved_run_has_a_note_until_another_takes_its_place(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    notes = []
    for note in (" eyes decided late\n", None, ""):
        opened.save(run.key, "mine", note)
        notes += [info.note for info in opened.runs()]
    assert notes == ["eyes decided late", "eyes decided late", ""]
    with pytest.raises(BadInput, match="2,001 characters is too long: use at most 2,000"):
        opened.save(run.key, "mine", "x" * 2001)


def test_a_run_saved_before_there_were_notes_has_an_empty_one(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    header = {"specification": run.spec.to_dict(), "path": "trunk", "created": 1.0, "size": 9}
    opened._runs.set(f"{run.key}/meta", seal("meta", {**header, "saved": None}))
    assert [info.note for info in opened.runs()] == [""]


def test_a_run_that_is_saved_no_longer_is_an_ordinary_one_again(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.add_frames(run.key, "vae-1", {"x0": [1]}, b"x")
    opened.save(run.key, "for now")
    opened.clear()
    assert opened.is_saved(run.key)
    opened.unsave(run.key)
    assert not opened.is_saved(run.key)
    assert same(opened.get(run.key), run)
    header, payload = opened.get_frames(run.key, "vae-1") or ({}, b"")
    assert (header, bytes(payload)) == ({"x0": [1]}, b"x")
    assert [info.saved for info in opened.runs()] == [None]
    opened.clear()
    assert opened.get(run.key) is None
    opened.unsave(run.key)  # of what is not there: nothing happens


def test_frames_drawn_after_saving_are_saved_too(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.add_frames(run.key, "abc", {}, b"picture")
    opened.clear()
    assert frames(opened, run.key) == ({}, b"picture")


def test_only_stored_runs_can_be_saved_and_only_with_a_name(opened: TrajectoryStore) -> None:
    with pytest.raises(BadInput, match="no stored run has the key"):
        opened.save("0" * 64, "mine")
    opened.add(trajectory())
    for name in ("", "  ", "x" * 201):
        with pytest.raises(BadInput, match="use 1 to 200 characters"):
            opened.save(trajectory().key, name)


def test_saving_stops_at_its_quota(tmp_path: Path) -> None:
    opened = TrajectoryStore(tmp_path, saved_limit=600_000)
    for seed in (1, 2):
        opened.add(trajectory(seed))
        opened.save(trajectory(seed).key, "mine")
    opened.add(trajectory(3))
    with pytest.raises(StoreError, match="more than 600,000 bytes: remove one first"):
        opened.save(trajectory(3).key, "mine")
    opened.remove(trajectory(1).key)
    opened.save(trajectory(3).key, "mine")
    opened.clear()
    assert {info.spec.seed for info in opened.runs()} == {2, 3}
    opened.close()


def test_a_saved_run_that_was_damaged_is_saved_again_when_computed(opened: TrajectoryStore) -> None:
    run = trajectory()
    opened.add(run)
    opened.save(run.key, "mine")
    opened.clear()
    value_file(opened, run.key, "saved").write_bytes(b"")
    assert opened.get(run.key) is None
    opened.add(run)
    (info,) = opened.runs()
    assert info.saved == "mine"


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


def test_a_run_whose_description_was_evicted_is_listed_again(opened: TrajectoryStore) -> None:
    run = trajectory(path="2.0")
    opened.add(run)
    rewrite(opened, "DELETE FROM Cache WHERE key = ?", f"{run.key}/meta")
    (info,) = opened.runs()
    assert (info.key, info.path) == (run.key, run.path)


# Damage


@pytest.mark.parametrize("harm", ["truncated", "flipped", "swapped", "missing", "emptied"])
def test_a_damaged_run_is_a_miss_and_can_be_stored_again(
    opened: TrajectoryStore, harm: str
) -> None:
    run = trajectory()
    opened.add(run)
    file = value_file(opened, run.key)
    value = bytearray(file.read_bytes())
    match harm:
        case "truncated":
            file.write_bytes(value[:-1])
        case "flipped":
            value[len(value) // 2] ^= 1
            file.write_bytes(value)
        case "swapped":
            file.write_bytes(to_bytes(trajectory(8)))
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


def test_verify_says_what_is_wrong_where(opened: TrajectoryStore) -> None:
    run = trajectory(side=4)
    opened.add(run)
    opened.add_frames(run.key, "abc", {}, b"picture")
    opened.put_partial(trajectory(8, steps=2, side=4))
    opened.save(run.key, "mine")
    assert opened.verify() == []
    change = "UPDATE Cache SET value = ? WHERE key = ?"
    rewrite(opened, change, seal("frames", {}, b"picture"), run.key)
    rewrite(opened, change, seal("meta", {}), f"{run.key}/meta")
    rewrite(opened, change, to_bytes(run), f"{trajectory(8).key}/partial")
    rewrite(opened, change, b"picture", f"{run.key}/frames/abc", cache="saved")
    found = {(damage.cache, damage.row): damage.reason for damage in opened.verify()}
    assert found == {
        ("runs", run.key): "the value is not a diffgrid trajectory: look for another file.",
        ("runs", f"{run.key}/meta"): "the description belongs to another trajectory.",
        (
            "runs",
            f"{trajectory(8).key}/partial",
        ): "the trajectory is stored under another one's key.",
        (
            "saved",
            f"{run.key}/frames/abc",
        ): "these 7 bytes were not written by diffgrid: look for another file.",
    }
    assert opened.verify() == []
    assert same(opened.get(run.key), run)  # the saved copy


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
    assert {damage.row for damage in opened.verify()} == {run.key, f"{run.key}/meta"}
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
        with pytest.raises(BadInput, match="no bytes of ours"):
            bytes_disk.fetch(mode, None, pickle.dumps(5), read=False)


# The directory


def test_only_its_owner_can_enter(opened: TrajectoryStore) -> None:
    folders = [opened.directory, *(opened.directory / name for name in ("runs", "saved", "open"))]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o700"] * 4


def test_an_open_folder_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o755)
    TrajectoryStore(tmp_path).close()
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


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


def test_commands_say_that_the_cache_failed(
    opened: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.add(trajectory())
    monkeypatch.setattr(BytesDisk, "store", no_space)
    with pytest.raises(StoreError, match="No space left on device"):
        opened.save(trajectory().key, "mine")
    monkeypatch.setattr(BytesDisk, "get", no_space)
    with pytest.raises(StoreError, match="No space left on device"):
        opened.runs()


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


# Others at the same time


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
import importlib.util, sys
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
opened = shared.TrajectoryStore(shared.Path(sys.argv[2]))
for seed in range(int(sys.argv[3]), int(sys.argv[3]) + 20):
    run = shared.trajectory(seed)
    opened.put_partial(shared.trajectory(seed, steps=3))
    opened.add(run)
    assert shared.same(opened.get(run.key), run), seed
assert opened.warning is None, opened.warning
"""


def test_two_processes_share_a_directory(opened: TrajectoryStore) -> None:
    arguments = [sys.executable, "-c", WRITER, __file__, str(opened.directory)]
    writers = [
        subprocess.Popen([*arguments, first], cwd=Path(__file__).parents[2])
        for first in ("0", "10")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert {info.spec.seed for info in opened.runs()} == set(range(30))
    assert opened.verify() == []
    assert len(list((opened.directory / "open").iterdir())) == 1  # the others left


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


def test_a_home_that_nobody_has_is_one_plain_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(StoreError, match="cannot be found"):
        TrajectoryStore.default()
