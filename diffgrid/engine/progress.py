"""How far a work is: what those who wait for it see, and how they stop it."""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from diffgrid.engine.protocol import PathView, Snapshot, WorkSnapshot
from diffgrid.engine.request import Request
from diffgrid.errors import Cancelled, DiffgridError, reason_of
from diffgrid.records.frames import Frames
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, minimum, naive
from diffgrid.store.forgiving import TrajectoryStore

log = logging.getLogger(__name__)
_S = TypeVar("_S", bound=WorkSnapshot)


class Progress(Generic[_S]):
    """A work's snapshots, one after the other: one thread publishes them, any may look and stop."""

    def __init__(self, first: _S, store: TrajectoryStore) -> None:
        self.snapshot = first
        self._store = store
        self._stopping = threading.Event()
        self._change = threading.Condition()

    def stop(self) -> None:
        """Have the work stop after the current evaluation."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether it is to stop."""
        return self._stopping.is_set()

    def wait(self, timeout: float | None, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it is over, or `unless` holds; whether one came true in `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: self.snapshot.ended or unless(), timeout)

    def wake(self) -> None:
        """Have those that wait look again."""
        with self._change:
            self._change.notify_all()

    def publish(self, **changes: Any) -> None:
        """The next snapshot; how the work ended stays as it is, and a warning until another."""
        changes.setdefault("warning", self._store.warning or self.snapshot.warning)
        with self._change:
            if self.snapshot.ended:
                changes.pop("state", None)
            self.snapshot = replace(self.snapshot, **changes)
            self._change.notify_all()

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Publish what goes wrong within, in place of raising it: a worker must outlive it."""
        try:
            yield
        except DiffgridError as error:
            _let_go(error)
            state = "cancelled" if isinstance(error, Cancelled) else "failed"
            self.publish(state=state, error=error)
        except Exception as error:  # the log has the traceback
            log.exception("%s failed", what)
            failed = DiffgridError(f"{what} failed: {reason_of(error)}")
            self.publish(state="failed", error=failed)


def _let_go(error: BaseException | None) -> None:
    """Empty the frames of its traceback: they hold arrays and a model as long as it is shown."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class Watched(Generic[_S]):
    """A work, for those who look on."""

    progress: Progress[_S]

    @property
    def snapshot(self) -> _S:
        """It now; immutable."""
        return self.progress.snapshot

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self.snapshot.ended


class JobProgress(Progress[Snapshot]):
    """A job's: the newest picture of each path too, and what is finished."""

    def __init__(self, request: Request, store: TrajectoryStore) -> None:
        self.views = {path: PathView() for path in request.paths}
        length = request.spec.length
        first = Snapshot(
            paths=MappingProxyType(dict(self.views)),
            minimum=minimum(request.paths, length),
            naive=naive(request.paths, length),
        )
        super().__init__(first, store)
        self._length, self._trust = length, request.trust
        self._began = time.monotonic()
        self._interrupted: Callable[[], bool] = bool
        self.frames: dict[Path, Frames] = {}  # of what is done
        # What is done: whoever asked has it from here, whatever becomes of the store. Those that
        # trust it leave to it what it has: pages keep their jobs, and the arrays fill memory.
        self.trajectories: dict[Path, Trajectory] = {}
        self.noisy: dict[Path, tuple[bytes, ...]] = {}

    def begin(self, interrupted: Callable[[], bool]) -> None:
        """The worker takes it up; it is to make way where `interrupted` comes true."""
        self._began, self._interrupted = time.monotonic(), interrupted

    def check(self) -> None:
        """Raise Cancelled where it is to stop."""
        if self.stopping or self._interrupted():
            raise Cancelled("sampling was cancelled; what was computed is kept.")

    def publish(self, **changes: Any) -> None:
        """The next snapshot, with all that is shown by now."""
        paths, seconds = MappingProxyType(dict(self.views)), time.monotonic() - self._began
        super().publish(paths=paths, seconds=seconds, **changes)

    def start_over(self) -> None:
        """Show nothing: what is stored is looked up again."""
        self.views = {path: PathView() for path in self.views}

    def show(self, path: Path, frame: bytes | None, step: int) -> None:
        """A path is that far, and looks like this; what is done stays so while it is replayed."""
        if path in self.views and not self.views[path].done:
            self.views[path] = PathView(frame or self.views[path].frame, step)

    def lose(self, path: Path) -> None:
        """A path has ended before its time."""
        self.views[path] = replace(self.views[path], lost=True)

    def finish(self, path: Path, trajectory: Trajectory | None, frames: Frames) -> None:
        """A path is done; its trajectory is kept here where it was read or made."""
        if trajectory and not (self._trust and self._store.has(trajectory.key)):
            self.trajectories[path] = trajectory
        self.frames[path] = frames
        self.views[path] = PathView(frames.final, self._length, done=True)

    def forget(self) -> None:
        """Leave what is done to the store, but its frames."""
        self.trajectories.clear()
        self.noisy.clear()
