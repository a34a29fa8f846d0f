"""The engine: a service inside the process that takes requests and turns them into stored runs.

    engine = LocalEngine(TrajectoryStore.default())
    job = engine.submit(spec, grid.paths)
    job.wait()

One worker thread does one work at a time. Identical requests share one; sessions take turns. What
is stored is served at once, past the queue. While nobody waits, the worker may load the model,
sample ahead or work in the background. torch is imported by the worker, and only if something is
missing.
"""

import os
import threading
from collections.abc import Iterable

from diffgrid.engine.allowances import Allowances
from diffgrid.engine.job import Computation, LocalJob
from diffgrid.engine.memory import Memory
from diffgrid.engine.model_holder import Loading, ModelHolder
from diffgrid.engine.protocol import Estimate, Work
from diffgrid.engine.queue import Queue
from diffgrid.engine.request import Request, evaluations_left, steps_to_go
from diffgrid.engine.timings import Timings
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore


class LocalEngine:
    """One worker thread in this process; the loaded model is kept between jobs."""

    def __init__(self, store: TrajectoryStore, device: str | None = None) -> None:
        """`device` is cpu, cuda, cuda:1 or mps; None is the fastest there is.

        Raises:
            BadInput: the device has another name. (Whether it is there shows when it is needed.)
        """
        self.store = store
        self._models, self._timings = ModelHolder(device), Timings()
        self._allowances, self._memory = Allowances(), Memory()
        self._change = threading.Condition()  # guards what follows
        self._queue: Queue[Computation] = Queue()
        self._worker: threading.Thread | None = None
        self._process: int | None = None  # the worker's

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
    ) -> LocalJob:
        """Start a job for these paths, the focus first.

        Whoever asks for what is being computed already joins in. Sessions take turns. With `noisy`
        x_t is decoded too, after everything else: see `LocalJob.noisy`; with `exact` x̂0 by the full
        VAE, where it is in previews, and each picture is charged as an evaluation. A request that
        is stored already is done on return; with `trust` its arrays are not read first, which takes
        a sixth of the time and leaves it to `result` to find one damaged.

        Raises:
            BadInput: there are no paths, one forks too late, or the specification is above limits.
            Busy: as many computations wait as `limits` allows, or the session's evaluations are
                used up.
        """
        limits = limits or Limits()
        spec.check(limits)
        computation = self._computation(Request(spec, tuple(paths), noisy, trust, exact))
        if computation.look():
            return LocalJob(computation, session, self._withdraw, self._before)
        with self._own():
            joins = self._queue.find(computation) is not None
            older = [] if joins else self._queue.waiting(session)[-limits.max_waiting :]
            if not joins and len(older) < limits.max_waiting:  # or the oldest makes room
                self._queue.check_room(limits.max_queue)  # who is refused is charged nothing
        if not joins:
            count = self.estimate(spec, computation.request.paths).evaluations
            count += spec.length * len(computation.request.paths) * exact
            self._allowances.take(session, count, limits)
            if len(older) == limits.max_waiting:
                older[0].cancel()
        with self._own():
            shared = self._queue.find(computation) or computation
            job = LocalJob(shared, session, self._withdraw, self._before)
            self._queue.ask(shared, job, limits.max_queue)
            self._wake()
        return job

    def ahead(self, spec: RunSpec, paths: Iterable[Path], session: str) -> None:
        """Sample this once nobody waits, until somebody does; results go to the store alone.

        A session has one such wish: its newest.

        Raises:
            BadInput: there are no paths, or one forks too late.
        """
        computation = self._computation(Request(spec, tuple(paths), trust=True))
        with self._own():
            self._queue.wish(computation, session)
            self._wake()

    def warm(self, spec: RunSpec) -> None:
        """Load the model once nobody waits, unless one is loaded."""
        if not self._models.loaded:
            with self._own():
                self._queue.load(Loading(self._models, spec))
                self._wake()

    def background(
        self, work: Work, limits: Limits, session: str = "", evaluations: int = 0
    ) -> None:
        """Do this to its end, while nobody waits for a job; such work takes turns, part by part.

        Raises:
            Busy: as much work waits as `limits` allows computations, or the session has not so
                many evaluations left.
        """
        if evaluations:
            self._allowances.take(session, evaluations, limits)
        with self._own():
            self._queue.add_background(work, limits.max_queue)
            self._wake()

    def estimate(self, spec: RunSpec, paths: Iterable[Path]) -> Estimate:
        """What a job for these paths would cost, from the keys that are stored: no array is read.

        Checkpoints are left out: it may turn out less. The seconds go by this process's last jobs
        of that kind, and are a guess for a bundled model before its first, else None.

        Raises:
            BadInput: there are no paths, or one forks too late.
        """
        request = Request(spec, tuple(paths))
        known = {path: spec.length for path, name in request.keys.items() if self.store.has(name)}
        missing = (path for path in request.paths if path not in known)
        count = evaluations_left(steps_to_go(missing, spec.length), known)
        return Estimate(count, self._timings.seconds(spec, count))

    def _computation(self, request: Request) -> Computation:
        return Computation(request, self.store, self._timings)

    def _before(self, computation: Computation) -> int:
        with self._change:
            return self._queue.before(computation)

    def _withdraw(self, job: LocalJob) -> None:
        computation = job.computation
        with self._own():
            if computation.ended or not self._queue.leave(computation, job):
                return
            if self._queue.asked(computation):
                job.leave()
                return
            computation.progress.stop()
            if not self._queue.drop(computation):
                return
        # Here and now: stopped before it began, it ends as cancelled.
        computation.run(self._models, self._queue.outbid)

    def _own(self) -> threading.Condition:
        """What guards the queue.

        Raises:
            DiffgridError: this process is a fork of the one where the worker is.
        """
        if self._process not in (None, os.getpid()):
            raise DiffgridError(
                "nothing can be sampled in a process that was forked from one that has sampled: "
                'start it by multiprocessing.get_context("spawn").'
            )
        return self._change

    def _wake(self) -> None:
        if self._worker is None:
            self._process = os.getpid()
            self._worker = threading.Thread(target=self._work, name="diffgrid", daemon=True)
            self._worker.start()
        self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                while (work := self._queue.next()) is None:
                    self._change.wait()
            work.run(self._models, self._queue.outbid)
            with self._change:
                self._queue.finish(work)
            self._memory.give_back()
