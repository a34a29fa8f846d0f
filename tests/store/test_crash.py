"""kill -9 at any moment leaves every stored trajectory whole or absent."""

import contextlib
import multiprocessing
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from diffgrid.records.trajectories import Trajectory, to_bytes
from diffgrid.store.forgiving import TrajectoryStore
from tests.store import made

pytestmark = pytest.mark.slow

# Writers begin where all is imported: what is killed is their work, not Python's start.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])
STEPS = 6
KILLS = 12


def trajectory(seed: int, steps: int = STEPS) -> Trajectory:
    """480 kB."""
    return made.trajectory(seed, steps=steps, side=48)


def write_for_ever(directory: Path, seed: int, taken: Connection) -> None:
    """Tell what the store has taken: seeds and steps."""
    store = TrajectoryStore(directory)
    while True:
        for steps in range(1, STEPS):
            store.put_partial(trajectory(seed, steps))
            taken.send((seed, steps))
        store.add(trajectory(seed))
        taken.send((seed, STEPS))
        store.add_frames(trajectory(seed).key, "abc", {}, bytes(50_000))
        seed += 1


def killed_after(directory: Path, seed: int, writes: int, seconds: float) -> dict[int, int]:
    """Let a writer make so many writes and go on for some seconds, then kill it; returns how many
    steps of each seed it was told are stored."""
    said, saying = processes.Pipe(duplex=False)
    writer = processes.Process(target=write_for_ever, args=(directory, seed, saying))
    writer.start()
    saying.close()
    taken = [said.recv() for _ in range(writes)]
    time.sleep(seconds)
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    with contextlib.suppress(EOFError, OSError):  # it ended between messages, or within one
        while True:
            taken.append(said.recv())
    return dict(taken)


def test_a_killed_writer_leaves_what_it_was_told_is_stored(tmp_path: Path) -> None:
    delays = random.Random(5)
    acknowledged: dict[int, int] = {}
    for kill in range(KILLS):
        acknowledged |= killed_after(
            tmp_path, 1000 * kill, delays.randint(1, 14), delays.uniform(0, 0.01)
        )
        store = TrajectoryStore(tmp_path)
        assert store.verify() == []
        for seed, steps in acknowledged.items():
            name = trajectory(seed).key
            done, checkpoint = store.get(name), store.get_partial(name)
            if done is not None:
                assert to_bytes(done) == to_bytes(trajectory(seed))
            else:  # the newest checkpoint, or the one whose acknowledgement was cut off
                assert checkpoint is not None
                assert steps <= checkpoint.steps < STEPS
                assert to_bytes(checkpoint) == to_bytes(trajectory(seed, checkpoint.steps))
        assert store.warning is None
        store.close()
    assert sum(steps == STEPS for steps in acknowledged.values()) > KILLS // 2


def test_no_file_of_a_killed_writer_stays(tmp_path: Path) -> None:
    delays = random.Random(6)
    for kill in range(5):
        killed_after(tmp_path, 1000 * kill, 1 + kill, delays.uniform(0, 0.02))
    store = TrajectoryStore(tmp_path)
    kept = store.size()
    files = sum(file.stat().st_size for file in tmp_path.rglob("*.val"))
    assert files <= kept  # the quota counts every one
    for info in store.runs():
        store.remove(info.key)
    store.clear()
    assert not list(tmp_path.rglob("*.val"))
    store.close()
