"""What a failing disk, a kill and damage may do to the store: nothing that was kept is lost.

`python -m tests.store.faults` goes through much of it and prints what it tried (an argument says
how many calls to leave out between two faults); test_faults.py goes through a part.
"""

import contextlib
import errno
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diskcache.core
import numpy as np

from diffgrid.engine import sample
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import StoreError
from diffgrid.records.frames import FRAMES, Frames
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.run import key
from diffgrid.store import disk, forgiving
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.runs import Runs
from tests.engine.running import grid, make, specification
from tests.store.made import same, store_in_memory, trajectory

ROOT = Path(__file__).parents[2]
# Seeds: what was saved and imported before, what is sampled meanwhile, and imported.
SAVED, IMPORTED, MADE, COMING = 1, 3, 2, (4, 5)
PICTURE = b"picture" * 10_000  # a file of its own


def run(seed: int, steps: int = 6) -> Trajectory:
    """480 kB."""
    return trajectory(seed, steps=steps, side=48)


def shared(seed: int) -> SharedRun:
    return SharedRun(run(seed), Frames((PICTURE,), PICTURE))


# The n-th call fails


def no_space() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def broken_disk() -> Exception:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def locked() -> Exception:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


def corrupt() -> Exception:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


IN_SQL = {"I/O error": broken_disk, "locked": locked, "malformed": corrupt}


@dataclass
class Faults:
    """Counts what is asked of the disk; the n-th fails, and with `lasting` all that follow."""

    fails: int = 0  # counted from 1; 0 is none
    lasting: bool = False
    in_sql: Callable[[], Exception] = broken_disk
    calls: int = 0
    kinds: set[str] = field(default_factory=set)

    def step(self, kind: str, error: Callable[[], Exception] = no_space) -> None:
        self.calls += 1
        self.kinds.add(kind)
        if self.fails and (self.calls == self.fails or (self.lasting and self.calls > self.fails)):
            raise error()

    @contextlib.contextmanager
    def injected(self, directory: Path) -> Iterator[None]:
        """While this holds, whatever is done in the directory is counted."""
        faults = self

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                faults.step("execute", faults.in_sql)
                return super().execute(*args)

        connect = sqlite3.connect

        def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            faults.step("connect", faults.in_sql)
            return connect(*args, factory=Connection, **kwargs)

        def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(path: Any, *args: Any, **kwargs: Any) -> Any:
                if isinstance(path, str | os.PathLike) and str(directory) in str(path):
                    faults.step(kind)
                return call(path, *args, **kwargs)

            return counting

        def opened(path: str, mode: str, **kwargs: Any) -> Any:
            faults.step("open")
            return Written(Path(path).open(mode, **kwargs), faults)

        names = ("open", "remove", "unlink", "makedirs", "mkdir", "rename", "chmod")
        with contextlib.ExitStack() as patches:
            patches.enter_context(patch.object(sqlite3, "connect", connected))
            patches.enter_context(patch.object(diskcache.core, "open", opened, create=True))
            for name in names:
                patches.enter_context(patch.object(os, name, counted(name, getattr(os, name))))
            yield


