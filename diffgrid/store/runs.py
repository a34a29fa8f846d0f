"""The runs that are stored: which rows they have, on which of three shelves.

One shelf evicts what was used longest ago, one holds what people keep, and one what was computed
elsewhere and imported; these two have quotas of their own. What is imported is listed and looked
at, but it is never what `get` finds: it takes no place of what this machine computes.

KEY is a trajectory's key; the rows are

    KEY                  the trajectory, written once
    KEY/meta             what lists show, so that they load no arrays
    KEY/frames/DIGEST    its pictures, by the digest of the decoder that drew them
    KEY/labels/PROBE     what a probe saw in its finished picture, by the digest of the probe
    KEY/partial          a checkpoint, replaced as sampling goes on
    PHOTO/photo          a picture that runs begin with, by the digest of its pixels; a PNG
    ROW/v1               this version's own ROW, where ROW itself is another version's

Every value is sealed (see `records.codec`). A row that cannot be read counts as a miss. Where it is
damaged, or was planted, it is deleted; but not a saved or an imported one, which stays until its
like is written again, nor a row of another version, which that version can read. Such runs are
listed apart (`Runs.unreadable`), and go when somebody removes them, or by the quota.

What is not stored may still be bundled with the package (see `bundled`). That is read where it is;
naming or saving it makes it a stored run.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from diffgrid.errors import BadInput, Damaged, OtherVersion, StoreError
from diffgrid.records import codec
from diffgrid.records.codec import Unsealed, seal, unseal
from diffgrid.records.frames import DIGESTS, OLDER_DIGESTS
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory, from_bytes, run_named, to_bytes
from diffgrid.spec.path import Path, format_path
from diffgrid.spec.run import RunSpec
from diffgrid.store.bundled import Bundled
from diffgrid.store.shelf import Shelf

_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9A-Za-z_-]{1,64}")
_T = TypeVar("_T")
_Stamps = tuple[object, object]
# The rows of pictures that come with a run, by how x̂0 was decoded. What the full VAE lost nothing
# of is the full VAE's.
_WAYS = {**DIGESTS, **OLDER_DIGESTS, "exact": DIGESTS["vae"]}


@dataclass(frozen=True, slots=True)
class Imported:
    """Where a run comes from that was computed elsewhere; nothing of it was computed anew."""

    when: float  # it was imported; seconds since 1970
    by: str = ""  # the version of diffgrid that wrote its file; empty where that is lost
    made: str = ""  # where the file says that it was made
    name: str = ""  # what it is called there

    @property
    def source(self) -> str:
        """What lists say of it."""
        return f"diffgrid {self.by}" if self.by else "origin lost"


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
    made: str = ""  # where its trajectory says that it was made
    bundled: bool = False  # it came with the package, and was not stored here
    computed: bool = True  # or bundled; else there is only what was imported
    imported: Imported | None = None  # of the copy that was imported, if there is one


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored run that this version cannot read, and what can be said of it all the same."""

    key: str
    reason: str  # why it cannot be read: "damaged" or "made by another version of diffgrid"
    saved: bool
    name: str | None  # the name it was saved under
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that `verify` found damaged, and deleted unless it was saved or imported."""

    cache: str  # "runs", "saved" or "imported"
    row: str
    reason: str


class Runs:
    """Trajectories by key, on three shelves; what the shelves raise, it raises.

    `saved_limit` and `imported_limit` are the quotas of what is saved and imported, in bytes.
    """

    def __init__(
        self,
        runs: Shelf,
        saved: Shelf,
        imported: Shelf,
        *,
        saved_limit: int = 0,
        imported_limit: int = 0,
        bundled: Bundled | None = None,
    ) -> None:
        self._runs, self._saved, self._imported = runs, saved, imported
        self._saved_limit, self._imported_limit = saved_limit, imported_limit
        self._bundled = bundled or Bundled(None)
        self._unreadable: set[tuple[Shelf, str]] = set()  # keys of arrays that were left alone
        # What lists showed last, by shelf and key, and the stamps of the rows that said so.
        self._listed: dict[Shelf, dict[str, tuple[_Stamps, RunInfo]]] = {}

    @property
    def there(self) -> bool:
        """Whether all shelves are still the ones that were opened."""
        return self._runs.there and self._saved.there and self._imported.there

    def take_in(self, shelf: Shelf) -> None:
        """Store what was kept on another shelf meanwhile; it is gone from there."""
        for row in shelf:
            if (value := shelf.look(row)) is not None:
                with contextlib.suppress(OtherVersion):
                    self._write(self._runs, row, value, replacing=row.endswith("/partial"))
            shelf.delete(row)

    # What sampling needs.

    def get(self, key: str) -> Trajectory | None:
        """The finished trajectory, if it is stored or bundled."""
        if trajectory := self._read(self._saved, key, _open_finished):
            return trajectory
        trajectory = self._read(self._runs, key, _open_finished)
        # Reading the meta row keeps it as young as its arrays, which would outlive it.
        if trajectory and self._read(self._runs, f"{key}/meta", _open_meta) is None:
            self._describe(self._runs, trajectory)
        return trajectory or self._bundled.get(key)

    def has(self, key: str) -> bool:
        """Whether `get` would find something, unless it is damaged: no array is read."""
        for shelf in (self._saved, self._runs):
            row = _beside(key) if (shelf, key) in self._unreadable else key
            if row in shelf and (shelf, row) not in self._unreadable:
                return True
        return self._bundled.has(key)

    def add(self, trajectory: Trajectory) -> None:
        """Store a finished trajectory, unless it is there; its checkpoint goes."""
        if not trajectory.done:
            raise ValueError(
                f"{trajectory.steps} of {trajectory.spec.length} steps: put_partial it"
            )
        shelf = self._home(trajectory.key)
        with shelf.transact():
            self._write(shelf, trajectory.key, to_bytes(trajectory))
            self._describe(shelf, trajectory)
        # Only now, and not in the transaction: diskcache removes a row's file before the commit, so
        # that a kill in between would lose trajectory and checkpoint.
        checkpoint, _ = self._place(self._runs, f"{trajectory.key}/partial")
        self._runs.delete(checkpoint)

    def get_partial(self, key: str) -> Trajectory | None:
        """The newest checkpoint of an unfinished trajectory, if there is one."""
        return self._read(self._runs, f"{key}/partial", _open_trajectory)

    def put_partial(self, trajectory: Trajectory) -> None:
        """Store a checkpoint in place of the last one."""
        row = f"{trajectory.key}/partial"
        self._write(self._runs, row, to_bytes(trajectory), replacing=True)

    def get_frames(self, key: str, digest: str) -> Unsealed | None:
        """Header and payload of the trajectory's pictures, as the decoder `digest` drew them."""
        row = _row(key, "frames", digest)
        frames = self._read(self._saved, row, _open_sealed)
        frames = frames or self._read(self._runs, row, _open_sealed)
        return frames or self._bundled.get_frames(key, digest)

    def add_frames(
        self, key: str, digest: str, header: Mapping[str, Any], payload: bytes | memoryview
    ) -> None:
        """Store the pictures of a stored trajectory, where it is stored."""
        self._write(self._home(key), _row(key, "frames", digest), seal("frames", header, payload))

    def get_labels(self, key: str, probe: str) -> Unsealed | None:
        """Header and payload of what the probe `probe` saw in a trajectory's finished picture."""
        labels = self._read(self._runs, _row(key, "labels", probe), _open_sealed)
        return labels or self._bundled.get_labels(key, probe)

    def add_labels(
        self, key: str, probe: str, header: Mapping[str, Any], payload: bytes | memoryview
    ) -> None:
        """Store what a probe saw; the trajectory itself need not be stored."""
        row, value = _row(key, "labels", probe), seal("labels", header, payload)
        self._write(self._runs, row, value, replacing=True)

    def get_photo(self, digest: str) -> bytes | None:
        """The picture that this digest names, if it is stored: a PNG, not yet looked at."""
        row = f"{digest}/photo"
        kept = self._read(self._saved, row, _open_sealed)
        kept = kept or self._read(self._runs, row, _open_sealed)
        return bytes(kept[1]) if kept else None

    def add_photo(self, digest: str, png: bytes) -> None:
        """Store a picture to begin with, beside the runs, which may be evicted."""
        self._write(self._runs, f"{digest}/photo", seal("photo", {}, png))

    # What people ask for.

    def runs(self, bundled: bool = False) -> list[RunInfo]:
        """All stored trajectories, the newest first; then, if asked for, those that are bundled.

        Each once: one that is stored and imported as what is stored, with a word of the other.
        """
        found = self._list(self._runs) | self._list(self._saved)  # a saved one is listed as saved
        imported = self._list(self._imported)
        shipped = [
            RunInfo(key, spec, path, 0.0, size, None, has_frames=True, bundled=True)
            for key, spec, path, size in (self._bundled.runs if bundled else ())
            if key not in found
        ]
        came = {key: info.imported for key, info in imported.items()}
        alone = imported.keys() - found.keys() - {info.key for info in shipped}
        found |= {key: imported[key] for key in alone}
        listed = sorted(found.values(), key=lambda info: info.created, reverse=True)
        return [
            replace(info, imported=came[info.key]) if info.key in came else info
            for info in (*listed, *shipped)
        ]

    def _list(self, shelf: Shelf) -> dict[str, RunInfo]:
        """What a list shows of the runs on one shelf, by key."""
        rows = dict(shelf.stamps())
        framed = {row.split("/")[0] for row in rows if "/frames/" in row}
        before, now = self._listed.get(shelf, {}), dict[str, tuple[_Stamps, RunInfo]]()
        for key in _keys(rows, shelf is not self._runs):
            # Reading ten thousand descriptions takes seconds, on each drawing of a list.
            stamps = rows.get(row := f"{key}/meta"), rows.get(_beside(row))
            known, info = before.get(key, (None, None))
            if known != stamps or info is None or info.has_frames != (key in framed):
                info = self._info(shelf, key)
                info = info and replace(info, has_frames=key in framed)
            if info:
                now[key] = stamps, info
        self._listed[shelf] = now
        return {key: info for key, (_, info) in now.items()}

    def unreadable(self, listed: Iterable[RunInfo]) -> list[Unreadable]:
        """What is stored besides these runs, and cannot be read: the saved ones first.

        A copy that can be read, computed again or imported, hides none of them.
        """
        listed, found = list(listed), dict[str, Unreadable]()
        for shelf, known in (
            (self._saved, {info.key for info in listed if info.saved is not None}),
            (self._imported, {info.key for info in listed if info.imported}),
            (self._runs, {info.key for info in listed}),
        ):
            for key in sorted(_keys(shelf, shelf is not self._runs) - known - found.keys()):
                if self._info(shelf, key) is None:  # it may have been written just now
                    name, prompt = self._words(shelf, key)
                    other = any(self._is_foreign(shelf, row) for row in (key, f"{key}/meta"))
                    reason = "made by another version of diffgrid" if other else "damaged"
                    saved = shelf is self._saved
                    found[key] = Unreadable(key, reason, saved, name, prompt)
        return list(found.values())

    def find(self, prefix: str) -> str:
        """The one stored key that begins so; eight digits will do. A bundled one is stored first.

        Raises:
            BadInput: no stored key does, or several do.
        """
        stored = _keys(self._runs) | _keys(self._saved, kept=True)
        known = stored | _keys(self._imported, kept=True) | self._bundled.keys
        keys = [key for key in known if prefix and key.startswith(prefix)]
        if len(keys) != 1:
            count = "several stored runs" if keys else "no stored run"
            hint = "give more of its digits" if keys else "`python -m diffgrid runs` lists them"
            raise BadInput(f"{count} has the key {prefix!r}: {hint}.")
        if keys[0] not in stored:
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
        if key not in self._runs and key not in self._saved:
            self._unpack(key)
        trajectory, info = self.get(key), self._info(self._home(key), key)
        if trajectory is None and key in self._imported:
            raise BadInput(
                f"run {key[:8]} was imported, and stays until it is removed: compute it here "
                "before saving it as your own."
            )
        if trajectory is None or info is None:
            raise BadInput(f"no stored run has the key {key!r}: compute it before saving it.")
        copies = {
            row: seal("frames", *frames)
            for row in _rows_of(self._runs, f"{key}/frames")
            if (frames := self._read(self._runs, row, _open_sealed))
        }
        row = f"{trajectory.spec.photo}/photo"
        if row not in self._saved and (photo := self._read(self._runs, row, _open_sealed)):
            copies[row] = seal("photo", *photo)
        if self._read(self._saved, key, _open_finished) is None:
            copies[key] = to_bytes(trajectory)
        if self._saved.volume() + sum(map(len, copies.values())) > self._saved_limit:
            raise StoreError(
                f"saved runs would take more than {self._saved_limit:,} bytes: remove one first."
            )
        note = info.note if note is None else note.strip()
        with self._saved.transact():
            for row, value in copies.items():
                self._write(self._saved, row, value)
            info = replace(info, saved=name.strip(), note=note)
            self._write(self._saved, f"{key}/meta", _seal_meta(info), replacing=True)

    def is_saved(self, key: str) -> bool:
        """Whether a trajectory is kept for good."""
        return f"{key}/meta" in self._saved

    def is_kept(self, key: str) -> bool:
        """Whether a trajectory is there whoever came: it is kept for good, or was bundled."""
        return self.is_saved(key) or self._bundled.has(key)

    def saved(self, key: str) -> RunInfo | None:
        """What lists show of a trajectory that is kept for good; None for others."""
        return self._info(self._saved, key) if self.is_saved(key) else None

    def unsave(self, key: str) -> None:
        """Keep a saved trajectory and its frames no longer than others."""
        trajectory = self._read(self._saved, key, _open_finished)
        rows = _rows_of(self._saved, key)
        for row in rows:
            with contextlib.suppress(Damaged):  # its bytes are gone
                if not row.endswith("/meta") and (value := self._saved.get(row)) is not None:
                    foreign = self._is_foreign(self._saved, row)
                    (self._runs.add if foreign else partial(self._write, self._runs))(row, value)
        if trajectory:
            self._runs.delete(f"{key}/meta")
            self._describe(self._runs, trajectory)
        for row in rows:
            self._saved.delete(row)
        self._let_photos_go()

    def add_imported(self, runs: Iterable[SharedRun], by: str) -> list[str]:
        """Keep runs that were computed elsewhere; the keys of those that were not there yet.

        All are kept, or none. `by` is the version of diffgrid that wrote their file.

        Raises:
            StoreError: the quota of imported runs is used up.
        """
        keys = [run.trajectory.key for run in runs]
        new = [key for key in keys if self.get_imported(key) is None]
        lacking = (_imported_rows(run, by) for run in runs if run.trajectory.key in new)
        needed = sum(len(value) for rows in lacking for value in rows.values())
        if self._imported.volume() + needed > self._imported_limit:
            raise StoreError(
                f"imported runs would take more than {self._imported_limit:,} bytes: remove one "
                "first."
            )
        with self._imported.transact():
            for run in runs:
                if run.trajectory.key in new:
                    for row, value in _imported_rows(run, by).items():
                        self._write(self._imported, row, value, replacing=True)
        return new

    def get_imported(self, key: str) -> Trajectory | None:
        """The trajectory as it was imported, to be looked at: nothing is to be computed from it."""
        return self._read(self._imported, key, _open_finished)

    def get_imported_frames(self, key: str, digest: str) -> Unsealed | None:
        """As `get_frames`, of what was imported."""
        return self._read(self._imported, _row(key, "frames", digest), _open_sealed)

    def remove(self, key: str, *, unreadable: bool = False) -> None:
        """Delete the run that lists show under this key, with its copies and a photo of its own.

        Or, `unreadable`, what is stored of it that this version cannot read, and that alone.
        """
        photos = set[str]()
        for shelf in (self._runs, self._saved, self._imported):
            info = self._info(shelf, key)
            if (info is None) == unreadable or (shelf is self._runs and not unreadable):
                photos |= {info.spec.photo} if info else set()
                for row in _rows_of(shelf, key):
                    shelf.delete(row)
        self._let_photos_go()
        used = {info.spec.photo for info in self.runs()}
        for photo in filter(None, photos - used):
            self._runs.delete(f"{photo}/photo")

    def _let_photos_go(self) -> None:
        """Keep no longer than others what no saved run begins with; one that cannot be read may."""
        with self._saved.transact():  # or another process saves what begins with one meanwhile
            kept = _keys(self._saved, kept=True)
            infos = [self._info(self._saved, key) for key in kept]
            if None in infos:
                return
            used = {f"{info.spec.photo}/photo" for info in infos if info}
            for row in [row for row in self._saved if row.endswith("/photo") and row not in used]:
                with contextlib.suppress(Damaged, OtherVersion):
                    if (value := self._saved.get(row)) is not None:
                        self._write(self._runs, row, value)
                self._saved.delete(row)

    def verify(self) -> list[Damage]:
        """Read every row; report those that are damaged or not ours. Of these, only rows that are
        neither saved nor imported are deleted.

        Rows of another version are neither damaged nor ours.
        """
        damages = []
        shelves = {"runs": self._runs, "saved": self._saved, "imported": self._imported}
        for name, shelf in shelves.items():
            for row in list(shelf):
                try:
                    if (value := shelf.get(row)) is not None:
                        _opener(row)(row, value)
                except OtherVersion:
                    continue
                except Damaged as error:
                    damages.append(Damage(name, row, str(error)))
                    if shelf is self._runs:
                        shelf.delete(row)
        return damages

    def clear(self) -> None:
        """Delete all that was neither saved nor imported."""
        self._runs.clear()

    def size(self) -> int:
        """Bytes that are stored, saved and imported runs included."""
        return self._runs.volume() + self._saved.volume() + self._imported.volume()

    # How it is done.

    def _home(self, key: str) -> Shelf:
        # By the meta row: a saved run whose arrays were found damaged is saved again when computed.
        return self._saved if self.is_saved(key) else self._runs

    def _read(
        self, shelf: Shelf, row: str, open_row: Callable[[str, bytes], _T], used: bool = True
    ) -> _T | None:
        """What is in a row; None where it cannot be read, and it is deleted if it may be."""
        try:
            value = shelf.get(row) if used else shelf.look(row)
            return None if value is None else open_row(row, value)
        except Damaged:
            if shelf is self._runs:
                shelf.delete(row)
            else:
                self._unreadable.add((shelf, row))
        except OtherVersion:
            self._unreadable.add((shelf, row))
            if row != _beside(row):
                return self._read(shelf, _beside(row), open_row, used)
        return None

    def _place(self, shelf: Shelf, row: str) -> tuple[str, bool]:
        """Where this version writes such a row, and whether a whole one is there.

        Raises:
            OtherVersion: a third version has it too.
        """
        try:
            if (value := shelf.look(row)) is not None:
                _opener(row)(row, value)
            return row, value is not None
        except Damaged:
            return row, False
        except OtherVersion:
            if row == _beside(row):
                raise
            return self._place(shelf, _beside(row))

    def _write(self, shelf: Shelf, row: str, value: bytes, replacing: bool = False) -> None:
        """Write a row, unless it is there and whole; in its place, where it is to be replaced."""
        row, whole = self._place(shelf, row)
        if replacing or not whole:
            shelf.set(row, value)
        self._unreadable.discard((shelf, row))

    def _describe(self, shelf: Shelf, trajectory: Trajectory, name: str | None = None) -> RunInfo:
        """Write the meta row of a trajectory, unless there is one."""
        info = RunInfo(
            key=trajectory.key,
            spec=trajectory.spec,
            path=trajectory.path,
            created=time.time(),
            size=trajectory.latents.nbytes + trajectory.model_outputs.nbytes,
            saved=name,
            has_frames=False,
            made=trajectory.made,
        )
        if shelf is self._runs:
            self._write(shelf, f"{info.key}/meta", _seal_meta(info))
        else:  # the name in a damaged one may still be read by somebody
            shelf.add(f"{info.key}/meta", _seal_meta(info))
        return info

    def _info(self, shelf: Shelf, key: str) -> RunInfo | None:
        info = self._read(shelf, f"{key}/meta", _open_meta, used=False)
        if info is None and (trajectory := self._read(shelf, key, _open_finished)):
            # Evicted or damaged: its arrays say the same, but for the name.
            name = key[:8] if shelf is self._saved else None
            info = self._describe(shelf, trajectory, name)
        if info and shelf is self._imported:  # whatever the row says of itself
            came = info.imported or Imported(info.created, made=info.made)
            return replace(info, saved=None, computed=False, imported=came)
        return info

    def _words(self, shelf: Shelf, key: str) -> tuple[str | None, str | None]:
        """Name and prompt of a run whose description means nothing more to this version."""
        header: dict[str, Any] = {}
        with contextlib.suppress(Damaged, OtherVersion):
            header, _ = unseal("meta", shelf.look(f"{key}/meta") or b"")
        match header:
            case {"saved": str() | None as name, "specification": {"prompt": str(prompt)}}:
                return name, prompt
        return None, None

    def _is_foreign(self, shelf: Shelf, row: str) -> bool:
        """Whether a row is another version's."""
        try:
            _opener(row)(row, shelf.look(row) or b"")
        except Damaged:
            return False
        except OtherVersion:
            return True
        return False

    def _unpack(self, key: str) -> None:
        """Store a trajectory that is bundled, if it is, and its frames, as if it were sampled."""
        if trajectory := self._bundled.get(key):
            self.add(trajectory)
            digest = self._bundled.decoder
            if frames := self._bundled.get_frames(key, digest):
                self.add_frames(key, digest, *frames)


