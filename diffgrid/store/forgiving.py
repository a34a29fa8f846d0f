"""The store as the rest of diffgrid has it: what becomes of whoever asks when the disk fails.

Sampling must go on without a cache. What it needs is `_forgiven`: reads find only what is bundled,
writes are dropped, a warning says so, and for a while the disk is left alone. What people ask for
is `_told`: it raises StoreError.
"""

import contextlib
import functools
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path as Directory
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import diskcache
import platformdirs

from diffgrid.errors import OtherVersion, StoreError
from diffgrid.store.bundled import Bundled
from diffgrid.store.disk import shelves_on_disk
from diffgrid.store.runs import Runs
from diffgrid.store.shelf import Shelves

GIB = 2**30
SECONDS_OF_QUIET = 30  # after a failure; or every frame of a grid would wait for the same lock

_FAILURES = (OSError, diskcache.Timeout, sqlite3.Error)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _nothing(*_: object, **__: object) -> Any:
    return None


def _forgiven(
    method: Callable[Concatenate[Runs, _P], _T],
    otherwise: Callable[Concatenate[Bundled, _P], _T] = _nothing,
) -> Callable[Concatenate["TrajectoryStore", _P], _T]:
    """The method of a store whose failures are a warning and what is bundled, if anything is."""

    @functools.wraps(method)
    def forgiven(self: "TrajectoryStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if time.monotonic() >= self._quiet_until:
            try:
                return method(self._stored, *args, **kwargs)
            except OtherVersion:
                self._warn("holds runs of another version of diffgrid", "choose")
            except _FAILURES as error:
                self._quiet_until = time.monotonic() + SECONDS_OF_QUIET
                self._warn(f"failed ({_said(error)})", "free disk space, or choose")
                self._hang_up()
        return otherwise(self._bundled, *args, **kwargs)

    return forgiven


def _told(
    method: Callable[Concatenate[Runs, _P], _T],
) -> Callable[Concatenate["TrajectoryStore", _P], _T]:
    """The method of a store whose failures are a StoreError."""

    @functools.wraps(method)
    def told(self: "TrajectoryStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._telling():
            return method(self._stored, *args, **kwargs)

    return told


class TrajectoryStore:
    """Trajectories by key, shared by all threads and processes that name the same directory.

    `limit` and `saved_limit` are quotas in bytes. Give at least a hundred times the largest entry.
    `warning` is one sentence to show once the disk has failed. See `Runs` for the methods.

    Raises:
        StoreError: the directory cannot be made, read or written.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        limit: int = 4 * GIB,
        saved_limit: int = 4 * GIB,
        bundled: Bundled | None = None,
        shelves: Callable[[Directory, int, int], Shelves] = shelves_on_disk,
    ) -> None:
        self.directory = directory.absolute()
        self.limit = limit
        self.warning: str | None = None
        self._quiet_until = -math.inf  # monotonic seconds
        self._bundled = bundled or Bundled(None)
        with self._telling():
            self._runs, self._saved, self._leave = shelves(self.directory, limit, saved_limit)
        self._stored = Runs(self._runs, self._saved, saved_limit=saved_limit, bundled=self._bundled)

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

    get = _forgiven(Runs.get, Bundled.get)
    has = _forgiven(Runs.has, Bundled.has)
    add = _forgiven(Runs.add)
    get_partial = _forgiven(Runs.get_partial)
    put_partial = _forgiven(Runs.put_partial)
    get_frames = _forgiven(Runs.get_frames, Bundled.get_frames)
    add_frames = _forgiven(Runs.add_frames)
    get_labels = _forgiven(Runs.get_labels, Bundled.get_labels)
    add_labels = _forgiven(Runs.add_labels)

    runs = _told(Runs.runs)
    unreadable = _told(Runs.unreadable)
    find = _told(Runs.find)
    save = _told(Runs.save)
    is_saved = _told(Runs.is_saved)
    saved = _told(Runs.saved)
    unsave = _told(Runs.unsave)
    remove = _told(Runs.remove)
    verify = _told(Runs.verify)
    clear = _told(Runs.clear)
    size = _told(Runs.size)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise StoreError(
                f"cache directory {self.directory} cannot be used ({_said(error)}): make it "
                "writable, free disk space, or choose another one with DIFFGRID_CACHE."
            ) from error

    def _warn(self, what: str, do: str) -> None:
        self.warning = (
            f"The cache in {self.directory} {what}, so some results are not kept: {do} another "
            "directory with DIFFGRID_CACHE."
        )

    def _hang_up(self) -> None:
        # A failed commit leaves this thread's connection inside its transaction; a new one is not.
        for shelf in (self._runs, self._saved):
            with contextlib.suppress(*_FAILURES):
                shelf.close()


def _said(error: BaseException) -> str:
    return str(error) or (
        "locked by another process" if isinstance(error, diskcache.Timeout) else "?"
    )
