"""Jobs: from a specification and paths to trajectories and frames in the store.

    engine = LocalEngine(TrajectoryStore.default())
    job = engine.submit(spec, grid.paths)
    job.wait()

A job looks up what is stored, samples what is missing, and writes checkpoints and results back.
torch is imported by the worker thread, and only if something is missing.
"""

import gc
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from diffgrid.catalogue import find_model
from diffgrid.errors import BadInput, Cancelled, DiffgridError, ModelError
from diffgrid.frames import Frames, encode_final, encode_preview
from diffgrid.recording import FrameBook, Levels, Recordings
from diffgrid.spec import Path, RunSpec, ancestors, before, check_path, key, minimum, naive
from diffgrid.store import TrajectoryStore
from diffgrid.trajectories import Trajectory

CHECKPOINT_SECONDS = 5.0
CHECKPOINT_SHARE = 0.05  # of the time at most: those of a large grid take long
FRAMES = "vae-1"  # names how frames are decoded and encoded; raise it when pictures change
DECODED_TOGETHER = 8
DEVICE = re.compile(r"(cpu|cuda|mps)(:[0-9]{1,2})?")

State = Literal["queued", "loading", "sampling", "done", "failed", "cancelled"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PathView:
    """How far one path is, and its newest frame."""

    frame: bytes | None = None  # an encoded picture
    step: int = 0  # known steps of T
    done: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment. `sampled` evaluations so far of `to_sample`; the store had `reused`."""

    state: State = "queued"
    paths: Mapping[Path, PathView] = field(default_factory=dict)
    sampled: int = 0
    to_sample: int = 0
    reused: int = 0
    minimum: int = 0
    naive: int = 0
    seconds: float = 0.0  # since the worker took the job up
    seconds_left: float | None = None
    warning: str | None = None
    error: DiffgridError | None = None

    @property
    def ended(self) -> bool:
        """Whether the job is over, one way or another."""
        return self.state in ("done", "failed", "cancelled")


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


class Engine(Protocol):
    """Where trajectories are computed."""

    def submit(self, spec: RunSpec, paths: Iterable[Path]) -> Job:
        """Start a job for these paths, the focus first."""


class LocalEngine:
    """One worker thread in this process; the loaded model is kept between jobs."""

    def __init__(self, store: TrajectoryStore, device: str | None = None) -> None:
        """`device` is cpu, cuda, cuda:1 or mps; None is the fastest there is.

        Raises:
            BadInput: the device has another name. (Whether it is there shows when it is needed.)
        """
        if device is not None and not DEVICE.fullmatch(device):
            raise BadInput(
                f"device {device!r} is not known: use cpu, cuda or mps, or leave it out."
            )
        self.store = store
        self._device = device
        self._jobs: queue.Queue[LocalJob] = queue.Queue()
        self._starting = threading.Lock()
        self._worker: threading.Thread | None = None
        self._loaded: tuple[tuple[str, str], Any] | None = None  # the worker's own

    def submit(self, spec: RunSpec, paths: Iterable[Path]) -> "LocalJob":
        """Start a job for these paths, the focus first.

        Raises:
            BadInput: there are no paths, or one forks too late.
        """
        wanted = tuple(dict.fromkeys(paths))
        if not wanted:
            raise BadInput("no paths were asked for: give at least one, such as trunk.")
        for path in wanted:
            check_path(path, spec.length)
        job = LocalJob(self.store, spec, wanted, self._pipeline)
        self._jobs.put(job)
        with self._starting:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="diffgrid", daemon=True)
                self._worker.start()
        return job

    def _work(self) -> None:
        while True:
            self._jobs.get().run()

    def _pipeline(self, spec: RunSpec) -> Any:
        from diffgrid.torch_side import models

        wanted = (spec.digest, spec.dtype)
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = None  # first free the other one: two may not fit
            device = models.find_device(self._device)
            model = find_model(spec.model)
            if model.digest != spec.digest:
                raise ModelError(
                    f"model {spec.model!r} has other weights than this run was made with: bring "
                    "those back, or ask for a new run."
                )
            self._loaded = (wanted, models.load(model.folder, spec.dtype, device))
            # What torch brought is here to stay: where the collector need not look at it, each
            # collection takes 290 ms less, and a page that polls makes many.
            gc.collect()
            gc.freeze()
        return self._loaded[1]


class LocalJob:
    """One request, on its way through the worker."""

    def __init__(
        self,
        store: TrajectoryStore,
        spec: RunSpec,
        paths: tuple[Path, ...],
        pipeline: Callable[[RunSpec], Any],
    ) -> None:
        self.spec, self.paths = spec, paths
        self._store, self._pipeline = store, pipeline
        self._began = time.monotonic()
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._views = {path: PathView() for path in paths}
        # What is done, until it is clear that the store took it.
        self._kept: dict[Path, tuple[Trajectory, Frames]] = {}
        self._snapshot = Snapshot(
            paths=MappingProxyType(dict(self._views)),
            minimum=minimum(paths, spec.length),
            naive=naive(paths, spec.length),
        )

    def snapshot(self) -> Snapshot:
        """The job now; immutable."""
        return self._snapshot

    def cancel(self) -> None:
        """Stop after the current evaluation; what was computed is kept as a checkpoint."""
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, at most `timeout` seconds; whether it has."""
        return self._ended.wait(timeout)

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        """A finished path's trajectory and frames.

        Raises:
            DiffgridError: the job ended before it, or the cache has dropped the run since.
        """
        if kept := self._kept.get(path):
            return kept
        trajectory = self._store.get(key(self.spec, path))
        frames = _stored_frames(self._store, key(self.spec, path))
        if trajectory and frames:
            return trajectory, frames
        where = "no longer in the cache: ask for it again"
        if not self._views[path].done:
            where = "not finished: wait for it"
        raise self._snapshot.error or DiffgridError(f"the run is {where}.")

    def run(self) -> None:
        """Do the work; how it went is the last snapshot's state."""
        self._began = time.monotonic()
        try:
            self._run()
            self._publish(state="done", seconds_left=0.0)
        except Cancelled as error:
            self._publish(state="cancelled", error=error)
        except DiffgridError as error:
            self._publish(state="failed", error=error)
        except Exception as error:  # a worker must outlive a job; the log has the traceback
            log.exception("a job failed")
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self._publish(state="failed", error=DiffgridError(f"sampling failed: {reason}"))
        finally:
            if self._snapshot.error or self._store.warning is None:
                self._kept.clear()
            self._ended.set()

    def _run(self) -> None:
        self._heed()
        history, book = self._look_up()
        missing = [path for path in self.paths if not self._views[path].done]
        unfinished = [p for p in missing if p not in history or not history[p].done]
        lengths = _lengths(unfinished, self.spec.length)
        to_sample = _count(lengths, history)
        reused = self._snapshot.minimum - to_sample
        self._publish(to_sample=to_sample, reused=max(0, reused))
        if missing:
            self._publish(state="loading")
            _Sampling(self, history, book, missing, lengths).run()

    def _heed(self) -> None:
        if self._stopping.is_set():
            raise Cancelled("sampling was cancelled; what was computed is kept.")

    def _look_up(self) -> tuple[dict[Path, Trajectory], FrameBook]:
        """What the store holds of the paths and their ancestors, checkpoints included."""
        history: dict[Path, Trajectory] = {}
        book = FrameBook()
        family = [relative for path in self.paths for relative in (*ancestors(path), path)]
        for path in dict.fromkeys(family):
            name = key(self.spec, path)
            known = self._store.get(name) or self._store.get_partial(name)
            if known is None:
                continue
            history[path] = known
            frames = _stored_frames(self._store, name) if known.done else None
            if frames is not None:
                book.put_all(path, frames)
                self._finish(known, frames)
        return history, book

    def _view(self, path: Path, frame: bytes | None, step: int) -> None:
        # What is done stays so while it is replayed for its branches.
        if path in self._views and not self._views[path].done:
            self._views[path] = PathView(frame or self._views[path].frame, step)

    def _finish(self, trajectory: Trajectory, frames: Frames) -> None:
        if trajectory.path in self._views:
            self._kept[trajectory.path] = (trajectory, frames)
            self._views[trajectory.path] = PathView(frames.final, trajectory.steps, done=True)

    def _publish(self, **changes: Any) -> None:
        changes.setdefault("warning", self._store.warning or self._snapshot.warning)
        self._snapshot = replace(
            self._snapshot,
            paths=MappingProxyType(dict(self._views)),
            seconds=time.monotonic() - self._began,
            **changes,
        )


def _lengths(paths: Iterable[Path], length: int) -> dict[Path, int]:
    """How many steps each path must go: all T, an ancestor only as far as its last fork."""
    lengths: dict[Path, int] = {}
    for path in paths:
        for depth in range(len(path)):
            needed = path[depth].step + 1
            lengths[path[:depth]] = max(needed, lengths.get(path[:depth], 0))
        lengths[path] = length
    return lengths


def _count(lengths: Mapping[Path, int], history: Mapping[Path, Trajectory]) -> int:
    """How many evaluations have to be made."""
    born = {path: path[-1].step + 1 if path else 0 for path in lengths}
    known = {path: history[path].steps if path in history else 0 for path in lengths}
    return sum(max(0, n - max(born[path], known[path])) for path, n in lengths.items())


def _stored_frames(store: TrajectoryStore, name: str) -> Frames | None:
    stored = store.get_frames(name, FRAMES)
    try:
        return Frames.from_payload(*stored) if stored else None
    except BadInput:
        return None  # as good as missing: they are decoded again


class _Sampling:
    """The part of a job that needs the model: sample, decode, keep checkpoints, store results."""

    def __init__(
        self,
        job: LocalJob,
        history: Mapping[Path, Trajectory],
        book: FrameBook,
        missing: list[Path],
        lengths: Mapping[Path, int],
    ) -> None:
        self.job, self.spec, self.store = job, job.spec, job._store
        self.history, self.book, self.missing, self.lengths = history, book, missing, lengths
        self.sampled = 0
        self.undecoded: list[tuple[Path, int, NDArray[np.float32]]] = []  # x̂0 (C, H, W)
        self.saved: dict[Path, int] = {}  # path -> steps in its newest checkpoint

    def run(self) -> None:
        from diffgrid.torch_side import families, models, preview, sampler

        pipe = self.job._pipeline(self.spec)
        self.decode = partial(preview.decode, pipe)
        for path in self.missing:
            self.job._heed()
            if path in self.history and self.history[path].done:
                self._decode_stored(self.history[path])
        self.job._heed()
        if not self.lengths:
            return
        scheduler = models.build_scheduler(self.spec)
        if models.clips(scheduler):
            self.job._publish(
                warning=f"{self.spec.scheduler} clips x̂0 to -1 … 1 in this model's configuration, "
                "which washes out latents: choose another scheduler if the pictures look grey."
            )
        prepared = families.prepare(pipe, self.spec, scheduler)
        levels = Levels(
            prepared.timesteps.cpu().double().numpy(),
            np.array(prepared.alphas),
            np.array(prepared.sigmas),
            prepared.prediction_type,
        )
        self.recordings = Recordings(self.spec, levels)
        self.job._publish(state="sampling")
        self.began = time.monotonic()
        checkpoint_due = self.began + CHECKPOINT_SECONDS
        waves = sampler.sample(
            prepared, self.spec.seed, self.lengths, self.history, focus=self.job.paths[0]
        )
        try:
            for wave in waves:
                self._take(wave)
                self.job._heed()
                if time.monotonic() > checkpoint_due:
                    began = time.monotonic()
                    self._checkpoint()
                    now = time.monotonic()
                    rest = (now - began) * (1 / CHECKPOINT_SHARE - 1)
                    checkpoint_due = now + max(CHECKPOINT_SECONDS, rest)
        finally:
            self._checkpoint()  # ancestors that were needed only in part; all, where it was cut off

    def _take(self, wave: Iterable[Any]) -> None:
        finished = []
        for step in wave:
            arrays = [_array(t) for t in (step.latents, step.model_output, step.next_latents)]
            self.recordings.add(step.path, step.step, *arrays)
            self.sampled += step.evaluated
            known = self.recordings.steps[step.path]
            self.job._view(step.path, None, known)
            if (step.path, step.step) not in self.book:
                x0 = self.recordings.trajectory(step.path).pred_original_sample_at(step.step)
                self.undecoded.append((step.path, step.step, x0))
                self.book.put(step.path, step.step, b"")  # siblings born here need not ask again
            if known == self.spec.length and step.path in self.missing:
                finished.append(self.recordings.trajectory(step.path))
        nothing_shown = self.job._views[self.job.paths[0]].frame is None
        if finished or nothing_shown or len(self.undecoded) >= DECODED_TOGETHER:
            self._decode(finished)
        elapsed = time.monotonic() - self.began
        left = self.job._snapshot.to_sample - self.sampled
        self.job._publish(
            sampled=self.sampled,
            seconds_left=elapsed / self.sampled * left if self.sampled else None,
        )

    def _decode(self, finished: list[Trajectory]) -> None:
        """Decode what waits, and store the trajectories that are finished."""
        waiting, self.undecoded = self.undecoded, []
        latents = [x0 for _, _, x0 in waiting] + [t.latents[-1] for t in finished]
        if not latents:
            return  # a wave that was replayed, its pictures stored
        decoded = self.decode(np.stack(latents))
        for (path, step, _), picture in zip(waiting, decoded, strict=False):
            frame = encode_preview(picture)
            self.book.put(path, step, frame)
            self.job._view(path, frame, self.recordings.steps[path])
            focus = self.job.paths[0]
            if before(focus, step) == before(path, step) and focus not in self.recordings.steps:
                self.job._view(focus, frame, step + 1)  # not born yet, but this is its way too
        for trajectory, picture in zip(finished, decoded[len(waiting) :], strict=True):
            self._keep(trajectory, encode_final(picture))

    def _decode_stored(self, trajectory: Trajectory) -> None:
        """Decode the frames of a stored trajectory that has none: they were lost, or never made."""
        decoded = self.decode(
            np.concatenate([trajectory.pred_original_sample, trajectory.latents[-1:]])
        )
        for step, picture in enumerate(decoded[:-1]):
            self.book.put(trajectory.path, step, encode_preview(picture))
        self._keep(trajectory, encode_final(decoded[-1]))

    def _keep(self, trajectory: Trajectory, final: bytes) -> None:
        frames = Frames(self.book.of(trajectory.path, self.spec.length), final)
        self.store.add(trajectory)
        self.store.add_frames(trajectory.key, FRAMES, *frames.to_payload())
        self.job._finish(trajectory, frames)

    def _checkpoint(self) -> None:
        for path, steps in self.recordings.steps.items():
            known = self.history[path].steps if path in self.history else 0
            unchanged = steps <= max(known, self.saved.get(path, 0))
            if steps < self.spec.length and not unchanged:
                self.store.put_partial(self.recordings.trajectory(path))
                self.saved[path] = steps


def _array(tensor: Any) -> NDArray[np.float32]:
    """(1, C, H, W) on any device, of any dtype -> (C, H, W)."""
    array: NDArray[np.float32] = tensor[0].float().cpu().numpy()
    return array
