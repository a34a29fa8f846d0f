"""The store as the rest of diffgrid has it: what becomes of whoever asks when the disk fails.

Sampling must go on. What it needs is `_forgiven`: while the disk fails, results stay in memory, a
warning says so, and for a while the disk is left alone; once it works again, they go there. What
people ask for is `_told`: it raises StoreError. A cache that was deleted is made again, and one
that is broken is set aside.
"""

import contextlib
import errno
import functools
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path as Directory
from typing import Concatenate, ParamSpec, Self, TypeVar

import diskcache
import platformdirs

from diffgrid.errors import OtherVersion, StoreError
from diffgrid.store.bundled import Bundled
from diffgrid.store.disk import shelves_on_disk
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.runs import Runs
from diffgrid.store.shelf import Shelves

GIB = 2**30
SECONDS_OF_QUIET = 30  # after a failure; or every frame of a grid would wait for the same lock

IN_MEMORY = GIB // 4  # bytes, while the disk fails

_FAILURES = (OSError, diskcache.Timeout, sqlite3.Error)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _forgiven(
    method: Callable[Concatenate[Runs, _P], _T], *, reads: bool
) -> Callable[Concatenate["TrajectoryStore", _P], _T]:
    """The method of a store that makes do with memory where the disk fails."""

    @functools.wraps(method)
    def forgiven(self: "TrajectoryStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._awake(reads):
            try:
                found = self._on_disk(method, *args, **kwargs)
                if found or not (reads and self._failure):
                    return found
            except OtherVersion:
                self.warning = (
                    f"The cache in {self.directory} holds runs of other versions of diffgrid, so "
                    "some results are not kept: choose another directory with DIFFGRID_CACHE."
                )
            except _FAILURES as error:
                self._fail(error, reads)
        return method(self._meanwhile, *args, **kwargs)

    return forgiven


def _told(
    method: Callable[Concatenate[Runs, _P], _T],
) -> Callable[Concatenate["TrajectoryStore", _P], _T]:
    """The method of a store whose failures are a StoreError."""

    @functools.wraps(method)
    def told(self: "TrajectoryStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            if self._failure and not self._stored and not self._awake(reads=True):
                raise self._failure  # it could not be opened just now
            return self._on_disk(method, *args, **kwargs)
        except _FAILURES as error:
            raise StoreError(
                f"cache directory {self.directory} cannot be used ({_said(error)}): "
                f"{_cure(error)}, or choose another one with DIFFGRID_CACHE."
            ) from error

    return told


class TrajectoryStore:
    """Trajectories by key, shared by all threads and processes that name the same directory.

    `limit`, `saved_limit` and `imported_limit` are quotas in bytes. Give at least a hundred times
    the largest entry.
    `warning` is one sentence to show while the disk fails. See `Runs` for the methods.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        limit: int = 4 * GIB,
        saved_limit: int = 4 * GIB,
        imported_limit: int = 4 * GIB,
        bundled: Bundled | None = None,
        shelves: Callable[[Directory, int, int, int, bool], Shelves] = shelves_on_disk,
    ) -> None:
        self.directory = directory.absolute()
        self._quotas = limit, saved_limit, imported_limit
        self.limit, self.imported_limit = sum(self._quotas), imported_limit  # as `size` counts
        self.warning: str | None = None
        self._failure: Exception | None = None  # the last, until it is clear that all is well
        # Monotonic seconds until which nothing is asked of the disk.
        self._unread_until = self._unwritten_until = -math.inf
        self._bundled, self._shelves = bundled or Bundled(None), shelves
        self._memory = MemoryShelf(IN_MEMORY)
        nothing = MemoryShelf(0)
        self._meanwhile = Runs(self._memory, nothing, nothing, bundled=self._bundled)
        self._opening = threading.RLock()
        self._stored: Runs | None = None
        self._leave: Callable[[], object] = bool
        try:
            self._opened()
        except _FAILURES as error:
            self._fail(error, reads=True)

    @classmethod
    def default(cls) -> Self:
        """The store in DIFFGRID_CACHE, or in the user's cache directory, and what is bundled."""
        named = os.environ.get("DIFFGRID_CACHE") or platformdirs.user_cache_dir("diffgrid")
        try:
            return cls(Directory(named).expanduser(), bundled=Bundled())
        except RuntimeError as error:  # ~somebody who has no home
            raise StoreError(
                f"cache directory {named} cannot be found: give DIFFGRID_CACHE a plain path."
            ) from error

    def close(self) -> None:
        """Leave the directory; happens by itself at exit. The store cannot be used afterwards."""
        self._leave()
        self._hang_up()

    get = _forgiven(Runs.get, reads=True)
    has = _forgiven(Runs.has, reads=True)
    add = _forgiven(Runs.add, reads=False)
    get_partial = _forgiven(Runs.get_partial, reads=True)
    put_partial = _forgiven(Runs.put_partial, reads=False)
    get_frames = _forgiven(Runs.get_frames, reads=True)
    add_frames = _forgiven(Runs.add_frames, reads=False)
    get_labels = _forgiven(Runs.get_labels, reads=True)
    add_labels = _forgiven(Runs.add_labels, reads=False)
    get_photo = _forgiven(Runs.get_photo, reads=True)
    add_photo = _forgiven(Runs.add_photo, reads=False)

    add_imported = _told(Runs.add_imported)
    get_imported = _told(Runs.get_imported)
    get_imported_frames = _told(Runs.get_imported_frames)
    runs = _told(Runs.runs)
    unreadable = _told(Runs.unreadable)
    find = _told(Runs.find)
    is_saved = _told(Runs.is_saved)
    is_kept = _told(Runs.is_kept)
    saved = _told(Runs.saved)
    unsave = _told(Runs.unsave)
    remove = _told(Runs.remove)
    verify = _told(Runs.verify)
    clear = _told(Runs.clear)
    size = _told(Runs.size)

    _save = _told(Runs.save)
    _take_in = _told(Runs.take_in)

    def save(self, key: str, name: str, note: str | None = None) -> None:
        """As `Runs.save`; what is in memory alone goes to the disk first, or it is said why not."""
        if key in self._memory:
            self._take_in(self._memory)
        self._save(key, name, note)

    def _awake(self, reads: bool) -> bool:
        """Whether the disk is asked; if it failed, and may work again, it gets what it missed."""
        now = time.monotonic()
        if self._failure and now >= self._unwritten_until:
            try:
                self._on_disk(Runs.take_in, self._memory)
                self._failure, self.warning, self._unread_until = None, None, -math.inf
            except _FAILURES as error:
                self._fail(error, reads=self._stored is None)
        return now >= (self._unread_until if reads else self._unwritten_until)

    def _on_disk(
        self, method: Callable[Concatenate[Runs, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Do it on shelves that are there; where it fails otherwise than by a lock, on new ones."""
        try:
            return method(self._opened(), *args, **kwargs)
        except _FAILURES as error:
            self._hang_up()
            if _is_locked(error) or not self._stored:
                raise
        try:
            return method(self._opened(doubtful=True), *args, **kwargs)
        except _FAILURES:
            self._hang_up()
            raise

    def _opened(self, doubtful: bool = False) -> Runs:
        stored = self._stored
        if stored and stored.there and not doubtful:
            return stored
        with self._opening:
            if self._stored is not stored:  # another thread was here first
                return self._opened()
            self._leave()
            self._stored = None
            opened = self._shelves(self.directory, *self._quotas, doubtful)
            self._runs, self._saved, self._imported, self._leave, aside = opened
            if aside:
                self.warning = (
                    f"The cache in {self.directory} was found broken: {aside}. "
                    "Delete that when nothing in it is needed any more."
                )
            _, saved_limit, imported_limit = self._quotas
            self._stored = Runs(
                self._runs,
                self._saved,
                self._imported,
                saved_limit=saved_limit,
                imported_limit=imported_limit,
                bundled=self._bundled,
            )
            return self._stored

    def _fail(self, error: Exception, reads: bool) -> None:
        self._failure = error
        self._unwritten_until = time.monotonic() + SECONDS_OF_QUIET
        if reads:
            self._unread_until = self._unwritten_until
        self.warning = (
            f"The cache in {self.directory} failed ({_said(error)}), so results stay in memory for "
            f"now: {_cure(error)}, or choose another directory with DIFFGRID_CACHE."
        )

    def _hang_up(self) -> None:
        # A failed commit leaves this thread's connection inside its transaction; a new one is not.
        for shelf in (self._runs, self._saved, self._imported) if self._stored else ():
            with contextlib.suppress(*_FAILURES):
                shelf.close()


_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def _is_locked(error: Exception) -> bool:
    waited = isinstance(error, diskcache.Timeout | BlockingIOError)
    return waited or _code(error) == sqlite3.SQLITE_BUSY


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it


def _said(error: Exception) -> str:
    return "locked by another process" if _is_locked(error) else str(error) or "?"


def _cure(error: Exception) -> str:
    if _is_locked(error):
        return "end the process that holds it"
    barred = getattr(error, "errno", None) in _READ_ONLY or _code(error) == sqlite3.SQLITE_READONLY
    return "make it writable" if barred else "free disk space"
