"""One computation: what was asked for, looked up, sampled where it is missing, decoded and stored.

Looking up needs no model. torch is imported only where something is missing, by whichever thread
runs the computation.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.builder import FrameBook, Levels, Recordings, pack, unpack
from diffgrid.engine.protocol import PathView, Snapshot
from diffgrid.errors import Cancelled, Damaged, DiffgridError
from diffgrid.records.frames import Frames, decode, encode_final, encode_preview
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, ancestors, behind, minimum, naive
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore

CHECKPOINT_SECONDS = 5.0
CHECKPOINT_SHARE = 0.05  # of the time at most: those of a large grid take long
# By how x̂0 is decoded, best first, the names of frames; raise one when its pictures change.
DIGESTS = {"vae": "vae-1", "tiny": "tiny-1", "linear": "linear-1"}
FRAMES = DIGESTS["vae"]
NOISY = f"{FRAMES}-noisy"  # the pictures of x_t beside them
DECODED_TOGETHER = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """What the store holds of a computation's paths and their ancestors."""

    history: dict[Path, Trajectory]  # checkpoints included
    x0: FrameBook
    noisy: FrameBook
    missing: list[Path]  # asked for, but not finished or without pictures of x̂0
    blind: list[Path]  # asked for, but without the pictures of x_t that were asked for too


