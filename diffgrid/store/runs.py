"""The store: trajectories on disk, each computed once.

Two caches, `runs` (evicts what was used longest ago) and `saved` (what people keep, with a quota of
its own). KEY is a trajectory's key; the rows are

    KEY                  the trajectory, written once
    KEY/meta             what lists show, so that they load no arrays
    KEY/frames/DIGEST    its pictures, by the digest of the decoder that drew them
    KEY/partial          a checkpoint, replaced as sampling goes on

Every value is sealed (see `envelope`). A row that is damaged, or was planted, counts as a miss and
is deleted. Sampling must go on without a cache: see `TrajectoryStore.warning`.

What both caches miss may still be among the trajectories that ship with the package (see
`shipped`). Those are read where they are; naming or saving one makes it a stored run.
"""

import contextlib
import functools
import math
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as Directory
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import diskcache
import platformdirs

from diffgrid.errors import BadInput, StoreError
from diffgrid.records.codec import seal, unseal
from diffgrid.records.trajectories import Trajectory, from_bytes, to_bytes
from diffgrid.spec.path import Path, format_path, parse_path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.run import key as key_of
from diffgrid.store.bundled import Shipped
from diffgrid.store.disk import Attendance, open_cache, sweep

GIB = 2**30
SECONDS_OF_QUIET = 30  # after a failure; or every frame of a grid would wait for the same lock

_FAILURES = (diskcache.Timeout, OSError, sqlite3.Error)
_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9A-Za-z_-]{1,64}")

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What lists show of a stored trajectory."""

    key: str
    spec: RunSpec
    path: Path
    created: float  # seconds since 1970
    size: int  # bytes of its arrays
    saved: str | None  # the name it was saved under
    has_frames: bool
    note: str = ""  # what its saver wrote beside the name
    shipped: bool = False  # it came with the package, and was not stored here


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that `verify` found damaged, and deleted."""

    cache: str
    row: str
    reason: str