def _keys(rows: Iterable[str], kept: bool = False) -> set[str]:
    """The keys of runs among these rows; what is kept is one whatever is left of it.

    Elsewhere labels and checkpoints stand alone, and photos everywhere.
    """
    names = (row.partition("/") for row in rows)
    return {
        key
        for key, _, kind in names
        if _KEY.fullmatch(key) and (kept or not kind) and not kind.startswith("photo")
    }


def _beside(row: str) -> str:
    """Where this version has what another version has under that name, or under this one."""
    own = f"/v{codec.LAYOUT}"
    return row.removesuffix(own) + own


def _rows_of(shelf: Shelf, key: str) -> list[str]:
    return [row for row in shelf if row == key or row.startswith(f"{key}/")]


def _row(key: str, kind: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is up to 64 letters and digits, not {digest!r}")
    return f"{key}/{kind}/{digest}"


def _imported_rows(run: SharedRun, by: str) -> dict[str, bytes]:
    """The rows of a run that came in a file by this version of diffgrid."""
    made, now = run.trajectory, time.time()
    info = RunInfo(
        key=made.key,
        spec=made.spec,
        path=made.path,
        created=now,
        size=made.latents.nbytes + made.model_outputs.nbytes,
        saved=None,
        has_frames=True,
        note=run.note,
        made=made.made,
        computed=False,
        imported=Imported(now, by, made.made, run.name),
    )
    pictures = seal("frames", *run.frames.to_payload())
    return {
        info.key: to_bytes(made),
        _row(info.key, "frames", _WAYS[run.frames.decoding.way]): pictures,
        f"{info.key}/meta": _seal_meta(info),
    }


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
            **({"made": info.made} if info.made else {}),
            **({"imported": _came(info.imported)} if info.imported else {}),
        },
    )


