"""The engine: a service inside the process that takes requests and turns them into stored runs.

    engine = LocalEngine(TrajectoryStore.default())
    job = engine.submit(spec, grid.paths)
    job.wait()

One worker thread runs one computation at a time. Identical requests share one; sessions take turns.
What is stored is served at once, past the queue. While nobody waits, the worker may load the model
or sample ahead. torch is imported by the worker, and only if something is missing.
"""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from diffgrid.engine.job import Computation, evaluations_left, steps_to_go
from diffgrid.engine.model_holder import ModelHolder
from diffgrid.engine.protocol import Estimate, Snapshot, Work
from diffgrid.errors import BadInput, Busy, Cancelled, DiffgridError
from diffgrid.limits import Limits
from diffgrid.models.folder import BUNDLED
from diffgrid.models.registry import find_model
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, ancestors, check_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore

log = logging.getLogger(__name__)
FIRST_GUESS = (
    0.02  # seconds an evaluation of a bundled model takes, pictures included, on two cores
)
GUESSED = 100.0  # evaluations that the first guess counts as
FEWEST_TIMED = 10  # evaluations; the first of a job are slower than the rest
REMEMBERED = 1000  # sessions whose last turn is known, and those that are sampled ahead for


class LocalJob:
    """One request's hold on a computation, which identical requests share."""

    def __init__(
        self, computation: Computation, session: str, withdraw: Callable[["LocalJob"], None]
    ) -> None:
        self.computation, self.session = computation, session
        self._withdraw = withdraw
        self._withdrawn: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The job now; immutable."""
        return self._withdrawn or self.computation.snapshot

    def cancel(self) -> None:
        """Ask for it no longer.

        The computation stops, after the current evaluation and with a checkpoint, when everybody
        who asked has cancelled.
        """
        self._withdraw(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, at most `timeout` seconds; whether it has."""
        return self.computation.wait(timeout, unless=lambda: self._withdrawn is not None)

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        """A finished path's trajectory and frames.

        Raises:
            DiffgridError: the job ended before it, or the cache has dropped the run since.
        """
        return self.computation.result(path)

    def frames(self, path: Path) -> Frames:
        """A finished path's frames, from memory.

        Raises:
            DiffgridError: the job ended before it, or is not that far.
        """
        return self.computation.frames(path)

    def noisy(self, path: Path) -> tuple[bytes, ...]:
        """x_t before each step, decoded: T WebP pictures.

        Raises:
            DiffgridError: they were not asked for, the job ended before them or is not that far,
                or the cache has dropped them since.
        """
        return self.computation.noisy_frames(path)

    def leave(self) -> None:
        """Be cancelled, while the computation goes on for others."""
        error = Cancelled("this request was cancelled; the work goes on for somebody else.")
        self._withdrawn = replace(self.computation.snapshot, state="cancelled", error=error)
        self.computation.wake()


