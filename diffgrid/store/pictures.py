"""The pictures that are stored of a trajectory: the best, where they were decoded in several ways.

Its frames (x̂0 before each step, and the finished picture) have a row for each way; those of x_t
have rows of their own, for they are decoded only when somebody asks. So are exact pictures of x̂0,
each in a row: one may take as long as several evaluations, and what is made is never made again.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from diffgrid.errors import Damaged
from diffgrid.records.frames import (
    DIGESTS,
    EXACT,
    NOISY_DIGESTS,
    OLDER_DIGESTS,
    Decoding,
    Frames,
    pack_pictures,
    unpack_pictures,
)
from diffgrid.store.forgiving import TrajectoryStore


def stored_frames(store: TrajectoryStore, key: str, imported: bool = False) -> Frames | None:
    """The best frames that are stored of the trajectory with this key, or came with its import."""
    get = store.get_imported_frames if imported else store.get_frames
    for way, digest in (*DIGESTS.items(), *OLDER_DIGESTS.items()):
        if stored := get(key, digest):
            with suppress(Damaged):  # as good as missing: they are decoded again
                return Frames.from_payload(*stored, way)
    return None


def stored_noisy(store: TrajectoryStore, key: str, length: int) -> tuple[bytes, ...] | None:
    """The best pictures of x_t that are stored, one before each of `length` steps."""
    for digest in NOISY_DIGESTS.values():
        stored = store.get_frames(key, digest)
        if stored and (pictures := unpack_pictures(*stored, length)):
            return pictures
    return None


def stored_exact(store: TrajectoryStore, key: str, length: int) -> dict[int, bytes]:
    """The exact pictures of x̂0 that are stored, by step, of `length` steps."""
    found = {}
    for step in range(length):
        stored = store.get_frames(key, f"{EXACT}-{step}")
        if stored and (pictures := unpack_pictures(*stored, 1)):
            [found[step]] = pictures
    return found


def add_exact(store: TrajectoryStore, key: str, step: int, picture: bytes) -> None:
    """Store the exact picture of x̂0 before a step."""
    store.add_frames(key, f"{EXACT}-{step}", *pack_pictures((picture,)))


def exact_frames(frames: Frames, exact: Mapping[int, bytes]) -> Frames | None:
    """The frames with exact pictures in place of previews, where there is one of each step."""
    if len(exact) < len(frames.x0):
        return None
    pictures = tuple(exact[step] for step in range(len(frames.x0)))
    return replace(frames, x0=pictures, decoding=Decoding("exact"))


def with_exact(store: TrajectoryStore, key: str, frames: Frames) -> Frames:
    """A trajectory's frames with exact pictures in place of previews, where all are stored."""
    if not frames.decoding.approximate:
        return frames
    return exact_frames(frames, stored_exact(store, key, len(frames.x0))) or frames