def _came(imported: Imported) -> dict[str, str]:
    return {"by": imported.by, "name": imported.name}


# How the rows are read: from a row's name and value.


def _open_trajectory(row: str, value: bytes) -> Trajectory:
    return from_bytes(value, row.split("/")[0])


def _open_finished(row: str, value: bytes) -> Trajectory:
    trajectory = _open_trajectory(row, value)
    if not trajectory.done:
        raise Damaged("an unfinished trajectory is stored as a finished one.")
    return trajectory


def _open_sealed(row: str, value: bytes) -> Unsealed:
    return unseal(row.split("/")[1], value)


def _open_meta(row: str, value: bytes) -> RunInfo:
    header, _ = unseal("meta", value)
    match {"note": "", "made": "", **header}:  # which older rows lack
        case {
            "specification": dict(specification),
            "path": str(path),
            "created": float(created),
            "size": int(size),
            "saved": None | str() as saved,
            "note": str(note),
            "made": str(made),
        }:
            key, imported = row.split("/")[0], None
            match header:
                case {"imported": {"by": str(by), "name": str(name)}}:
                    imported = Imported(created, by, made, name)
            spec, forks = run_named(specification, path, key)
            return RunInfo(
                key, spec, forks, created, size, saved, False, note, made, imported=imported
            )
    raise Damaged("the description lacks a field.")


def _open_unknown(row: str, value: bytes) -> None:
    if _KEY.fullmatch(row.split("/")[0]):
        raise OtherVersion("a row that this version of diffgrid does not know.")
    raise Damaged("the row is not one of diffgrid's.")


_OPENERS: dict[str, Callable[[str, bytes], object]] = {
    "": _open_finished,
    "meta": _open_meta,
    "frames": _open_sealed,
    "labels": _open_sealed,
    "partial": _open_trajectory,
    "photo": _open_sealed,
}


def _opener(row: str) -> Callable[[str, bytes], object]:
    key, _, kind = row.removesuffix(f"/v{codec.LAYOUT}").partition("/")
    return _OPENERS.get(kind.split("/")[0], _open_unknown) if _KEY.fullmatch(key) else _open_unknown
