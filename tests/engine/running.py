"""Small jobs for the tests of the engine, and a gate that holds the worker."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as Folder
from typing import Any

from diffgrid.engine.job import Computation, LocalJob
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.protocol import Snapshot
from diffgrid.models.registry import specify
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec

STEPS = 6
SECONDS = 120  # far more than any job here takes: a test that hangs should fail
Waves = Callable[..., Iterator[list[Any]]]
OnWave = Callable[[int, Computation], None]


def specification(folder: Folder) -> RunSpec:
    return specify(model=str(folder), prompt="a red cat", steps=STEPS, seed=3)


def grid(spec: RunSpec, rows: tuple[int, ...] = (0, 2), columns: int = 2) -> tuple[Path, ...]:
    """The trunk and two branches in each of two rows: 6 + 2 · 5 + 2 · 3 evaluations."""
    return Grid.with_columns(spec, (), rows, columns).paths


def finish(job: LocalJob) -> Snapshot:
    assert job.wait(SECONDS)
    return job.snapshot()


def make(engine: LocalEngine, spec: RunSpec, paths: tuple[Path, ...]) -> Snapshot:
    """Do the job, which must succeed."""
    job = engine.submit(spec, paths)
    snapshot = finish(job)
    assert snapshot.state == "done", snapshot.error
    return snapshot


def conducted(sample: Waves, on_wave: Callable[[int], None]) -> Waves:
    """The sampler, but each wave's number is told before the job gets the wave."""

    def waves(*args: Any, **kwargs: Any) -> Iterator[list[Any]]:
        for number, wave in enumerate(sample(*args, **kwargs)):
            on_wave(number)
            yield wave

    return waves


@dataclass
class Gate:
    """The worker stops before each computation's first wave until the gate is open."""

    started: list[int] = field(default_factory=list)  # seeds, in the order they were sampled
    opened: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def __call__(self, number: int, running: Computation) -> None:
        if number == 0:
            self.started.append(running.request.spec.seed)
            self.reached.set()
            assert self.opened.wait(SECONDS)


def occupy(engine: LocalEngine, spec: RunSpec, gate: Gate, session: str = "") -> LocalJob:
    """A job that keeps the worker until the gate is open."""
    job = engine.submit(replace(spec, seed=0), [()], session=session)
    assert gate.reached.wait(SECONDS)
    return job
