"""An engine that only notes what is asked of it, and jobs whose snapshots a test makes up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from diffgrid.engine.protocol import Engine, Estimate, Job, PathView, Snapshot, Work
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.records.frames import Frames, encode_final, encode_preview
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, minimum, naive
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore
from tests.store.made import store_in_memory

LONGEST_WAIT = 0.3  # seconds


@cache
def pictures(steps: int, first: int = 0) -> Frames:
    """As many greys as there are steps."""
    greys = np.linspace(0, 200, steps + 1).astype(np.uint8) + np.uint8(first)
    frames = np.broadcast_to(greys[:, None, None, None], (steps + 1, 16, 16, 3))
    return Frames(tuple(map(encode_preview, frames[:-1])), encode_final(frames[-1]))


def trajectory(spec: RunSpec, path: Path) -> Trajectory:
    """Latents that are the seed's number everywhere."""
    steps = spec.length
    alpha_bar = np.append(np.linspace(0.01, 0.9, steps), 1.0)
    return Trajectory(
        spec=spec,
        path=path,
        latents=np.full((steps + 1, 2, 4, 4), spec.seed, np.float32),
        model_outputs=np.zeros((steps, 2, 4, 4), np.float32),
        timesteps=np.linspace(999, 0, steps),
        alphas=np.sqrt(alpha_bar),
        sigmas=np.sqrt(1 - alpha_bar),
        prediction_type="epsilon",
    )


def focus(grid: Grid) -> Trajectory:
    """The trajectory in view."""
    return trajectory(grid.spec, grid.path)


@dataclass
class FakeJob:
    """A job whose snapshots a test makes up."""

    spec: RunSpec
    paths: tuple[Path, ...]
    noisy_asked: bool = False
    exact_asked: bool = False
    cancelled: bool = False
    shown: Snapshot = field(init=False)

    def __post_init__(self) -> None:
        length = self.spec.length
        self.shown = Snapshot(
            paths={path: PathView() for path in self.paths},
            minimum=minimum(self.paths, length),
            naive=naive(self.paths, length),
        )

    def play(self, frame: bytes | None = None, done: bool = False, **changes: Any) -> None:
        views = {path: PathView(frame, self.spec.length, done) for path in self.paths}
        self.shown = replace(self.shown, paths=views, **changes)

    def finish(self) -> None:
        count = self.shown.minimum
        frame = pictures(self.spec.length).final
        self.play(frame, True, state="done", sampled=count, to_sample=count, seconds=2.8)

    def snapshot(self) -> Snapshot:
        return self.shown

    def cancel(self) -> None:
        self.cancelled = True

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert timeout <= LONGEST_WAIT, "a page never waits long"
        return self.shown.ended

    def frames(self, path: Path) -> Frames:
        return pictures(self.spec.length)

    def noisy(self, path: Path) -> tuple[bytes, ...]:
        return pictures(self.spec.length).x0

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        return trajectory(self.spec, path), pictures(self.spec.length)


@dataclass
class FakeEngine:
    """An engine that only notes what is asked of it; its store is in memory."""

    store: TrajectoryStore = field(default_factory=store_in_memory)
    jobs: list[FakeJob] = field(default_factory=list)
    ahead_of: list[tuple[Path, ...]] = field(default_factory=list)
    warmed: list[RunSpec] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    refuses: DiffgridError | None = None
    seconds: float | None = 1.0  # what it says that anything takes

    def submit(
        self,
        spec: RunSpec,
        paths: Iterable[Path],
        *,
        session: str = "",
        noisy: bool = False,
        trust: bool = False,
        exact: bool = False,
        limits: Limits | None = None,
    ) -> FakeJob:
        if self.refuses:
            raise self.refuses
        self.jobs.append(FakeJob(spec, tuple(paths), noisy, exact))
        return self.jobs[-1]

    def estimate(self, spec: RunSpec, paths: Iterable[Path]) -> Estimate:
        return Estimate(minimum(tuple(paths), spec.length), self.seconds)

    def ahead(self, spec: RunSpec, paths: Iterable[Path], session: str) -> None:
        self.ahead_of.append(tuple(paths))

    def warm(self, spec: RunSpec) -> None:
        self.warmed.append(spec)

    def background(
        self, work: Work, limits: Limits, session: str = "", evaluations: int = 0
    ) -> None:
        self.works.append(work)


# mypy checks here that these are what the protocols ask for.
_ENGINE: type[Engine] = FakeEngine
_JOB: type[Job] = FakeJob
