"""A diskcache that runs no code: string keys, bytes values, and files of its own only.

diskcache pickles by default, so whoever can write its directory can run code (CVE-2025-69872), and
it opens whatever file a row names. Here both are refused, on reading as well as on writing.
"""

import contextlib
import fcntl
import os
import re
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW, UNKNOWN

from diffgrid.errors import Damaged
from diffgrid.store.shelf import Shelves

_SECONDS_TO_WAIT = 5  # for another process's transaction; ours take milliseconds
_LOOK = "SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = 1"
_FILE_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")  # as diskcache makes them


class ForeignKey(str):
    """The name of a row that diffgrid cannot have written: good for deleting it, and no more."""

    key: Any
    raw: Any

    def __new__(cls, key: object, raw: object) -> Self:
        """Name a row by what its columns hold; never the name of one of ours."""
        name = super().__new__(cls, f"ForeignKey(key={key!r}, raw={raw!r})")
        name.key, name.raw = key, raw
        return name


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """How keys and values become rows and files, and nothing but strings and bytes do.

    Reading raises Damaged for a row that diffgrid cannot have written.
    """

    def put(self, key: str) -> tuple[Any, Any]:
        if isinstance(key, ForeignKey):
            return key.key, key.raw
        if type(key) is not str:
            raise TypeError(f"keys are str, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
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
        raise Damaged(
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


class DiskShelf(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A shelf in a folder of its own, which only its owner can enter.

    With `evict`, writes past `limit` bytes each evict the row used longest ago. (One row: with
    diskcache's default of ten, large values evict everything, the one just written included.)
    """

    def __init__(self, directory: Path, limit: int, *, evict: bool) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        super().__init__(
            str(directory),
            timeout=_SECONDS_TO_WAIT,
            disk=BytesDisk,
            size_limit=limit,
            eviction_policy="least-recently-used" if evict else "none",
            cull_limit=1 if evict else 0,
            statistics=0,
        )

    def get(self, row: str) -> bytes | None:
        value: bytes | None = super().get(row)
        if value is None and row in self:
            raise Damaged("the row's file is missing.")
        return value

    def look(self, row: str) -> bytes | None:
        tried = None
        while found := self._sql(_LOOK, (row,)).fetchone():
            with contextlib.suppress(FileNotFoundError):
                return self._disk.fetch(*found, read=False)  # type: ignore[no-any-return]
            if found == tried:  # or it was replaced between the two
                raise Damaged("the row's file is missing.")
            tried = found
        return None

    def add(self, row: str, value: bytes) -> None:
        super().add(row, value)
        self._keep_to_quota()

    def set(self, row: str, value: bytes) -> None:
        super().set(row, value)
        self._keep_to_quota()

    def _keep_to_quota(self) -> None:
        # A write evicts one row, which is too little when large values follow small ones.
        if self.volume() > 1.1 * self.size_limit:
            self.cull()

    def sweep(self) -> None:
        """Delete files that no row names. Nobody else may write."""
        named = {name for (name,) in self._sql("SELECT filename FROM Cache")}
        for file in Path(self.directory).glob("*/*/*.val"):
            name = str(file.relative_to(self.directory))
            if name not in named:
                self._disk.remove(name)


class DirectoryLock:
    """Who has the shelves open, so that somebody alone can sweep up after one that was killed.

    A killed writer leaves files that no row names and no quota counts, but so does, for a moment,
    every living one. So each keeps a shared lock while it lives, and a marker file that it removes
    on leaving: whoever gets the exclusive lock is alone, and any marker there is then a dead one's.
    """

    def __init__(self, directory: Path, shelves: Iterable[DiskShelf]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left_behind := list(directory.iterdir()):
                    for shelf in shelves:
                        shelf.sweep()
                    for marker in left_behind:
                        marker.unlink()
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits while somebody else sweeps
            marker = directory / f"{os.getpid()}-{uuid.uuid4().hex}"
            marker.touch(mode=0o600)
        except BaseException:
            os.close(lock)
            raise
        self._leave = weakref.finalize(self, _leave, marker, lock)  # at exit at the latest

    def leave(self) -> None:
        """Let go of the directory."""
        self._leave()


def _leave(marker: Path, lock: int) -> None:
    marker.unlink(missing_ok=True)
    os.close(lock)


def shelves_on_disk(directory: Path, limit: int, saved_limit: int) -> Shelves:
    """Open, or make, the two shelves in a directory; the limits are in bytes."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    runs = DiskShelf(directory / "runs", limit, evict=True)
    saved = DiskShelf(directory / "saved", saved_limit, evict=False)
    lock = DirectoryLock(directory / "open", (runs, saved))
    return Shelves(runs, saved, lock.leave)
