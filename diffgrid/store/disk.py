"""A diskcache that runs no code: string keys, bytes values, and files of its own only.

diskcache pickles by default, so whoever can write its directory can run code (CVE-2025-69872), and
it opens whatever file a row names. Here both are refused, on reading as well as on writing.
"""

import contextlib
import fcntl
import os
import re
import uuid
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW, UNKNOWN

from diffgrid.errors import BadInput

_SECONDS_TO_WAIT = 5  # for another process's transaction; ours take milliseconds
_FILE_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")  # as diskcache makes them


class ForeignKey(NamedTuple):
    """The key of a row that diffgrid cannot have written: good for deleting it, and no more."""

    key: Any
    raw: Any


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """How keys and values become rows and files, and nothing but strings and bytes do.

    Reading raises BadInput for a row that diffgrid cannot have written.
    """

    def put(self, key: str | ForeignKey) -> tuple[Any, Any]:
        if isinstance(key, ForeignKey):
            return key
        if type(key) is not str:
            raise TypeError(f"keys are str, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str | ForeignKey:
        return key if raw and type(key) is str else ForeignKey(key, raw)

    def store(self, value: bytes, read: bool, key: Any = UNKNOWN) -> Any:
        if read or type(value) is not bytes:
            raise TypeError(f"values are bytes, not {type(value).__name__}")
        return super().store(value, read, key)

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> bytes:
        if mode == MODE_RAW and filename is None and type(value) is bytes:
            return value
        if mode == MODE_BINARY and (path := self._own_file(filename)):
            return path.read_bytes()
        raise BadInput(
            f"a row of the cache holds no bytes of ours (mode {mode}, file {filename!r})."
        )

    def remove(self, filename: Any) -> None:
        if self._own_file(filename):
            super().remove(filename)

    def _own_file(self, filename: Any) -> Path | None:
        """The file of that name, if it is one that this disk can have made."""
        if not isinstance(filename, str) or not _FILE_NAME.fullmatch(filename):
            return None
        directory = Path(self._directory).resolve()
        path = directory / filename
        # A link planted in place of a folder would lead out all the same.
        return path if path.resolve().is_relative_to(directory) else None


def open_cache(directory: Path, *, size_limit: int, evict: bool) -> diskcache.Cache:
    """Open, or make, a cache in a folder that only its owner can enter.

    With `evict`, writes past `size_limit` bytes each evict the row used longest ago. (One row: with
    diskcache's default of ten, large values evict everything, the one just written included.)
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return diskcache.Cache(
        str(directory),
        timeout=_SECONDS_TO_WAIT,
        disk=BytesDisk,
        size_limit=size_limit,
        eviction_policy="least-recently-used" if evict else "none",
        cull_limit=1 if evict else 0,
        statistics=0,
    )


class Attendance:
    """Who has the caches open, so that somebody alone can sweep up after one that was killed.

    A killed writer leaves files that no row names and no quota counts, but so does, for a moment,
    every living one. So each keeps a shared lock while it lives, and a marker file that it removes
    on leaving: whoever gets the exclusive lock is alone, and any marker there is then a dead one's.
    """

    def __init__(self, directory: Path, sweep: Callable[[], None]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left_behind := list(directory.iterdir()):
                    sweep()
                    for marker in left_behind:
                        marker.unlink()
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while somebody else sweeps
            marker = directory / f"{os.getpid()}-{uuid.uuid4().hex}"
            marker.touch(mode=0o600)
        except BaseException:
            os.close(lock)
            raise
        self.leave = weakref.finalize(self, _leave, marker, lock)  # at exit at the latest


def _leave(marker: Path, lock: int) -> None:
    marker.unlink(missing_ok=True)
    os.close(lock)


def sweep(cache: diskcache.Cache) -> None:
    """Delete files that no row names and rows whose file is gone. Nobody else may be writing."""
    with warnings.catch_warnings(), contextlib.suppress(TypeError):  # a planted row's file name
        warnings.simplefilter("ignore")
        cache.check(fix=True)
