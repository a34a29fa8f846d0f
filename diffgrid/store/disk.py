"""A diskcache that runs no code: string keys, bytes values, and files of its own only.

diskcache pickles by default, so whoever can write its directory can run code (CVE-2025-69872), and
it opens whatever file a row names. Here both are refused, on reading as well as on writing.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sqlite3
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import diskcache
from diskcache.core import (
    DBNAME,
    DEFAULT_SETTINGS,
    ENOVAL,
    METADATA,
    MODE_BINARY,
    MODE_RAW,
    UNKNOWN,
)

from diffgrid.errors import Damaged
from diffgrid.store.shelf import Shelves

_SECONDS_TO_WAIT = 4  # for another process's transaction; ours take milliseconds
_SECONDS_TO_OPEN = 2  # then people are told: there are three shelves, and 7 s are long enough
_USES_NOTED = 100  # together, where nothing is written
_LEFT_FREE = 2**24  # bytes of the disk; SQLite's own files grow too
# What is wrong with the files themselves: nothing that waiting would mend.
_BROKEN = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BARRED = {errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_COLUMNS = "key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename"
_LOOK = "SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = ?"
_STAMPS = "SELECT key, raw, rowid, store_time FROM Cache"
_USE = "UPDATE Cache SET access_time = ? WHERE key = ? AND raw = 1"
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
        path = Path(self._directory, filename)
        # A link planted in place of it or of a folder would lead out all the same.
        steps = (path, path.parent, path.parent.parent)
        return None if any(step.is_symlink() for step in steps) else path


class _OfThread:
    """A thread's connection, closed as the thread ends: Python's collector is in no hurry."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        # At exit, or where the shelf goes first, it is another thread that lets go: then the
        # collector closes it.
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.connection.close()


