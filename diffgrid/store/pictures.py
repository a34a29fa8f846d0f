"""The pictures that are stored of a trajectory: the best, where they were decoded in several ways.

Its frames (x̂0 before each step, and the finished picture) have a row for each way; those of x_t
have rows of their own, for they are decoded only when somebody asks.
"""

from contextlib import suppress

from diffgrid.errors import Damaged
from diffgrid.records.frames import (
    DIGESTS,
    NOISY_DIGESTS,
    OLDER_DIGESTS,
    Frames,
    unpack_pictures,
)
from diffgrid.store.forgiving import TrajectoryStore


def stored_frames(store: TrajectoryStore, key: str) -> Frames | None:
    """The best frames that are stored of the trajectory with this key."""
    for way, digest in (*DIGESTS.items(), *OLDER_DIGESTS.items()):
        if stored := store.get_frames(key, digest):
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