class Computation:
    """What one or several identical requests asked for; threads may look on, one runs it.

    With `trust` the arrays of what is stored are neither read nor checked until they are needed.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        spec: RunSpec,
        paths: tuple[Path, ...],
        noisy: bool,
        trust: bool,
        pipeline: Callable[[RunSpec], Any],
    ) -> None:
        self.spec, self.paths, self.noisy, self.trust = spec, paths, noisy, trust
        family = [relative for path in paths for relative in (*ancestors(path), path)]
        self.names = {path: key(spec, path) for path in dict.fromkeys(family)}
        self.snapshot = Snapshot(
            paths=MappingProxyType({path: PathView() for path in paths}),
            minimum=minimum(paths, spec.length),
            naive=naive(paths, spec.length),
        )
        self.sampling_seconds = 0.0  # that `snapshot.sampled` evaluations took, with their pictures
        self._store, self._pipeline = store, pipeline
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._over = False
        self._change = threading.Condition()
        self._views: dict[Path, PathView] = dict(self.snapshot.paths)
        self._frames: dict[Path, Frames] = {}  # of what is done
        # What is done, until it is clear that the store took it.
        self._kept: dict[Path, Trajectory] = {}
        self._kept_noisy: dict[Path, tuple[bytes, ...]] = {}

    @property
    def asked(self) -> tuple[tuple[str, ...], bool]:
        """Equal for identical requests."""
        return tuple(self.names[path] for path in self.paths), self.noisy

    @property
    def open(self) -> bool:
        """Whether another request can still join: it is neither over nor about to stop."""
        return not (self.snapshot.ended or self._stopping.is_set())

    def stop(self) -> None:
        """Stop after the current evaluation; what was computed is kept as a checkpoint."""
        self._stopping.set()

    def wait(self, timeout: float | None, unless: Callable[[], bool]) -> bool:
        """Wait until it is over, or `unless` holds; whether one came true in `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: self._over or unless(), timeout)

    def wake(self) -> None:
        """Have those that wait look again."""
        with self._change:
            self._change.notify_all()

    def result(self, path: Path) -> tuple[Trajectory, Frames]:
        """A finished path's trajectory and frames.

        Raises:
            DiffgridError: it ended before it, or the cache has dropped the run since.
        """
        frames = self.frames(path)
        if trajectory := self._kept.get(path) or self._store.get(self.names[path]):
            return trajectory, frames
        raise self._lacking("the run", done=True)

    def frames(self, path: Path) -> Frames:
        """A finished path's frames; nothing is read.

        Raises:
            DiffgridError: it ended before it.
        """
        if frames := self._frames.get(path):
            return frames
        raise self._lacking("the run", done=False)

    def noisy_frames(self, path: Path) -> tuple[bytes, ...]:
        """The pictures of x_t before each step, T WebP pictures.

        Raises:
            DiffgridError: they are not made, or the cache has dropped them since.
        """
        pictures = self._kept_noisy.get(path) or self._stored_noisy(path)
        if pictures:
            return pictures
        if not self.noisy:
            raise DiffgridError("noisy pictures were not asked for: submit the job with noisy.")
        raise self._lacking("the noisy strip", self.snapshot.state == "done")

    def _lacking(self, what: str, done: bool) -> DiffgridError:
        where = "no longer in the cache: ask for it again" if done else "not finished: wait for it"
        return self.snapshot.error or DiffgridError(f"{what} is {where}.")

    def look(self) -> bool:
        """Show what is stored; whether that is everything, and the computation thereby over."""
        found = self._look_up()
        if found.missing or found.blind:
            self._forget()  # it is looked up again when it is run: meanwhile it would fill memory
            self._publish()
            return False
        self._publish(state="done", reused=self.snapshot.minimum, seconds_left=0.0)
        self._end()
        return True

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
        except Exception as error:  # a worker must outlive it; the log has the traceback
            log.exception("a job failed")
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self._publish(state="failed", error=DiffgridError(f"sampling failed: {reason}"))
        finally:
            self._end()

    def _run(self) -> None:
        self._heed()
        found = self._look_up()
        unfinished = [path for path in found.missing if not _done(found.history.get(path))]
        lengths = steps_to_go(unfinished, self.spec.length)
        known = {path: trajectory.steps for path, trajectory in found.history.items()}
        to_sample = evaluations_left(lengths, known)
        reused = self.snapshot.minimum - to_sample
        self._publish(to_sample=to_sample, reused=max(0, reused))
        if found.missing or found.blind:
            self._publish(state="loading")
            _Sampling(self, found, lengths).run()

    def _end(self) -> None:
        if self.snapshot.error or self._store.warning is None:
            self._forget()
        with self._change:
            self._over = True
            self._change.notify_all()

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_noisy.clear()

    def _heed(self) -> None:
        if self._stopping.is_set():
            raise Cancelled("sampling was cancelled; what was computed is kept.")

    def _look_up(self) -> _Found:
        self._views = {path: PathView() for path in self.paths}
        found = _Found({}, FrameBook(), FrameBook(), [], [])
        for path in self.paths if self.noisy else ():
            if pictures := self._stored_noisy(path):
                found.noisy.put_all(path, pictures)
                self._kept_noisy[path] = pictures
            else:
                found.blind.append(path)
        for path in self.paths:
            frames = stored_frames(self._store, self.names[path])
            if frames and self._is_stored(path, found):
                found.x0.put_all(path, frames.x0)
                self._finish(path, found.history.get(path), frames)
            else:
                found.missing.append(path)
        family = [relative for path in found.missing for relative in (*ancestors(path), path)]
        for path in dict.fromkeys(family):
            name = self.names[path]
            known = (
                found.history.get(path) or self._store.get(name) or self._store.get_partial(name)
            )
            if known is not None:
                found.history[path] = known
                frames = self._frames.get(path)
                if known.done and frames is None and (frames := stored_frames(self._store, name)):
                    found.x0.put_all(path, frames.x0)
        return found

    def _is_stored(self, path: Path, found: _Found) -> bool:
        name = self.names[path]
        if self.trust and path not in found.blind:
            return self._store.has(name)
        if known := self._store.get(name):
            found.history[path] = known
        return known is not None

    def _stored_noisy(self, path: Path) -> tuple[bytes, ...] | None:
        for digest in DIGESTS.values():
            stored = self._store.get_frames(self.names[path], f"{digest}-noisy")
            if stored and (pictures := unpack(*stored, self.spec.length)):
                return pictures
        return None

    def _view(self, path: Path, frame: bytes | None, step: int) -> None:
        # What is done stays so while it is replayed for its branches.
        if path in self._views and not self._views[path].done:
            self._views[path] = PathView(frame or self._views[path].frame, step)

    def _finish(self, path: Path, trajectory: Trajectory | None, frames: Frames) -> None:
        if trajectory:
            self._kept[path] = trajectory
        self._frames[path] = frames
        self._views[path] = PathView(frames.final, self.spec.length, done=True)

    def _publish(self, **changes: Any) -> None:
        changes.setdefault("warning", self._store.warning or self.snapshot.warning)
        self.snapshot = replace(
            self.snapshot,
            paths=MappingProxyType(dict(self._views)),
            seconds=time.monotonic() - self._began,
            **changes,
        )


def steps_to_go(paths: Iterable[Path], length: int) -> dict[Path, int]:
    """How many steps each path must go: all T, an ancestor only as far as its last fork."""
    lengths: dict[Path, int] = {}
    for path in paths:
        for depth, fork in enumerate(path):
            # A fresh fork takes over the model's output at its step, the other kinds x_t alone.
            needed = max(fork.step, fork.evaluated)
            lengths[path[:depth]] = max(needed, lengths.get(path[:depth], 0))
        lengths[path] = length
    return lengths


def evaluations_left(lengths: Mapping[Path, int], known: Mapping[Path, int]) -> int:
    """How many evaluations have to be made to go `lengths`, where `known` steps are there."""
    born = {path: path[-1].evaluated if path else 0 for path in lengths}
    return sum(max(0, n - max(born[path], known.get(path, 0))) for path, n in lengths.items())


def _done(trajectory: Trajectory | None) -> bool:
    return trajectory is not None and trajectory.done


def stored_frames(store: TrajectoryStore, name: str) -> Frames | None:
    """The best frames that are stored of the trajectory with this key."""
    for digest in DIGESTS.values():
        if stored := store.get_frames(name, digest):
            with suppress(Damaged):  # as good as missing: they are decoded again
                return Frames.from_payload(*stored)
    return None


class _Sampling:
    """The part that needs the model: sample, decode, keep checkpoints, store results."""

    def __init__(self, job: Computation, found: _Found, lengths: Mapping[Path, int]) -> None:
        self.job, self.spec, self.store = job, job.spec, job._store
        self.found, self.history, self.lengths = found, found.history, lengths
        self.sampled = 0
        self.undecoded: list[tuple[Path, int, NDArray[np.float32]]] = []  # x̂0 (C, H, W)
        self.saved: dict[Path, int] = {}  # path -> steps in its newest checkpoint
        # The last finished latents (C, H, W) and their picture, which linear previews learn from.
        self.finished: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None

    def run(self) -> None:
        from diffgrid.sampling import decoding

        pipe = self.job._pipeline(self.spec)
        self.decoder = decoding.Decoder(pipe)
        self.linear = self.decoder.way == "linear"
        for path in self.found.missing:
            self.job._heed()
            if path in self.history and self.history[path].done:
                self._decode_stored(self.history[path])
        self.job._heed()
        if self.lengths:
            self._sample(pipe)
        for path in self.found.blind:  # last: people look at x̂0 first
            self._decode_noisy(path)

    def _sample(self, pipe: Any) -> None:
        from diffgrid.sampling import pipelines, preparation, sampler

        scheduler = pipelines.build_scheduler(self.spec)
        if pipelines.clips(scheduler) and hasattr(pipe, "vae"):
            self.job._publish(
                warning=f"{self.spec.scheduler} clips x̂0 to -1 … 1 in this model's configuration, "
                "which washes out latents: choose another scheduler if the pictures look grey."
            )
        prepared = preparation.prepare(pipe, self.spec, scheduler)
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
            prepared,
            self.spec,
            self.lengths,
            self.history,
            focus=self.job.paths[0],
            changed=partial(preparation.denoiser, pipe),
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
            self.job.sampling_seconds = time.monotonic() - self.began
            self._checkpoint()  # ancestors that were needed only in part; all, where it was cut off

    def _take(self, wave: Iterable[Any]) -> None:
        finished = []
        for step in wave:
            arrays = [_array(t) for t in (step.latents, step.model_output, step.next_latents)]
            self.recordings.add(step.path, step.step, *arrays)
            self.sampled += step.evaluated
            known = self.recordings.steps[step.path]
            self.job._view(step.path, None, known)
            if (step.path, step.step) not in self.found.x0:
                x0 = self.recordings.trajectory(step.path).pred_original_sample_at(step.step)
                self.undecoded.append((step.path, step.step, x0))
                self.found.x0.put(
                    step.path, step.step, b""
                )  # siblings born here need not ask again
            if known == self.spec.length and step.path in self.found.missing:
                finished.append(self.recordings.trajectory(step.path))
        nothing_shown = self.job._views[self.job.paths[0]].frame is None
        if finished or nothing_shown or len(self.undecoded) >= DECODED_TOGETHER:
            self._decode(finished)
        elapsed = time.monotonic() - self.began
        left = self.job.snapshot.to_sample - self.sampled
        self.job._publish(
            sampled=self.sampled,
            seconds_left=elapsed / self.sampled * left if self.sampled else None,
        )

    def _decode(self, finished: list[Trajectory]) -> None:
        """Decode what waits, and store the trajectories that are finished."""
        waiting, self.undecoded = self.undecoded, []
        if self.linear:  # they are only looked at now: see `_keep`
            waiting = list({latest[0]: latest for latest in waiting}.values())
        if waiting:  # not a wave that was replayed, its pictures stored
            previews = self.decoder.preview(np.stack([x0 for _, _, x0 in waiting]), self.finished)
            for (path, step, _), picture in zip(waiting, previews, strict=True):
                self._show(path, step, encode_preview(picture))
        together = DECODED_TOGETHER if self.decoder.way == "vae" else 1  # each takes its time
        for start in range(0, len(finished), together):
            batch = finished[start : start + together]
            finals = self.decoder.final(np.stack([t.latents[-1] for t in batch]))
            for trajectory, picture in zip(batch, finals, strict=True):
                self._keep(trajectory, picture)
            self.job._publish()

    def _show(self, path: Path, step: int, frame: bytes) -> None:
        self.found.x0.put(path, step, frame)
        self.job._view(path, frame, self.recordings.steps[path])
        focus = self.job.paths[0]
        if behind(focus, step) == behind(path, step) and focus not in self.recordings.steps:
            self.job._view(focus, frame, step + 1)  # not born yet, but this is its way too

    def _decode_stored(self, trajectory: Trajectory) -> None:
        """Decode the frames of a stored trajectory that has none: they were lost, or never made."""
        if not self.linear:
            previews = self.decoder.preview(trajectory.pred_original_sample)
            for step, picture in enumerate(previews):
                self.found.x0.put(trajectory.path, step, encode_preview(picture))
        (picture,) = self.decoder.final(trajectory.latents[-1:])
        self._keep(trajectory, picture)

    def _decode_noisy(self, path: Path) -> None:
        """Decode x_t before each step of a finished path; what paths share is decoded once."""
        trajectory, book = self.job._kept[path], self.found.noisy
        # What a decoder is used to: Euler's x_t, say, is up to 14 times as large as DDIM's.
        scales = np.sqrt(trajectory.alphas**2 + trajectory.sigmas**2)[:, None, None, None]
        latents = (trajectory.latents / scales).astype(np.float32)
        finished, steps = None, list(range(self.spec.length))
        if self.linear:  # with the path's own colours
            picture = np.asarray(decode(self.job.frames(path).final))
            finished = trajectory.latents[-1], picture
        else:
            steps = [step for step in steps if (path, step) not in book]
        for start in range(0, len(steps), DECODED_TOGETHER):
            self.job._heed()
            batch = steps[start : start + DECODED_TOGETHER]
            previews = self.decoder.preview(latents[batch], finished)
            for step, picture in zip(batch, previews, strict=True):
                book.put(path, step, encode_preview(picture))
        pictures = book.of(path, self.spec.length)
        digest = f"{DIGESTS[self.decoder.way]}-noisy"
        self.store.add_frames(trajectory.key, digest, *pack(pictures))
        self.job._kept_noisy[path] = pictures

    def _keep(self, trajectory: Trajectory, picture: NDArray[np.uint8]) -> None:
        if self.linear:
            # Once it is finished its own colours are known: they decide what is stored, so that it
            # does not depend on what else was sampled, nor when.
            self.finished = trajectory.latents[-1], picture
            previews = self.decoder.preview(trajectory.pred_original_sample, self.finished)
            x0 = tuple(map(encode_preview, previews))
        else:
            x0 = self.found.x0.of(trajectory.path, self.spec.length)
        frames = Frames(x0, encode_final(picture))
        self.store.add(trajectory)
        self.store.add_frames(trajectory.key, DIGESTS[self.decoder.way], *frames.to_payload())
        self.job._finish(trajectory.path, trajectory, frames)

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
