"""The pictures of a job: decoded a few at a time as it is sampled, and stored where it is finished.

x̂0 is shown as soon as it can be. What paths share is decoded once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.engine.look_up import Found
from diffgrid.engine.progress import JobProgress
from diffgrid.records.frames import (
    DIGESTS,
    NOISY_DIGESTS,
    Frames,
    decode,
    encode_final,
    encode_preview,
    pack_pictures,
)
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import Path, behind
from diffgrid.store.forgiving import TrajectoryStore

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
        self._linear = self._decoder.way == "linear"
        self._focus, self._found, self._store, self._progress = focus, found, store, progress
        self._waiting: list[tuple[Path, int, NDArray[np.float32]]] = []  # x̂0 (C, H, W)
        # The last finished latents (C, H, W) and their picture, which linear previews learn from.
        self._finished: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None

    @property
    def due(self) -> bool:
        """Whether enough waits, or nobody has seen anything yet."""
        return len(self._waiting) >= TOGETHER or self._progress.views[self._focus].frame is None

    def add(self, trajectory: Trajectory, step: int) -> None:
        """Have x̂0 of this step decoded, unless it is or will be."""
        path = trajectory.path
        if (path, step) not in self._found.x0:
            self._waiting.append((path, step, trajectory.pred_original_sample_at(step)))
            self._found.x0.put(path, step, b"")  # siblings born here need not ask again

    def show(self, steps: Mapping[Path, int]) -> None:
        """Decode what waits; each path is so many `steps` far."""
        waiting, self._waiting = self._waiting, []
        if self._linear:  # they are only looked at now: see `keep`
            waiting = list({latest[0]: latest for latest in waiting}.values())
        if not waiting:  # a wave that was replayed, its pictures stored
            return
        previews = self._decoder.preview(np.stack([x0 for _, _, x0 in waiting]), self._finished)
        for (path, step, _), picture in zip(waiting, previews, strict=True):
            frame = encode_preview(picture)
            self._found.x0.put(path, step, frame)
            self._progress.show(path, frame, steps[path])
            if self._focus not in steps and behind(self._focus, step) == behind(path, step):
                self._progress.show(self._focus, frame, step + 1)  # not born, but on its way

    def keep(self, finished: Sequence[Trajectory]) -> None:
        """Decode these to their ends, and store them."""
        together = TOGETHER if self._decoder.way == "vae" else 1  # each takes its time
        finals = decode_finals(self._decoder, [t.latents[-1] for t in finished], together)
        for trajectory, picture in zip(finished, finals, strict=True):
            x0 = self._x0(trajectory, picture)
            frames = Frames(x0, encode_final(picture))
            self._store.add(trajectory)
            digest = DIGESTS[self._decoder.way]
            self._store.add_frames(trajectory.key, digest, *frames.to_payload())
            self._progress.finish(trajectory.path, trajectory, frames)
            self._progress.publish()

    def _x0(self, trajectory: Trajectory, picture: NDArray[np.uint8]) -> tuple[bytes, ...]:
        if not self._linear:
            return self._found.x0.of(trajectory.path, trajectory.spec.length)
        # Once it is finished its own colours are known: they decide what is stored, so that it does
        # not depend on what else was sampled, nor when.
        self._finished = trajectory.latents[-1], picture
        previews = self._decoder.preview(trajectory.pred_original_sample, self._finished)
        return tuple(map(encode_preview, previews))

    def restore(self, trajectory: Trajectory) -> None:
        """Decode the frames of a stored trajectory that has none: they were lost, or never made."""
        if not self._linear:
            previews = self._decoder.preview(trajectory.pred_original_sample)
            self._found.x0.put_all(trajectory.path, map(encode_preview, previews))
        self.keep([trajectory])

    def add_noisy(self, trajectory: Trajectory) -> None:
        """Decode x_t before each step of a finished trajectory."""
        path, book, length = trajectory.path, self._found.noisy, trajectory.spec.length
        # What a decoder is used to: Euler's x_t, say, is up to 14 times as large as DDIM's.
        scales = np.sqrt(trajectory.alphas**2 + trajectory.sigmas**2)[:, None, None, None]
        latents = (trajectory.latents / scales).astype(np.float32)
        finished, steps = None, [step for step in range(length) if (path, step) not in book]
        if self._linear:  # with the path's own colours
            picture = np.asarray(decode(self._progress.frames[path].final))
            finished, steps = (trajectory.latents[-1], picture), list(range(length))
        for start in range(0, len(steps), TOGETHER):
            self._progress.check()
            batch = steps[start : start + TOGETHER]
            previews = self._decoder.preview(latents[batch], finished)
            for step, picture in zip(batch, previews, strict=True):
                book.put(path, step, encode_preview(picture))
        pictures = book.of(path, length)
        digest = NOISY_DIGESTS[self._decoder.way]
        self._store.add_frames(trajectory.key, digest, *pack_pictures(pictures))
        self._progress.noisy[path] = pictures


def decode_finals(
    decoder: "Decoder", latents: Sequence[NDArray[np.float32]], together: int
) -> Iterator[NDArray[np.uint8]]:
    """Finished latents (C, H, W) -> their pictures (H, W, 3), so many in one batch."""
    for start in range(0, len(latents), together):
        yield from decoder.final(np.stack(latents[start : start + together]))