def _quietly(
    method: Callable[Concatenate["TrajectoryStore", _P], _T],
) -> Callable[Concatenate["TrajectoryStore", _P], _T | None]:
    """Turn a failing cache into a miss and a warning; then leave it alone for a while."""

    @functools.wraps(method)
    def quiet(self: "TrajectoryStore", /, *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        if time.monotonic() < self._quiet_until:
            return None
        try:
            return method(self, *args, **kwargs)
        except _FAILURES as error:
            self._quiet_until = time.monotonic() + SECONDS_OF_QUIET
            self.warning = (
                f"The cache in {self.directory} failed ({_said(error)}), so some results are not "
                "kept: free disk space, or choose another directory with DIFFGRID_CACHE."
            )
            self._hang_up()
            return None

    return quiet


class TrajectoryStore:
    """Trajectories by key, shared by all threads and processes that name the same directory.

    `limit` and `saved_limit` are quotas in bytes. Give at least a hundred times the largest entry.

    What sampling needs (`get`, `add` and their like) never raises because of the disk: reads miss,
    writes are dropped, and `warning` then holds one sentence to show. The others raise StoreError.

    Raises:
        StoreError: the directory cannot be made, read or written.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        limit: int = 4 * GIB,
        saved_limit: int = 4 * GIB,
        shipped: Shipped | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.limit = limit
        self.saved_limit = saved_limit
        self.warning: str | None = None
        self._shipped = shipped
        self._quiet_until = -math.inf  # monotonic seconds
        with self._loudly():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._runs = open_cache(self.directory / "runs", size_limit=limit, evict=True)
            self._saved = open_cache(self.directory / "saved", size_limit=saved_limit, evict=False)
            self._attendance = Attendance(self.directory / "open", self._sweep)

    @classmethod
    def default(cls) -> Self:
        """The store in DIFFGRID_CACHE, or in the user's cache directory, and what ships."""
        named = os.environ.get("DIFFGRID_CACHE") or platformdirs.user_cache_dir("diffgrid")
        try:
            return cls(Directory(named).expanduser(), shipped=Shipped())
        except RuntimeError as error:  # ~somebody who has no home
            raise StoreError(
                f"cache directory {named} cannot be found: give DIFFGRID_CACHE a plain path."
            ) from error

    def close(self) -> None:
        """Leave the directory; happens by itself at exit. The store cannot be used afterwards."""
        self._attendance.leave()
        self._hang_up()

    # What sampling needs: no failure of the disk gets out.

    def get(self, key: str) -> Trajectory | None:
        """The finished trajectory, if it is stored, or ships."""
        return self._stored(key) or (self._shipped.get(key) if self._shipped else None)

    def has(self, key: str) -> bool:
        """Whether `get` would find something, unless it is damaged: no array is read."""
        ships = self._shipped is not None and key in self._shipped.keys
        return ships or bool(self._has(key))

    @_quietly
    def add(self, trajectory: Trajectory) -> None:
        """Store a finished trajectory, unless it is there; its checkpoint goes."""
        if not trajectory.done:
            raise ValueError(
                f"{trajectory.steps} of {trajectory.spec.length} steps: put_partial it"
            )
        key, value = trajectory.key, to_bytes(trajectory)
        cache = self._home(key)
        with cache.transact():
            cache.add(key, value)
            if f"{key}/meta" not in cache:
                _describe(cache, trajectory)
        self._keep_to_quota()
        # Only now, and not in the transaction: diskcache removes a row's file before the commit, so
        # that a kill in between would lose trajectory and checkpoint.
        self._runs.delete(f"{key}/partial")

    @_quietly
    def get_partial(self, key: str) -> Trajectory | None:
        """The newest checkpoint of an unfinished trajectory, if there is one."""
        return self._read(self._runs, f"{key}/partial", _open_trajectory)

    @_quietly
    def put_partial(self, trajectory: Trajectory) -> None:
        """Store a checkpoint in place of the last one."""
        self._runs.set(f"{trajectory.key}/partial", to_bytes(trajectory))
        self._keep_to_quota()

    def get_frames(self, key: str, digest: str) -> tuple[dict[str, Any], memoryview] | None:
        """Header and payload of the trajectory's pictures, as the decoder `digest` drew them."""
        if frames := self._stored_frames(key, digest):
            return frames
        if self._shipped and self._shipped.decoder == digest:
            return self._shipped.frames(key)
        return None

    @_quietly
    def add_frames(
        self, key: str, digest: str, header: Mapping[str, Any], payload: bytes | memoryview
    ) -> None:
        """Store the pictures of a stored trajectory, where it is stored."""
        self._home(key).add(_frames_row(key, digest), seal("frames", header, payload))
        self._keep_to_quota()

    def get_labels(self, key: str, probe: str) -> tuple[dict[str, Any], memoryview] | None:
        """Header and payload of what the probe `probe` saw in a trajectory's finished picture."""
        if labels := self._stored_labels(key, probe):
            return labels
        return self._shipped.labels(key, probe) if self._shipped else None

    @_quietly
    def add_labels(
        self, key: str, probe: str, header: Mapping[str, Any], payload: bytes | memoryview
    ) -> None:
        """Store what a probe saw; the trajectory itself need not be stored."""
        self._runs.set(_labels_row(key, probe), seal("labels", header, payload))
        self._keep_to_quota()

    # What people ask for: failures are told.

    def runs(self, shipped: bool = False) -> list[RunInfo]:
        """All stored trajectories, the newest first; then, if asked for, those that ship."""
        found: dict[str, RunInfo] = {}
        with self._loudly():
            for cache in (self._runs, self._saved):  # a saved run is listed as saved
                rows = _rows(cache)
                framed = {row.split("/")[0] for row in rows if "/frames/" in row}
                with cache.transact():  # one transaction: each read notes its time of use
                    for key in filter(_KEY.fullmatch, rows):
                        if info := self._info(cache, key):
                            found[key] = replace(info, has_frames=key in framed)
        listed = sorted(found.values(), key=lambda info: info.created, reverse=True)
        came_along = self._shipped.runs if shipped and self._shipped else []
        return listed + [
            RunInfo(key, spec, path, 0.0, size, None, has_frames=True, shipped=True)
            for key, spec, path, size in came_along
            if key not in found
        ]

    def find(self, prefix: str) -> str:
        """The one stored key that begins so; eight digits will do. One that ships is stored first.

        Raises:
            BadInput: no stored key does, or several do.
        """
        with self._loudly():
            rows = {row for cache in (self._runs, self._saved) for row in _rows(cache)}
        known = rows | (self._shipped.keys if self._shipped else set())
        keys = [row for row in known if _KEY.fullmatch(row) and prefix and row.startswith(prefix)]
        if len(keys) != 1:
            count = "several stored runs" if keys else "no stored run"
            hint = "give more of its digits" if keys else "`python -m diffgrid runs` lists them"
            raise BadInput(f"{count} has the key {prefix!r}: {hint}.")
        if keys[0] not in rows:
            with self._loudly():
                self._unpack(keys[0])
        return keys[0]

    def save(self, key: str, name: str, note: str | None = None) -> None:
        """Keep a stored trajectory and its frames for good; one that is saved gets the new name.

        It gets the new note too, or keeps the one it has where `note` is None.

        Raises:
            BadInput: no such trajectory is stored, the name is empty or over 200 characters, or the
                note is over 2,000.
            StoreError: the quota of saved runs is used up.
        """
        if not 0 < len(name.strip()) <= 200:
            raise BadInput(f"name {name[:60]!r} is not allowed: use 1 to 200 characters.")
        if note and len(note.strip()) > 2000:
            raise BadInput(
                f"a note of {len(note.strip()):,} characters is too long: use at most 2,000."
            )
        with self._loudly():
            trajectory = self._get(key) or self._unpack(key)
            info = self._info(self._home(key), key)
            if trajectory is None or info is None:
                raise BadInput(f"no stored run has the key {key!r}: compute it before saving it.")
            frames = [row for row in _rows(self._runs) if row.startswith(f"{key}/frames/")]
            values = {row: self._read(self._runs, row, _checked_frames) for row in frames}
            if key not in self._saved:
                values[key] = to_bytes(trajectory)
            copies = {row: value for row, value in values.items() if value is not None}
            if self._saved.volume() + sum(map(len, copies.values())) > self.saved_limit:
                raise StoreError(
                    f"saved runs would take more than {self.saved_limit:,} bytes: remove one first."
                )
            with self._saved.transact():
                for row, value in copies.items():
                    self._saved.add(row, value)
                note = info.note if note is None else note.strip()
                info = replace(info, saved=name.strip(), note=note)
                self._saved.set(f"{key}/meta", _seal_meta(info))

    def is_saved(self, key: str) -> bool:
        """Whether a trajectory is kept for good."""
        with self._loudly():
            return f"{key}/meta" in self._saved

    def saved(self, key: str) -> RunInfo | None:
        """What lists show of a trajectory that is kept for good; None for others."""
        with self._loudly():
            return self._info(self._saved, key) if f"{key}/meta" in self._saved else None

    def unsave(self, key: str) -> None:
        """Keep a saved trajectory and its frames no longer than others."""
        with self._loudly():
            trajectory = self._read(self._saved, key, _open_finished)
            rows = [r for r in _rows(self._saved) if r == key or r.startswith(f"{key}/")]
            for row in rows if trajectory else ():
                if not row.endswith("/meta") and (value := self._saved.get(row)) is not None:
                    self._runs.add(row, value)
            if trajectory:
                _describe(self._runs, trajectory)
            for row in rows:
                self._saved.delete(row)
            self._keep_to_quota()

    def remove(self, key: str) -> None:
        """Delete a trajectory, saved or not, and all that belongs to it."""
        with self._loudly():
            for cache in (self._runs, self._saved):
                for row in _rows(cache):
                    if row == key or row.startswith(f"{key}/"):
                        cache.delete(row)

    def verify(self) -> list[Damage]:
        """Read every row; delete, and report, those that are damaged or not ours."""
        damages = []
        with self._loudly():
            for name, cache in (("runs", self._runs), ("saved", self._saved)):
                for row in list(cache):
                    if reason := _damage(cache, row):
                        cache.delete(row)
                        damages.append(Damage(name, str(row), reason))
        return damages

    def clear(self) -> None:
        """Delete all that was not saved."""
        with self._loudly():
            self._runs.clear()

    def size(self) -> int:
        """Bytes on disk, saved runs included."""
        with self._loudly():
            return int(self._runs.volume() + self._saved.volume())

    # How it is done.

    @contextlib.contextmanager
    def _loudly(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise StoreError(
                f"cache directory {self.directory} cannot be used ({_said(error)}): make it "
                "writable, free disk space, or choose another one with DIFFGRID_CACHE."
            ) from error

    def _read(
        self, cache: diskcache.Cache, row: str, open_row: Callable[[str, bytes], _T]
    ) -> _T | None:
        try:
            if (value := cache.get(row)) is not None:
                return open_row(row, value)
        except BadInput:
            cache.delete(row)
            return None
        if row in cache:  # its file is gone: the row would keep `add` from ever storing it again
            cache.delete(row)
        return None

    def _get(self, key: str) -> Trajectory | None:
        trajectory = self._read(self._saved, key, _open_finished)
        if trajectory is None:
            trajectory = self._read(self._runs, key, _open_finished)
            # Reading the meta row keeps it as young as its arrays, which would outlive it.
            if trajectory and self._read(self._runs, f"{key}/meta", _open_meta) is None:
                _describe(self._runs, trajectory)
        return trajectory

    @_quietly
    def _stored(self, key: str) -> Trajectory | None:
        return self._get(key)

    @_quietly
    def _has(self, key: str) -> bool:
        return key in self._saved or key in self._runs

    @_quietly
    def _stored_frames(self, key: str, digest: str) -> tuple[dict[str, Any], memoryview] | None:
        row = _frames_row(key, digest)
        frames = self._read(self._saved, row, _open_frames)
        return frames or self._read(self._runs, row, _open_frames)

    @_quietly
    def _stored_labels(self, key: str, probe: str) -> tuple[dict[str, Any], memoryview] | None:
        return self._read(self._runs, _labels_row(key, probe), _open_labels)

    def _unpack(self, key: str) -> Trajectory | None:
        """Store a trajectory that ships, and its frames, as if it had been sampled."""
        if not (self._shipped and (trajectory := self._shipped.get(key))):
            return None
        self._runs.add(key, to_bytes(trajectory))
        _describe(self._runs, trajectory)
        if frames := self._shipped.frames(key):
            self._runs.add(_frames_row(key, self._shipped.decoder), seal("frames", *frames))
        return trajectory

    def _home(self, key: str) -> diskcache.Cache:
        # By the meta row: a saved run whose arrays were found damaged is saved again when computed.
        return self._saved if f"{key}/meta" in self._saved else self._runs

    def _info(self, cache: diskcache.Cache, key: str) -> RunInfo | None:
        info = self._read(cache, f"{key}/meta", _open_meta)
        if info is None and (trajectory := self._read(cache, key, _open_finished)):
            # Evicted or damaged: its arrays say the same, but for the name.
            return _describe(cache, trajectory, key[:8] if cache is self._saved else None)
        return info

    def _keep_to_quota(self) -> None:
        # A write evicts one row, which is too little when large values follow small ones.
        if self._runs.volume() > 1.1 * self.limit:
            self._runs.cull()

    def _sweep(self) -> None:
        sweep(self._runs)
        sweep(self._saved)

    def _hang_up(self) -> None:
        # A failed commit leaves this thread's connection inside its transaction; a new one is not.
        for cache in (self._runs, self._saved):
            with contextlib.suppress(sqlite3.Error):
                cache.close()


def _rows(cache: diskcache.Cache) -> list[str]:
    return [row for row in cache if isinstance(row, str)]


def _frames_row(key: str, digest: str) -> str:
    return f"{key}/frames/{_digest(digest)}"


def _labels_row(key: str, probe: str) -> str:
    return f"{key}/labels/{_digest(probe)}"


def _digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is up to 64 letters and digits, not {digest!r}")
    return digest


def _open_trajectory(row: str, value: bytes) -> Trajectory:
    trajectory = from_bytes(value)
    if trajectory.key != row.split("/")[0]:
        raise BadInput("the trajectory is stored under another one's key.")
    return trajectory


def _open_finished(row: str, value: bytes) -> Trajectory:
    trajectory = _open_trajectory(row, value)
    if not trajectory.done:
        raise BadInput("an unfinished trajectory is stored as a finished one.")
    return trajectory


def _open_frames(row: str, value: bytes) -> tuple[dict[str, Any], memoryview]:
    return unseal("frames", value)


def _open_labels(row: str, value: bytes) -> tuple[dict[str, Any], memoryview]:
    return unseal("labels", value)


def _describe(cache: diskcache.Cache, trajectory: Trajectory, name: str | None = None) -> RunInfo:
    """Write the meta row of a trajectory."""
    info = RunInfo(
        key=trajectory.key,
        spec=trajectory.spec,
        path=trajectory.path,
        created=time.time(),
        size=trajectory.latents.nbytes + trajectory.model_outputs.nbytes,
        saved=name,
        has_frames=False,
    )
    cache.set(f"{info.key}/meta", _seal_meta(info))
    return info


def _checked_frames(row: str, value: bytes) -> bytes:
    _open_frames(row, value)
    return value


def _seal_meta(info: RunInfo) -> bytes:
    return seal(
        "meta",
        {
            "specification": info.spec.to_dict(),
            "path": format_path(info.path),
            "created": info.created,
            "size": info.size,
            "saved": info.saved,
            "note": info.note,
        },
    )


def _open_meta(row: str, value: bytes) -> RunInfo:
    header, _ = unseal("meta", value)
    match header:
        case {
            "specification": dict(specification),
            "path": str(path),
            "created": float(created),
            "size": int(size),
            "saved": None | str() as saved,
        }:
            spec, forks, key = RunSpec.from_dict(specification), parse_path(path), row.split("/")[0]
            # Rows written before there were notes have none.
            if key_of(spec, forks) == key and isinstance(note := header.get("note", ""), str):
                return RunInfo(key, spec, forks, created, size, saved, has_frames=False, note=note)
    raise BadInput("the description belongs to another trajectory.")


def _damage(cache: diskcache.Cache, row: Any) -> str | None:
    """What is wrong with a row, if anything is."""
    key, _, kind = str(row).partition("/")
    openers: dict[str, Callable[[str, bytes], object]] = {
        "": _open_finished,
        "meta": _open_meta,
        "partial": _open_trajectory,
        "frames": _open_frames,
        "labels": _open_labels,
    }
    opener = openers.get(kind.split("/")[0])
    if opener is None or not isinstance(row, str) or not _KEY.fullmatch(key):
        return "the row is not one of diffgrid's."
    try:
        value = cache.get(row)
        if value is not None:
            opener(row, value)
        elif row in cache:  # or somebody deleted it meanwhile
            return "the row's file is missing."
    except BadInput as error:
        return str(error)
    return None


def _said(error: BaseException) -> str:
    return str(error) or (
        "locked by another process" if isinstance(error, diskcache.Timeout) else "?"
    )