class LocalEngine:
    """One worker thread in this process; the loaded model is kept between jobs."""

    def __init__(self, store: TrajectoryStore, device: str | None = None) -> None:
        """`device` is cpu, cuda, cuda:1 or mps; None is the fastest there is.

        Raises:
            BadInput: the device has another name. (Whether it is there shows when it is needed.)
        """
        self.store = store
        self._models = ModelHolder(device)
        # Seconds taken by so many evaluations: the last jobs', older ones counting ever less.
        self._timed: dict[_Kind, tuple[float, float]] = {}

        # All below is guarded by it.
        self._change = threading.Condition()
        self._worker: threading.Thread | None = None
        self._waiting: list[Computation] = []  # in order of arrival
        self._running: Computation | None = None
        self._jobs: dict[Computation, list[LocalJob]] = {}  # who asked for what waits or runs
        self._turns = itertools.count()
        self._served: dict[str, int] = {}  # session -> its last turn; the newest last
        self._ahead: dict[str, Computation] = {}  # session -> its wish; the newest last
        self._cold: RunSpec | None = None  # whose model is to be loaded
        self._background: deque[Work] = deque()  # in turn, a part each

    def submit(
        self,
        spec: RunSpec,
        paths: Iterable[Path],
        *,
        session: str = "",
        noisy: bool = False,
        trust: bool = False,
        limits: Limits | None = None,
    ) -> LocalJob:
        """Start a job for these paths, the focus first.

        Whoever asks for what is being computed already joins in. Sessions take turns. With `noisy`
        x_t is decoded too, after everything else: see `LocalJob.noisy`. A request that is stored
        already is done on return; with `trust` its arrays are not read first, which takes a sixth
        of the time and leaves it to `result` to find one damaged.

        Raises:
            BadInput: there are no paths, one forks too late, or the specification is above limits.
            Busy: as many computations wait as `limits` allows.
        """
        limits = limits or Limits()
        spec.check(limits)
        computation = self._computation(spec, paths, noisy, trust)
        if computation.look():
            return LocalJob(computation, session, self._withdraw)
        with self._change:
            self._ahead.pop(session, None)
            joined = self._find(computation)
            if joined is None and len(self._waiting) >= limits.max_queue:
                raise Busy(
                    f"the server is busy: {len(self._waiting)} grids are waiting; "
                    "try again in a moment."
                )
            if joined is None:
                self._waiting.append(computation)
                if self._running and not self._jobs[self._running]:
                    self._running.stop()  # it was sampled ahead; its checkpoint is kept
            job = LocalJob(joined or computation, session, self._withdraw)
            self._jobs.setdefault(job.computation, []).append(job)
            self._wake()
        return job

    def ahead(self, spec: RunSpec, paths: Iterable[Path], session: str) -> None:
        """Sample this once nobody waits, until somebody does; results go to the store alone.

        A session has one such wish: its newest.

        Raises:
            BadInput: there are no paths, or one forks too late.
        """
        computation = self._computation(spec, paths, noisy=False, trust=True)
        with self._change:
            self._ahead.pop(session, None)
            self._ahead[session] = computation
            _forget_oldest(self._ahead)
            self._wake()

    def background(self, work: Work, limits: Limits) -> None:
        """Do this to its end, while nobody waits for a job; such work takes turns, part by part.

        Raises:
            Busy: as much work waits as `limits` allows computations.
        """
        with self._change:
            self._background = deque(each for each in self._background if not each.ended)
            if len(self._background) >= limits.max_queue:
                raise Busy("the server is busy with other studies: try again later.")
            self._background.append(work)
            self._wake()

    def warm(self, spec: RunSpec) -> None:
        """Load the model once nobody waits, unless one is loaded."""
        with self._change:
            if not self._models.loaded:
                self._cold = spec
                self._wake()

    def estimate(self, spec: RunSpec, paths: Iterable[Path]) -> Estimate:
        """What a job for these paths would cost, from the keys that are stored: no array is read.

        Checkpoints are left out: it may turn out less. The seconds go by this process's last jobs
        of that kind, and are a guess for a bundled model before its first, else None.

        Raises:
            BadInput: there are no paths, or one forks too late.
        """
        wanted = _checked(spec, paths)
        family = {relative for path in wanted for relative in (*ancestors(path), path)}
        known = {path: spec.length for path in family if self.store.has(key(spec, path))}
        lengths = steps_to_go((path for path in wanted if path not in known), spec.length)
        count = evaluations_left(lengths, known)
        seconds, timed = self._timed.get(_kind(spec)) or _guess(spec)
        return Estimate(count, seconds / timed * count if timed else None)

    def _computation(
        self, spec: RunSpec, paths: Iterable[Path], noisy: bool, trust: bool
    ) -> Computation:
        return Computation(
            self.store, spec, _checked(spec, paths), noisy, trust, self._models.pipeline
        )

    # With the condition held:

    def _find(self, asked: Computation) -> Computation | None:
        """The same request, where it waits or runs."""
        under_way = [*self._waiting, *filter(None, [self._running])]
        return next((c for c in under_way if c.open and c.asked == asked.asked), None)

    def _wake(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="diffgrid", daemon=True)
            self._worker.start()
        self._change.notify_all()

    def _take_next(self) -> Callable[[], None] | None:
        """What the worker does next: requests first, then loading, sampling ahead, background."""
        if self._waiting:
            # Of those who were served longest ago, whoever asked first.
            chosen = min(self._waiting, key=self._last_turn)
            self._waiting.remove(chosen)
            for job in self._jobs[chosen]:
                self._served.pop(job.session, None)
                self._served[job.session] = next(self._turns)
            _forget_oldest(self._served)
        elif self._cold:
            spec, self._cold = self._cold, None
            return partial(self._load, spec)
        elif self._ahead:
            _, chosen = self._ahead.popitem()  # the newest: pointers move on
            self._jobs[chosen] = []
        elif self._background:
            return partial(self._advance, self._background.popleft())
        else:
            return None
        self._running = chosen
        return partial(self._run, chosen)

    def _last_turn(self, computation: Computation) -> int:
        return min(self._served.get(job.session, -1) for job in self._jobs[computation])

    # Without it:

    def _withdraw(self, job: LocalJob) -> None:
        computation = job.computation
        with self._change:
            others = self._jobs.get(computation, [])
            if job not in others or computation.snapshot.ended:
                return
            others.remove(job)
            if others:
                job.leave()
                return
            computation.stop()
            if computation not in self._waiting:
                return
            self._waiting.remove(computation)
            del self._jobs[computation]
        computation.run()  # here and now: stopped before it began, it ends as cancelled

    def _work(self) -> None:
        while True:
            with self._change:
                while (work := self._take_next()) is None:
                    self._change.wait()
            work()

    def _run(self, computation: Computation) -> None:
        computation.run()
        sampled, kind = computation.snapshot.sampled, _kind(computation.spec)
        if sampled >= FEWEST_TIMED:
            # By the count: a lone trunk costs more an evaluation than a grid.
            seconds, timed = self._timed.get(kind) or _guess(computation.spec)
            self._timed[kind] = (seconds / 2 + computation.sampling_seconds, timed / 2 + sampled)
        with self._change:
            self._running = None
            del self._jobs[computation]

    def _advance(self, work: Work) -> None:
        work.run(self._models, interrupted=lambda: bool(self._waiting or self._cold))
        with self._change:
            if not work.ended:
                self._background.append(work)

    def _load(self, spec: RunSpec) -> None:
        try:
            if not self._models.loaded:
                self._models.pipeline(spec)
        except DiffgridError as error:  # the first job will say so to somebody
            log.info("no model was loaded ahead: %s", error)


_Kind = tuple[str, int, int, str, bool]


def _kind(spec: RunSpec) -> _Kind:
    """What decides how long an evaluation takes; a guided one runs the model twice."""
    return spec.digest, spec.height, spec.width, spec.dtype, spec.guidance_scale > 1


def _guess(spec: RunSpec) -> tuple[float, float]:
    """What `LocalEngine._timed` holds before anything was timed; nothing for a foreign model."""
    if spec.model not in BUNDLED:
        return 0.0, 0.0
    areas = spec.height * spec.width / find_model(spec.model).side ** 2
    return FIRST_GUESS * areas * GUESSED, GUESSED


def _checked(spec: RunSpec, paths: Iterable[Path]) -> tuple[Path, ...]:
    wanted = tuple(dict.fromkeys(paths))
    if not wanted:
        raise BadInput("no paths were asked for: give at least one, such as trunk.")
    for path in wanted:
        check_path(path, spec.loop)
    return wanted


def _forget_oldest(sessions: dict[str, Any]) -> None:
    while len(sessions) > REMEMBERED:
        del sessions[next(iter(sessions))]