class DiskShelf(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A shelf in a folder of its own, which only its owner can enter.

    With `evict`, writes past `limit` bytes each evict the row used longest ago. (One row: with
    diskcache's default of ten, large values evict everything, the one just written included.)
    Reading takes no lock: when rows were used is noted with the next write. A database that is
    `doubtful` is read through first.
    """

    # diskcache tries a locked database for 60 s a call, and opening makes forty calls.
    _timeout = property(lambda _: _SECONDS_TO_WAIT, lambda *_: None)
    _sql_retry = property(lambda self: self._sql)

    def __init__(self, directory: Path, limit: int, *, evict: bool, doubtful: bool = False) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._database = directory / DBNAME
        self._inode = _make_ready(self._database, doubtful)
        self._used: dict[str, float] = {}  # row -> seconds since 1970
        self.failed = False  # whether a write has, which may leave a file that no row names
        ours = {
            "size_limit": limit,
            "eviction_policy": "least-recently-used" if evict else "none",
            "cull_limit": 1 if evict else 0,
        }
        super().__init__(str(directory), disk=BytesDisk, **(DEFAULT_SETTINGS | ours))

    @property
    def _con(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._con
        kept = getattr(self._local, "kept", None)
        if kept is None or kept.connection is not connection:
            self._local.kept = _OfThread(connection)
        return connection

    def reset(self, key: str, value: Any = ENOVAL, update: bool = True) -> Any:
        """As diskcache's, but a pragma that a lock forbids is not tried for 60 s either."""
        if not key.startswith("sqlite_"):
            return super().reset(key, value, update)
        if update:
            self._sql("UPDATE Settings SET value = ? WHERE key = ?", (value, key))
        pragma, late = f"PRAGMA {key[7:]}", time.monotonic() + _SECONDS_TO_OPEN
        while self._sql(pragma).fetchone() != (value,):
            try:
                self._sql(f"{pragma} = {value}").fetchall()
                break
            except sqlite3.OperationalError as error:  # SQLite itself waits for no switch to WAL
                if str(error) != "database is locked" or time.monotonic() > late:
                    raise
                time.sleep(0.01)
        setattr(self, key, value)
        return value

    @property
    def there(self) -> bool:
        try:
            return bool(self._database.stat().st_ino == self._inode)
        except OSError:
            return False

    def get(self, row: str) -> bytes | None:
        value = self.look(row)
        if value is not None:
            self._used[row] = time.time()
            if len(self._used) >= _USES_NOTED:
                with contextlib.suppress(diskcache.Timeout, sqlite3.Error):
                    self._note_uses()
        return value

    def _note_uses(self) -> None:
        used, self._used = self._used, {}
        if used:
            with self.transact():
                for row, when in list(used.items()):
                    self._sql(_USE, (when, row))

    def look(self, row: str) -> bytes | None:
        tried = None
        while found := self._sql(_LOOK, self._disk.put(row)).fetchone():
            with contextlib.suppress(FileNotFoundError):
                return self._disk.fetch(*found, read=False)  # type: ignore[no-any-return]
            if found == tried:  # or it was replaced between the two
                raise Damaged("the row's file is missing.")
            tried = found
        return None

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        try:
            with super().transact():
                yield
        except BaseException:
            self.failed = True  # its rows are undone, but not the files that they named
            raise

    def add(self, row: str, value: bytes) -> None:
        self._write(super().add, row, value)

    def set(self, row: str, value: bytes) -> None:
        self._write(super().set, row, value)

    def _write(self, write: Callable[[str, bytes], object], row: str, value: bytes) -> None:
        if shutil.disk_usage(self.directory).free < len(value) + _LEFT_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # or half of it would be written
        try:
            self._note_uses()
            write(row, value)
            # A write evicts one row, which is too little when large values follow small ones.
            if self.volume() > 1.1 * self.size_limit:
                self.cull()
        except BaseException:
            self.failed = True
            raise

    def stamps(self) -> Iterator[tuple[str, object]]:
        for key, raw, *stamp in self._sql(_STAMPS).fetchall():
            yield self._disk.get(key, raw), tuple(stamp)

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
    on leaving: whoever gets the exclusive lock is alone, and any marker there is then a dead one's,
    or of one whose writes have failed.
    """

    def __init__(self, directory: Path, shelves: Sequence[DiskShelf]) -> None:
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
            _share(lock)
            marker = directory / f"{os.getpid()}-{uuid.uuid4().hex}"
            marker.touch(mode=0o600)
        except BaseException:
            os.close(lock)
            raise
        self._leave = weakref.finalize(self, _leave, marker, lock, shelves)  # at exit at the latest

    def leave(self) -> None:
        """Let go of the directory."""
        self._leave()


def _share(lock: int) -> None:
    """Take the shared lock. Somebody else may be sweeping, who may be stopped: not for ever."""
    until = time.monotonic() + _SECONDS_TO_OPEN
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _leave(marker: Path, lock: int, shelves: Sequence[DiskShelf]) -> None:
    forked = not marker.name.startswith(f"{os.getpid()}-")  # it ends while its parent lives
    if not forked and not any(shelf.failed for shelf in shelves):
        with contextlib.suppress(OSError):
            marker.unlink()
    os.close(lock)


def shelves_on_disk(
    directory: Path, limit: int, saved_limit: int, imported_limit: int, doubtful: bool = False
) -> Shelves:
    """Open, or make, the three shelves in a directory; the limits are in bytes.

    One whose files are broken is renamed, and another made in its place.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    asides: list[str] = []

    def opened(name: str, limit: int, evict: bool) -> DiskShelf:
        folder = directory / name
        try:
            return DiskShelf(folder, limit, evict=evict, doubtful=doubtful)
        except (OSError, sqlite3.Error) as error:
            if not _is_broken(error):
                raise
            aside = f"{name}-aside-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
            try:
                folder.rename(directory / aside)
            except OSError:
                raise error from None
            asides.append(f"{name} ({error}) is set aside as {aside}")
            return DiskShelf(folder, limit, evict=evict)

    saved = opened("saved", saved_limit, evict=False)
    imported = opened("imported", imported_limit, evict=False)
    runs = opened("runs", limit, evict=True)
    lock = DirectoryLock(directory / "open", (runs, saved, imported))
    return Shelves(runs, saved, imported, lock.leave, ", and ".join(asides))


def _make_ready(database: Path, doubtful: bool) -> int:
    """Find out whether it can be used; its inode. Settings that are not diskcache's go.

    It would make an attribute, or a keyword, of whatever row it finds there.
    """
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))  # whose errors say more
    connecting = sqlite3.connect(database, timeout=_SECONDS_TO_OPEN, isolation_level=None)
    with contextlib.closing(connecting) as connection:
        sql = connection.execute
        sql("BEGIN IMMEDIATE")
        tables = {name for (name,) in sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables >= {"Settings", "Cache"}:
            sql(f"SELECT {_COLUMNS}, value FROM Cache LIMIT 1")
            known = (*DEFAULT_SETTINGS, *METADATA)
            sql(f"DELETE FROM Settings WHERE key NOT IN ({', '.join('?' * len(known))})", known)
            total = "SELECT COALESCE(SUM(size), 0) FROM Cache"
            sql(f"UPDATE Settings SET value = ({total}) WHERE key = 'size'")
        if doubtful and (found := sql("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(*found)
        sql("COMMIT")
    return database.stat().st_ino


def _is_broken(error: OSError | sqlite3.Error) -> bool:
    """Whether it lies with the files themselves, and not with the disk or with somebody else."""
    if isinstance(error, OSError):
        return error.errno in _BARRED
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _BROKEN
