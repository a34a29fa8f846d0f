"""A job: what was asked for, looked up, sampled where it is missing, decoded and stored.

Looking up needs no model. torch is imported only where something is missing, by whichever thread
runs the computation.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from diffgrid.engine.builder import Recordings
from diffgrid.engine.decode import Pictures
from diffgrid.engine.look_up import look_up
from diffgrid.engine.progress import JobProgress, Watched
from diffgrid.engine.protocol import Models, Snapshot
from diffgrid.engine.request import Request, evaluations_left, steps_to_go
from diffgrid.engine.sample import Checkpoints, clipping, photo_of, prepare, sample, where
from diffgrid.engine.timings import Timings
from diffgrid.errors import Cancelled, DiffgridError
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_noisy


class Computation(Watched[Snapshot]):
    """What identical requests share: a `Work`. Threads may look on, one runs it."""

    def __init__(self, request: Request, store: TrajectoryStore, timings: Timings) -> None:
        self.request, self.identity = request, request.identity
        self.progress: JobProgress = JobProgress(request, store)
        self._store, self._timings = store, timings

    @property
    def open(self) -> bool:
        """Whether another request can still join: it is neither over nor about to stop."""
        return not (self.ended or self.progress.stopping)

    def look(self) -> bool:
        """Show what is stored; whether that is everything, and the computation thereby over."""
        if look_up(self.request, self._store, self.progress).whole:
            reused = self.snapshot.minimum
            self.progress.publish(state="done", reused=reused, seconds_left=0.0)
        else:
            self.progress.forget()  # it is looked up again when it runs: it would fill memory
            self.progress.publish()
        return self.ended

    def run(self, models: Models, interrupted: Callable[[], bool]) -> None:
        """Do all of it, or as far as it gets; how it went is the last snapshot's state."""
        self.progress.begin(interrupted)
        with self.progress.told("sampling"):
            self.progress.check()
            self._make(models)
            self.progress.publish(state="done", seconds_left=0.0)

    def _make(self, models: Models) -> None:
        spec, progress = self.request.spec, self.progress
        found = look_up(self.request, self._store, progress)
        unfinished = found.unfinished
        lengths = steps_to_go(unfinished, spec.length)
        known = {path: trajectory.steps for path, trajectory in found.history.items()}
        to_sample = evaluations_left(lengths, known)
        reused = max(0, self.snapshot.minimum - to_sample)
        progress.publish(to_sample=to_sample, reused=reused)
        if found.whole:
            return
        photo = photo_of(spec, self._store) if lengths else None
        progress.publish(state="loading")
        pipe, focus = models.pipeline(spec), self.request.paths[0]
        pictures = Pictures(pipe, focus, found, self._store, progress)
        if found.missing:
            progress.publish(decoding=pictures.decoding)
        for path in found.missing:
            progress.check()
            if path not in unfinished:
                pictures.restore(found.history[path])
        progress.check()
        if lengths:
            if warning := clipping(pipe, spec):
                progress.publish(warning=warning)
            schedule, waves = prepare(pipe, spec, lengths, found.history, focus, photo)
            checkpoints = Checkpoints(self._store, found.history)
            progress.publish(state="sampling")
            began = time.monotonic()
            try:
                recordings = Recordings(spec, schedule, where(pipe))
                sample(waves, recordings, found, pictures, checkpoints, progress)
            finally:
                seconds = time.monotonic() - began
                self._timings.add(spec, self.snapshot.sampled, seconds)
        for path in found.blind:  # last: people look at x̂0 first
            pictures.add_noisy(self.result(path)[0])
        for path in found.rough:
            pictures.add_exact(*self.result(path))

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        """A finished path's trajectory and frames.

        Raises:
            DiffgridError: it ended before it, or the cache has dropped the run since.
        """
        frames, kept = self.frames(path), self.progress.trajectories.get(path)
        if trajectory := kept or self._store.get(self.request.keys[path]):
            return trajectory, frames
        raise self._lacking("the run", done=True)

    def frames(self, path: Path) -> Frames:
        """A finished path's frames; nothing is read.

        Raises:
            DiffgridError: it ended before it.
        """
        if frames := self.progress.frames.get(path):
            return frames
        raise self._lacking("the run", done=False)

    def noisy(self, path: Path) -> tuple[bytes, ...]:
        """The pictures of x_t before each step, T WebP pictures.

        Raises:
            DiffgridError: they are not made, or the cache has dropped them since.
        """
        key, length = self.request.keys[path], self.request.spec.length
        if found := self.progress.noisy.get(path) or stored_noisy(self._store, key, length):
            return found
        if not self.request.noisy:
            raise DiffgridError("noisy pictures were not asked for: submit the job with noisy.")
        raise self._lacking("the noisy strip", self.snapshot.state == "done")

    def _lacking(self, what: str, done: bool) -> DiffgridError:
        where = "no longer in the cache: ask for it again" if done else "not finished: wait for it"
        return self.snapshot.error or DiffgridError(f"{what} is {where}.")


class LocalJob:
    """One request's hold on a computation, which identical requests share."""

    def __init__(
        self,
        computation: Computation,
        session: str,
        withdraw: Callable[["LocalJob"], None],
        before: Callable[[Computation], int],
    ) -> None:
        self.computation, self.session = computation, session
        self.result, self.frames = computation.result, computation.frames
        self.noisy = computation.noisy
        self._withdraw, self._before = withdraw, before
        self._withdrawn: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The job now; immutable."""
        snapshot = self._withdrawn or self.computation.snapshot
        if snapshot.state == "queued":
            return replace(snapshot, before=self._before(self.computation))
        return snapshot

    def cancel(self) -> None:
        """Ask for it no longer.

        The computation stops, after the current evaluation and with a checkpoint, when everybody
        who asked has cancelled.
        """
        self._withdraw(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, at most `timeout` seconds; whether it has."""
        return self.computation.progress.wait(timeout, unless=lambda: self._withdrawn is not None)

    def leave(self) -> None:
        """Be cancelled, while the computation goes on for others."""
        error = Cancelled("this request was cancelled; the work goes on for somebody else.")
        self._withdrawn = replace(self.computation.snapshot, state="cancelled", error=error)
        self.computation.progress.wake()
