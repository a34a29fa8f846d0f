"""What an engine promises: jobs, their snapshots, and who computes them; and what it takes on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.records.frames import Decoding, Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore

State = Literal["queued", "loading", "sampling", "decoding", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class PathView:
    """How far one path is, and its newest frame."""

    frame: bytes | None = None  # an encoded picture
    step: int = 0  # known steps of T
    done: bool = False
    lost: bool = False  # it has ended: its numbers, or those it was to begin with, are not finite


@dataclass(frozen=True)
class WorkSnapshot:
    """A work at one moment: `sampled` evaluations so far of `to_sample`."""

    state: State = "queued"
    sampled: int = 0
    to_sample: int = 0
    minimum: int = 0  # where nothing is stored
    seconds: float = 0.0  # of work
    seconds_left: float | None = None
    warning: str | None = None
    error: DiffgridError | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Snapshot(WorkSnapshot):
    """A job at one moment; the store had `reused` evaluations.

    While it is decoding it has made `decoded` exact pictures of `to_decode`.
    """

    paths: Mapping[Path, PathView] = field(default_factory=dict)
    before: int = 0  # requests that are served first, while it is queued
    reused: int = 0
    naive: int = 0
    decoded: int = 0
    to_decode: int = 0
    decoding: Decoding = field(default_factory=Decoding)  # of the pictures made meanwhile


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request would cost: evaluations still to make, and seconds where one was timed."""

    evaluations: int
    seconds: float | None


class Job(Protocol):
    """What `submit` gives."""

    def snapshot(self) -> Snapshot:
        """The job now; immutable."""

    def cancel(self) -> None:
        """Stop after the current evaluation; what was computed is kept as a checkpoint."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, at most `timeout` seconds; whether it has."""

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        """A finished path's trajectory and frames; raises the job's error where there is none."""

    def frames(self, path: Path) -> Frames:
        """A finished path's frames, from memory; raises where there are none."""

    def noisy(self, path: Path) -> tuple[bytes, ...]:
        """x_t decoded before each step, T WebP pictures; raises where they are not made (yet)."""


class Models(Protocol):
    """What an engine lends its work: the models that it has loaded."""

    def pipeline(self, spec: RunSpec) -> Any:
        """The diffusers pipeline of this specification; it may take long, and raise ModelError."""

    def classifier(self, spec: RunSpec) -> Any:
        """What labels its pictures: the `find` of `diffgrid.sampling.classifiers`."""


class Work(Protocol):
    """What a worker does, part by part; an engine need not know what it is for."""

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left to do: it is done, has failed or was cancelled."""

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Do the next part, and never raise: whoever waits for the work is told by the work itself.

        Where `interrupted` comes true, somebody else waits: return soon, to be run again later.
        """


class Engine(Protocol):
    """Where trajectories are computed."""

    @property
    def store(self) -> TrajectoryStore:
        """Where results are read from."""

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
    ) -> Job:
        """Start a job for these paths, the focus first."""

    def ahead(self, spec: RunSpec, paths: Iterable[Path], session: str) -> None:
        """Sample this once nobody waits; the session's newest wish replaces its last."""

    def warm(self, spec: RunSpec) -> None:
        """Load the model once nobody waits, so that the first job is quick."""

    def estimate(self, spec: RunSpec, paths: Iterable[Path]) -> Estimate:
        """What a job for these paths would cost, without starting it."""

    def background(
        self, work: Work, limits: Limits, session: str = "", evaluations: int = 0
    ) -> None:
        """Do this to its end, while nobody waits for a job, at the expense of a session.

        Raises Busy where too much waits, or the session has not so many evaluations left.
        """
