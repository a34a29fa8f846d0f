"""The pictures of a job: decoded a few at a time as it is sampled, and stored where it is finished.

x̂0 is shown as soon as it can be. What paths share is decoded once.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.builder import FrameBook
from diffgrid.engine.look_up import Found
from diffgrid.engine.progress import JobProgress
from diffgrid.records.frames import (
    DIGESTS,
    NOISY_DIGESTS,
    Decoding,
    Frames,
    encode_exact,
    encode_final,
    encode_preview,
    pack_pictures,
)
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, behind
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import add_exact, exact_frames

if TYPE_CHECKING:
    from diffgrid.sampling.decoding import Decoder

TOGETHER = 8


class Pictures:
    """Decodes for one job, and stores what it has finished."""

    def __init__(
        self, pipe: Any, focus: Path, found: Found, store: TrajectoryStore, progress: JobProgress
    ) -> None:
        from diffgrid.sampling import decoding

        self._decoder = decoding.Decoder(pipe)
        self._focus, self._found, self._store, self._progress = focus, found, store, progress
        self._x0 = FrameBook()
        for path, frames in found.frames.items():
            if frames.decoding.way == self._decoder.way:  # or equal latents would look unlike
                self._x0.put_all(path, frames.x0)
        self._waiting: list[tuple[Path, int, NDArray[np.float32]]] = []  # x̂0 (C, H, W)

    @property
    def decoding(self) -> Decoding:
        """How x̂0 is decoded; measuring its error may take as long as a picture."""
        return Decoding(self._decoder.way, self._decoder.error)

    @property
    def due(self) -> bool:
        """Whether enough waits, or nobody has seen anything yet."""
        return len(self._waiting) >= TOGETHER or self._progress.views[self._focus].frame is None

    def add(self, trajectory: Trajectory, step: int) -> None:
        """Have x̂0 of this step decoded, unless it is or will be."""
        path = trajectory.path
        if (path, step) not in self._x0:
            self._waiting.append((path, step, trajectory.pred_original_sample_at(step)))
            self._x0.put(path, step, b"")  # siblings born here need not ask again

    def show(self, steps: Mapping[Path, int]) -> None:
        """Decode what waits; each path is so many `steps` far."""
        waiting, self._waiting = self._waiting, []
        if not waiting:  # a wave that was replayed, its pictures stored
            return
        previews = self._decoder.preview(np.stack([x0 for _, _, x0 in waiting]))
        for (path, step, _), picture in zip(waiting, previews, strict=True):
            frame = encode_preview(picture)
            self._x0.put(path, step, frame)
            self._progress.show(path, frame, steps[path])
            if self._focus not in steps and behind(self._focus, step) == behind(path, step):
                self._progress.show(self._focus, frame, step + 1)  # not born, but on its way

    def keep(self, finished: Sequence[Trajectory]) -> None:
        """Decode these to their ends, and store them."""
        decoding, alone = self.decoding, self.decoding.approximate
        began = time.monotonic()
        together = 1 if alone else TOGETHER  # where each takes its time
        finals = decode_finals(self._decoder, [t.latents[-1] for t in finished], together)
        for trajectory, picture in zip(finished, finals, strict=True):
            if alone:
                decoding = replace(decoding, seconds=time.monotonic() - began)
            x0 = self._x0.of(trajectory.path, trajectory.spec.length)
            frames = Frames(x0, encode_final(picture), decoding)
            self._store.add(trajectory)
            digest = DIGESTS[self._decoder.way]
            self._store.add_frames(trajectory.key, digest, *frames.to_payload())
            self._progress.finish(trajectory.path, trajectory, frames)
            self._progress.publish()
            began = time.monotonic()

    def restore(self, trajectory: Trajectory) -> None:
        """Decode the frames of a stored trajectory that has none: they were lost, or never made."""
        path = trajectory.path
        steps = [step for step in range(trajectory.steps) if (path, step) not in self._x0]
        if steps:
            previews = self._decoder.preview(trajectory.pred_original_sample[steps])
            for step, picture in zip(steps, previews, strict=True):
                self._x0.put(path, step, encode_preview(picture))
        self.keep([trajectory])

    def add_noisy(self, trajectory: Trajectory) -> None:
        """Decode x_t before each step of a finished trajectory."""
        path, book, length = trajectory.path, self._found.noisy, trajectory.spec.length
        # What a decoder is used to: Euler's x_t, say, is up to 14 times as large as DDIM's.
        scales = np.sqrt(trajectory.alphas**2 + trajectory.sigmas**2)[:, None, None, None]
        latents = (trajectory.latents / scales).astype(np.float32)
        steps = [step for step in range(length) if (path, step) not in book]
        for start in range(0, len(steps), TOGETHER):
            self._progress.check()
            batch = steps[start : start + TOGETHER]
            previews = self._decoder.preview(latents[batch])
            for step, picture in zip(batch, previews, strict=True):
                book.put(path, step, encode_preview(picture))
        pictures = book.of(path, length)
        digest = NOISY_DIGESTS[self._decoder.way]
        self._store.add_frames(trajectory.key, digest, *pack_pictures(pictures))
        self._progress.noisy[path] = pictures

    def add_exact(self, trajectory: Trajectory, frames: Frames) -> None:
        """Decode x̂0 before each step of a finished trajectory by the full VAE, one at a time."""
        if not frames.decoding.approximate:
            return
        path, book, length = trajectory.path, self._found.exact, trajectory.spec.length
        missing = [step for step in range(length) if (path, step) not in book]
        began, left = time.monotonic(), frames.decoding.seconds
        self._progress.publish(
            state="decoding",
            decoded=0,
            to_decode=len(missing),
            seconds_left=left and left * len(missing),
        )
        for done, step in enumerate(missing, 1):
            self._progress.check()
            [picture] = self._decoder.final(trajectory.pred_original_sample_at(step)[None])
            encoded = encode_exact(picture)
            book.put(path, step, encoded)
            add_exact(self._store, trajectory.key, step, encoded)
            each = (time.monotonic() - began) / done
            self._progress.publish(decoded=done, seconds_left=each * (len(missing) - done))
        exact = dict(enumerate(book.of(path, length)))
        for step in exact.keys() - {*missing}:  # what relatives share with it, under its own name
            add_exact(self._store, trajectory.key, step, exact[step])
        if whole := exact_frames(frames, exact):
            self._progress.finish(path, trajectory, whole)


def decode_finals(
    decoder: "Decoder", latents: Sequence[NDArray[np.float32]], together: int
) -> Iterator[NDArray[np.uint8]]:
    """Finished latents (C, H, W) -> their pictures (H, W, 3), so many in one batch."""
    for start in range(0, len(latents), together):
        yield from decoder.final(np.stack(latents[start : start + together]))