class Written:
    """A file of which half of what is written arrives, where writing fails."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def write(self, data: bytes) -> None:
        try:
            self.faults.step("write")
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        self.file.write(data)

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def prepared(directory: Path) -> None:
    """A cache with a saved run, and one that was imported."""
    store = TrajectoryStore(directory)
    store.add(run(SAVED))
    store.add_frames(run(SAVED).key, "abc", {}, PICTURE)
    store.save(run(SAVED).key, "mine")
    store.add_imported([shared(IMPORTED)], "0.2.0")
    store.close()


def use(directory: Path) -> bool:
    """What sampling and a person do, whatever fails: sampling goes on, the person is told.

    Whether the store said, at the end, that it fails.
    """
    store = TrajectoryStore(directory)
    made = run(MADE)
    for steps in (2, 4):
        store.put_partial(run(MADE, steps))
        checkpoint = store.get_partial(made.key)
        assert checkpoint is None or same(checkpoint, run(MADE, checkpoint.steps))
    store.add(made)
    store.add_frames(made.key, "abc", {}, PICTURE)
    found = store.get(run(SAVED).key)
    assert found is None or same(found, run(SAVED))
    found = store.get(made.key)
    assert found is None or same(found, made)
    with contextlib.suppress(StoreError):
        listed = store.runs()
        store.unreadable(listed)
    with contextlib.suppress(StoreError):
        store.save(run(SAVED).key, "mine")
    with contextlib.suppress(StoreError):
        store.save(made.key, "too")
    with contextlib.suppress(StoreError):
        store.add_imported([shared(seed) for seed in COMING], "0.2.0")
    with contextlib.suppress(StoreError):
        store.verify()
    store.close()
    return store.warning is not None


def check(directory: Path, saved: bool = True) -> None:
    """Every entry is whole or absent, what was kept is there, and no file is left over."""
    store = TrajectoryStore(directory)
    assert store.warning is None, store.warning
    assert store.verify() == []
    if saved:
        assert same(store.get(run(SAVED).key), run(SAVED))
        names = {info.spec.seed: info.saved for info in store.runs()}
        assert names[SAVED] == "mine"
        assert same(store.get_imported(run(IMPORTED).key), run(IMPORTED))
    assert store.get(run(IMPORTED).key) is None
    came = [store.get_imported(run(seed).key) for seed in COMING]
    assert came == [None, None] or all(map(same, came, map(run, COMING))), "half an import"
    assert orphans(store) == []
    store.add(run(MADE))
    assert same(store.get(run(MADE).key), run(MADE))
    store.close()


def orphans(store: TrajectoryStore) -> list[str]:
    """Files that no row names."""
    found = []
    for name in ("runs", "saved", "imported"):
        folder = store.directory / name
        with contextlib.closing(sqlite3.connect(folder / "cache.db")) as connection:
            rows = {row for (row,) in connection.execute("SELECT filename FROM Cache")}
        files = (str(file.relative_to(folder)) for file in folder.rglob("*.val"))
        found += [file for file in files if file not in rows]
    return found


def one_after_the_other(
    lasting: bool, in_sql: Callable[[], Exception], every: int = 1
) -> tuple[int, set[str]]:
    """The n-th call fails, for every so many n until none does: how many did, of which kinds."""
    with contextlib.ExitStack() as held:
        name = held.enter_context(tempfile.TemporaryDirectory())
        held.enter_context(patch.object(forgiving, "SECONDS_OF_QUIET", 0))
        held.enter_context(patch.object(disk, "_SECONDS_TO_OPEN", 0.01))
        prepared(Path(name) / "before")
        tried, fails, kinds = 0, 1, set[str]()
        while True:
            directory = Path(name) / "cache"
            shutil.copytree(Path(name) / "before", directory)
            faults = Faults(fails, lasting, in_sql)
            with faults.injected(directory):
                use(directory)
            kinds |= faults.kinds
            try:
                check(directory)
            except AssertionError as error:
                raise AssertionError(f"call {fails} of {faults.calls}: {error}") from error
            shutil.rmtree(directory)
            if fails > faults.calls:
                return tried, kinds
            tried, fails = tried + 1, fails + every


# A disk that is full


@contextlib.contextmanager
def files_of(size: int) -> Iterator[None]:
    """While this holds, the system refuses to let this process write past so many bytes of a file.

    Python ignores the signal that comes with it.
    """
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def full_disks(sizes: Iterable[int]) -> list[bool]:
    """No file may grow past so many bytes; whether people were told that the cache failed."""
    told = []
    with contextlib.ExitStack() as held:
        name = held.enter_context(tempfile.TemporaryDirectory())
        held.enter_context(patch.object(forgiving, "SECONDS_OF_QUIET", 0))
        prepared(Path(name) / "before")
        for size in sizes:
            directory = Path(name) / "cache"
            shutil.copytree(Path(name) / "before", directory)
            with files_of(size):
                told.append(use(directory))
            try:
                check(directory)
            except AssertionError as error:
                raise AssertionError(f"files of {size} bytes at most: {error}") from error
            shutil.rmtree(directory)
    return told


# Kills


def write_for_ever(directory: Path, seed: int) -> None:
    """Sampling as the store sees it, and a run in three is saved; says what is stored."""
    store = TrajectoryStore(directory)
    while True:
        for steps in (2, 4):
            store.put_partial(run(seed, steps))
        store.add(run(seed))
        print("made", seed, flush=True)
        store.add_frames(run(seed).key, "abc", {}, PICTURE)
        if seed % 3 == 0:
            store.save(run(seed).key, "mine")
            print("saved", seed, flush=True)
        seed += 1


def begun(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.faults", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str], lines: int, seconds: float) -> list[list[str]]:
    """Kill it so long after it has said so much; the words of each line that it ended."""
    assert process.stdout
    said = [process.stdout.readline() for _ in range(lines)]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return [line.split() for line in said if line[-1:] == "\n"]


def kills(count: int, seed: int = 7) -> list[int]:
    """Kill two writers on one cache so often, at random moments; how many runs were made, saved."""
    chance, told = random.Random(seed), list[tuple[str, int]]()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for kill in range(count // 2):
            writers = [begun(name, str(10_000 * (2 * kill + each))) for each in (0, 1)]
            for writer in writers:
                said = killed(writer, chance.randint(1, 8), chance.uniform(0, 0.1))
                told += [(word, int(number)) for word, number in said]
            store = TrajectoryStore(directory)
            assert store.verify() == []
            assert orphans(store) == []
            names = {info.spec.seed: info.saved for info in store.runs()}
            for what, number in told:
                assert number in names, f"run {number} is gone"
                assert what == "made" or names[number] == "mine", f"run {number} is not saved"
            assert store.warning is None
            store.close()
        store = TrajectoryStore(directory)
        for number in {number for _, number in told}:
            assert same(store.get(run(number).key), run(number))
        store.close()
    return [sum(word == what for word, _ in told) for what in ("made", "saved")]


def sample_for_ever(folder: Path, seed: int) -> None:
    """Sample grids of a tiny model, and save each third trunk; says what is done."""
    sample.CHECKPOINT_SECONDS, sample.CHECKPOINT_SHARE = -1.0, 1.0  # after every wave
    engine = LocalEngine(TrajectoryStore(folder / "cache"), "cpu")
    model = specification(folder / "model")
    make(engine, replace(model, seed=10**6 + os.getpid()), ((),))  # now it is loaded
    while True:
        spec = replace(model, seed=seed)
        print("begun", seed, flush=True)
        done = make(engine, spec, grid(spec))
        print("sampled", done.sampled, done.minimum, flush=True)
        for path in grid(spec):
            print("made", key(spec, path), flush=True)
        if seed % 3 == 0:
            engine.store.save(key(spec, ()), "mine")
            print("saved", key(spec, ()), flush=True)
        seed += 1


def kills_of_sampling(count: int, seed: int = 7) -> tuple[int, int, int]:
    """Kill who samples so often, at random moments, and let the next go on with it.

    How many runs were made and saved, and how many grids were taken up from a checkpoint.
    """
    from tests import tiny  # which imports torch

    chance, told, at = random.Random(seed), list[list[str]](), 0
    with tempfile.TemporaryDirectory() as name:
        tiny.save(Path(name) / "model")
        for _ in range(count):
            told += killed(begun("sample", name, str(at)), 1, chance.uniform(0, 2))
            at = max(int(line[1]) for line in told if line[0] == "begun")
            store = TrajectoryStore(Path(name) / "cache")
            assert store.verify() == []
            assert orphans(store) == []
            names = {info.key: info.saved for info in store.runs()}
            for what, made in (line for line in told if line[0] in ("made", "saved")):
                assert made in names, f"run {made} is gone"
                assert what == "made" or names[made] == "mine", f"run {made} is not saved"
            assert store.warning is None
            store.close()
        store = TrajectoryStore(Path(name) / "cache")
        model = specification(Path(name) / "model")
        undisturbed = LocalEngine(store_in_memory(), "cpu")
        for number in range(at):
            spec = replace(model, seed=number)
            make(undisturbed, spec, grid(spec))
            for path in grid(spec):
                found, expected = (s.get(key(spec, path)) for s in (store, undisturbed.store))
                assert found, f"run {key(spec, path)} is gone"
                assert expected
                np.testing.assert_allclose(found.latents, expected.latents, atol=1e-4)
        store.close()
    count_of = [sum(line[0] == what for line in told) for what in ("made", "saved")]
    resumed = sum(line[0] == "sampled" and 0 < int(line[1]) < int(line[2]) for line in told)
    return count_of[0], count_of[1], resumed


# Damage


def damages(every: int = 1) -> int:
    """Flip bits in, and cut, each row of a run, everywhere: what is read is exact or a miss."""
    made, begun = trajectory(3, side=2), trajectory(3, side=2, steps=2)
    shelves = MemoryShelf(10**9), *(MemoryShelf(0, evict=False) for _ in range(2))

    def opened() -> Runs:
        return Runs(*shelves, saved_limit=10**9, imported_limit=10**9)

    runs = opened()
    runs.add_imported([SharedRun(made, Frames((b"picture",), b"picture"))], "0.2.0")
    runs.put_partial(begun)
    checkpoint = runs._runs.look(f"{made.key}/partial")
    runs.add(made)
    runs.add_frames(made.key, "abc", {"n": 1}, b"picture")
    runs.add_labels(made.key, "abc", {"n": 2}, b"picture")
    runs.save(made.key, "mine")
    shelves[0].values[f"{made.key}/partial"] = checkpoint or b""
    before = [dict(shelf.values) for shelf in shelves]
    tried = 0
    for shelf, own in zip(shelves, before, strict=True):
        for row, value in own.items():
            for place in range(0, len(value), every):
                for harmed in (_flipped(value, place), value[:place]):
                    for each, rows in zip(shelves, before, strict=True):
                        each.values = dict(rows)
                    shelf.values[row] = harmed
                    _read_all(opened(), made, begun)
                    for kept in (1, 2):
                        assert set(shelves[kept].values) == set(before[kept]), "a kept row is gone"
                    assert shelf is shelves[0] or shelf.values[row] == harmed
                    tried += 1
    return tried


def _flipped(value: bytes, place: int) -> bytes:
    return value[:place] + bytes([value[place] ^ (1 << place % 8)]) + value[place + 1 :]


def _read_all(runs: Runs, made: Trajectory, begun: Trajectory) -> None:
    found, checkpoint = runs.get(made.key), runs.get_partial(made.key)
    assert found is None or same(found, made)
    came = runs.get_imported(made.key)
    assert came is None or same(came, made)
    runs.get_imported_frames(made.key, FRAMES)
    assert checkpoint is None or same(checkpoint, begun)
    for get, number in ((runs.get_frames, 1), (runs.get_labels, 2)):
        pictures = get(made.key, "abc")
        assert pictures is None or (pictures[0], bytes(pictures[1])) == ({"n": number}, b"picture")
    assert {info.saved for info in runs.runs()} <= {"mine", made.key[:8]}
    runs.verify()


def main(every: int) -> None:
    for lasting in (False, True):
        for name, in_sql in IN_SQL.items():
            began = time.monotonic()
            tried, kinds = one_after_the_other(lasting, in_sql, every)
            words = "and all that follow" if lasting else "alone"
            print(
                f"the n-th call fails {words}, in SQL by {name}: {tried} faults "
                f"({', '.join(sorted(kinds))}), {time.monotonic() - began:.0f} s",
                flush=True,
            )
    sizes = range(0, 600_000, 1_000)
    began, told = time.monotonic(), full_disks(sizes)
    print(
        f"no file over 0 to {max(sizes):,} bytes: {len(told)} sizes, {sum(told)} told at the end, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    print(f"bits flipped and values cut: {damages()}", flush=True)
    began = time.monotonic()
    made, saved = kills(100)
    print(
        f"100 kills: {made} runs made, {saved} saved, {time.monotonic() - began:.0f} s", flush=True
    )
    began = time.monotonic()
    made, saved, resumed = kills_of_sampling(10)
    print(
        f"10 kills of who samples: {made} runs made, {saved} saved, {resumed} grids taken up from "
        f"a checkpoint, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sample", folder, seed]:
            sample_for_ever(Path(folder), int(seed))
        case [directory, seed]:
            write_for_ever(Path(directory), int(seed))
        case given:
            main(int(*given) or 1)
