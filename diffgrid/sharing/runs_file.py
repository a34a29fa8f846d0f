"""Runs in one file, `x.diffgrid`: to be looked at and compared elsewhere, with no model there.

It is one safetensors file. Run N, counted from 0, is

    N.latents         (T+1, C, H, W) float32, x_t before each step and after the last
    N.model_outputs   (T, C, H, W) float32, guided
    N.timesteps       (T,) float64, and N.alphas, N.sigmas (T+1,) float64
    N.pictures        uint8, encoded, end to end: x̂0 before each step, and the finished picture

and what it is stands in the header, where `__metadata__` holds one text, `diffgrid`, JSON:

    {"schema": 1, "diffgrid": VERSION, "specifications": [RunSpec.to_dict(), …], "runs": [
        {"specification": INDEX, "path": "5.2", "prediction_type": "epsilon", "made": WHERE,
         "name": "", "note": "",
         "pictures": {"way": "vae", "x0": [LENGTH, …], "final": LENGTH}}, …]}

Runs of one grid share a specification, which has a thousand betas. Pictures belong to it: arrays
show nothing where the model is not, and they are a tenth of what arrays take. No key is in it: keys
are computed anew. No path is, either: a model goes by its name.

A file may be anybody's. Its header is read here, and all that it says is checked before an array
is: nobody's library meets it. What is wrong is one sentence.
"""

import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path as File
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from diffgrid.errors import BadInput, DiffgridError, OtherVersion
from diffgrid.models.hub_list import find_hub_model
from diffgrid.models.registry import named
from diffgrid.records.frames import DIGESTS, OLDER_DIGESTS, Frames, check_picture
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import SAFETENSORS_NAMES, Layout, Trajectory, array_layout
from diffgrid.spec.checks import check_real, check_text, shown
from diffgrid.spec.path import Path, check_path, format_path, parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import limit_of, sigma_data_of
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames
from diffgrid.version import __version__

SUFFIX = ".diffgrid"
SCHEMA = 1
MOST_RUNS = 1_000
LONGEST_HEADER = 2**22  # bytes; a thousand runs take half of it, and a specification some 15,000
MOST_BYTES = 2**32  # of a file
_LONGEST_SPECIFICATION = 2**18  # bytes of JSON; it is stored in headers of at most 2**20
_LONGEST_TEXT = {"made": 500, "name": 200, "note": 2_000}  # characters
_WAYS = {*DIGESTS, *OLDER_DIGESTS, "exact"}
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_MODEL = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # as catalogues name them; the hub's with a slash
_BYTES = np.dtype(np.uint8)
_NAMES = {**SAFETENSORS_NAMES, _BYTES: "U8"}
_PREFIX = 8  # bytes of the header's length

Source = bytes | str | File


class SharedRuns(Sized, Iterable[SharedRun], Protocol):
    """Runs that can be gone through more than once: a list, or what reads each anew."""


# Out.


class Stored:
    """Runs of a store, each read when its turn comes: they may take more than there is memory.

    Iterating raises:
        BadInput: one is imported, or has no pictures; StoreError: it is no longer stored whole.
    """

    def __init__(self, store: TrajectoryStore, keys: Iterable[str]) -> None:
        self._store, self._keys = store, list(dict.fromkeys(keys))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[SharedRun]:
        return map(self._read, self._keys)

    def _read(self, key: str) -> SharedRun:
        trajectory, saved = self._store.get(key), self._store.saved(key)
        if trajectory is None:
            came = self._store.get_imported(key) is not None
            why = "was imported: pass on the file that it came in" if came else "is not stored here"
            raise BadInput(f"run {key[:8]} cannot be exported, as it {why}.")
        frames = stored_frames(self._store, key)
        if frames is None or len(frames.x0) != trajectory.steps:
            raise BadInput(
                f"run {key[:8]} cannot be exported without its pictures, which are no longer "
                "stored: draw its grid or strip once more."
            )
        name, note = (saved.saved or "", saved.note) if saved else ("", "")
        return SharedRun(trajectory, frames, name, note)


def write(file: str | File, runs: SharedRuns) -> int:
    """Write runs to a file, whole or not at all; its size in bytes. They are gone through twice.

    Raises:
        BadInput: the file cannot be written, or a run cannot be in one.
    """
    target = File(file)
    beside = target.parent / f".{target.name[:200]}.{os.getpid()}"
    try:
        if target.exists() and not target.is_file():  # /dev/stdout, say
            with target.open("wb") as out:
                return _write(out, runs)
        with beside.open("wb") as out:
            size = _write(out, runs)
        beside.replace(target)
    except OSError as error:
        raise BadInput(
            f"file {shown(str(target))} cannot be written ({error.strerror}): choose another file."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return size


def to_bytes(runs: SharedRuns) -> bytes:
    """The same file as bytes."""
    out = io.BytesIO()
    _write(out, runs)
    return out.getvalue()


def _write(out: BinaryIO, runs: SharedRuns) -> int:
    if not 0 < len(runs) <= MOST_RUNS:
        raise BadInput(f"{len(runs):,} runs cannot be in a file: choose 1 to {MOST_RUNS:,}.")
    layouts, header = _describe(runs)
    size = out.write(len(header).to_bytes(_PREFIX, "little") + header)
    for run, layout in zip(runs, layouts, strict=True):
        arrays = {**vars(run.trajectory), "pictures": _pictures(run)}
        for name, (dtype, shape) in layout.items():
            if arrays[name].shape != shape:
                raise BadInput(f"run {run.trajectory.key[:8]} changed meanwhile: export it again.")
            size += out.write(np.ascontiguousarray(arrays[name], dtype).data.cast("B"))
    return size


def _describe(runs: SharedRuns) -> tuple[list[Layout], bytes]:
    """The arrays of each run, and the header that tells where they will lie."""
    catalogue = {model.name for model in named()}
    layouts, told, table, end = list[Layout](), list[dict[str, Any]](), dict[str, Any](), 0
    specifications: dict[RunSpec, int] = {}
    for number, run in enumerate(runs):
        made, frames = run.trajectory, run.frames
        try:
            _check_numbers(made)
        except BadInput as error:
            raise BadInput(f"run {made.key[:8]} cannot be exported: {error}.") from error
        spec = made.spec
        if spec.model not in catalogue and not find_hub_model(spec.model):
            spec = replace(spec, model=_last_part(spec.model))
        lengths, _ = frames.to_payload()
        told.append(
            {
                "specification": specifications.setdefault(spec, len(specifications)),
                "path": format_path(made.path),
                "prediction_type": made.prediction_type,
                "made": made.made,
                "name": run.name,
                "note": run.note,
                "pictures": {"way": frames.decoding.way, **lengths},
            }
        )
        layout = array_layout(made.spec.length, made.steps, made.model_outputs.shape[1:])
        layouts.append({**layout, "pictures": (_BYTES, _pictures(run).shape)})
        for name, (dtype, shape) in layouts[-1].items():
            begin, end = end, end + dtype.itemsize * math.prod(shape)
            place = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [begin, end]}
            table[f"{number}.{name}"] = place
    words = {
        "schema": SCHEMA,
        "diffgrid": __version__,
        "specifications": [spec.to_dict() for spec in specifications],
        "runs": told,
    }
    text = json.dumps({"__metadata__": {"diffgrid": json.dumps(words)}, **table}).encode("ascii")
    text += b" " * (-len(text) % _PREFIX)
    if len(text) > LONGEST_HEADER or _PREFIX + len(text) + end > MOST_BYTES:
        raise BadInput(f"{len(runs):,} runs are too much for one file: export fewer at once.")
    return layouts, text


def _pictures(run: SharedRun) -> NDArray[np.uint8]:
    _, payload = run.frames.to_payload()
    return np.frombuffer(payload, np.uint8)


def _last_part(model: str) -> str:
    """A model's name without the way to it."""
    part = re.split(r"[\\/]", model.rstrip("\\/"))[-1]
    return part if part.strip(".") else "model"


# In.


class RunsFile:
    """The runs of a file, each read when its turn comes. The header was checked."""

    def __init__(self, source: Source, most: int = MOST_BYTES) -> None:
        """As `read`, but no array is looked at."""
        self._source = source
        with self._reading() as data:
            size = data.seek(0, os.SEEK_END)
            if size > most:
                raise BadInput(f"it has {size:,} bytes, and at most {most:,} are allowed")
            table, words, self._start = _header(data, size)
            self.version, self._runs = _words(words)
            self._places = _places(table, self._runs, size - self._start)

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[SharedRun]:
        for number in range(len(self)):
            with self._reading(number) as data:
                run = self._read(data, number)
            yield run

    def _read(self, data: BinaryIO, number: int) -> SharedRun:
        told, arrays = self._runs[number], dict[str, NDArray[Any]]()
        for name, (dtype, shape) in told.layout.items():
            begin, end = self._places[f"{number}.{name}"]
            data.seek(self._start + begin)
            if len(read := data.read(end - begin)) < end - begin:
                raise BadInput("it is cut short")
            arrays[name] = np.frombuffer(read, dtype).reshape(shape)
        payload = arrays.pop("pictures").tobytes()
        frames = Frames.from_payload(told.pictures, payload, told.pictures["way"])
        for picture in (*frames.x0, frames.final):
            check_picture(picture)
        trajectory = Trajectory(
            spec=told.spec,
            path=told.path,
            prediction_type=told.words["prediction_type"],
            made=told.words["made"],
            **arrays,
        )
        _check_numbers(trajectory)
        return SharedRun(trajectory, frames, told.words["name"], told.words["note"])

    @contextmanager
    def _reading(self, number: int | None = None) -> Iterator[BinaryIO]:
        """The file, opened; what goes wrong meanwhile is told of it, and of the run."""
        source = self._source
        name = "this file" if isinstance(source, bytes) else f"file {shown(File(source).name)}"
        of_run = "" if number is None else f"run {number + 1} of {len(self)}: "
        try:
            if isinstance(source, bytes):
                yield io.BytesIO(source)
            elif not File(source).is_file():
                raise BadInput("there is no such file")
            else:
                with File(source).open("rb") as data:
                    yield data
        except OtherVersion as error:
            raise OtherVersion(f"{name} {error}") from error
        # Those that are not diffgrid's own: a disk, a NUL in the name, a file beyond all memory.
        except (DiffgridError, OSError, ValueError, MemoryError) as error:
            why = " ".join(str(error).split()).rstrip(".") or "there is not enough memory"
            raise BadInput(
                f"{name} cannot be read as a file of runs ({of_run}{why}): choose another."
            ) from error


class _Told:
    """What the header says of a run: checked, and with its layout as soon as that is known."""

    def __init__(self, words: dict[str, Any], spec: RunSpec) -> None:
        self.words, self.spec = words, spec
        self.path: Path = parse_path(words["path"])
        check_path(self.path, spec.loop)
        self.pictures: dict[str, Any] = words["pictures"]
        self.layout: Layout = {}


def read(source: Source, most: int = MOST_BYTES) -> RunsFile:
    """The runs in a file, or in its bytes: `most` of them; whosever it is, all of it was checked.

    Raises:
        BadInput: it is no such file, or damaged, or too large, or a run in it cannot be.
        OtherVersion: it has a newer schema.
    """
    found = RunsFile(source, most)
    for _ in found:
        pass
    return found


def _header(data: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The tensors that the header names, its words, and where the tensors begin."""
    data.seek(0)
    length, most = int.from_bytes(data.read(_PREFIX), "little"), min(LONGEST_HEADER, size - _PREFIX)
    if not 2 <= length <= most:
        raise BadInput("it does not begin with a header of a length that is allowed")
    table = _json(data.read(length))
    match table.pop("__metadata__", None):
        case {"diffgrid": str(text), **others} if not others:
            words = _json(text.encode("utf-8"))
        case _:
            raise BadInput("diffgrid did not write it")
    schema, version = words.get("schema"), words.get("diffgrid")
    if type(schema) is not int or schema < 1:
        raise BadInput("it does not say which schema it has")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise BadInput("it does not say which version of diffgrid wrote it")
    if schema > SCHEMA:
        raise OtherVersion(
            f"was written by diffgrid {version} in schema {shown(schema)}, and this version reads "
            f"schema {SCHEMA}: use a newer diffgrid."
        )
    return table, words, _PREFIX + length


def _json(text: bytes) -> dict[str, Any]:
    """A JSON object of sound words and numbers, in which no name is said twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise BadInput(f"its header says {shown(twice)} twice")
        return values

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise BadInput(f"its header holds {shown(text)}, which is no number")
        return value

    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=once,
            parse_float=number,
            parse_constant=number,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # or half of a character is in it
    except BadInput:
        raise
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput("its header is no JSON object")
    return value


def _words(words: dict[str, Any]) -> tuple[str, list[_Told]]:
    """The version that wrote it, and what is said of each run."""
    match words:
        case {"specifications": list(specifications), "runs": list(runs)}:
            pass
        case _:
            raise BadInput("its header does not say which runs there are")
    if not 0 < len(runs) <= MOST_RUNS or len(specifications) > len(runs):
        raise BadInput(f"it has {len(runs):,} runs, and 1 to {MOST_RUNS:,} are allowed")
    specs = [_specification(values) for values in specifications]
    told = [_told(run, specs, number) for number, run in enumerate(runs, 1)]
    if len({key(run.spec, run.path) for run in told}) < len(told):
        raise BadInput("it holds one run twice")
    return words["diffgrid"], told


def _specification(values: object) -> RunSpec:
    if not isinstance(values, dict) or len(json.dumps(values)) > _LONGEST_SPECIFICATION:
        raise BadInput("a specification in it is none, or too long")
    spec = RunSpec.from_dict(values)
    scheduler, config = spec.scheduler, spec.scheduler_config
    try:
        json.dumps(json.loads(config), ensure_ascii=False).encode("utf-8")
        sigma_data = sigma_data_of(config)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"its scheduler configuration {shown(config)} is none") from error
    # What x̂0 follows by: a stored run's are those of a scheduler that was built with them.
    quantile, most = limit_of(scheduler, config) or (None, 1)
    check_real("dynamic_thresholding_ratio", 0 if quantile is None else quantile, 0, 1)
    check_real("the limit of x̂0", most, 0, math.inf)
    check_real("sigma_data", sigma_data, 0, math.inf)
    return spec if _MODEL.fullmatch(spec.model) else replace(spec, model=_last_part(spec.model))


def _told(run: Any, specs: list[RunSpec], number: int) -> _Told:
    match run:
        case {
            "specification": int(index),
            "path": str(),
            "prediction_type": str(),
            "made": str(),
            "name": str(),
            "note": str(),
            "pictures": {"way": str(way), "x0": list(x0), "final": int()},
        } if 0 <= index < len(specs) and way in _WAYS and len(x0) == specs[index].length:
            for name, longest in _LONGEST_TEXT.items():
                check_text(name, run[name], longest)
            return _Told(run, specs[index])
    raise BadInput(f"what its header says of run {number} is not what a run has")


def _places(table: dict[str, Any], runs: list[_Told], size: int) -> dict[str, tuple[int, int]]:
    """Where each tensor lies among `size` bytes: end to end, as safetensors has them."""
    for number, told in enumerate(runs):
        match table.get(f"{number}.latents"), table.get(f"{number}.pictures"):
            case {"shape": [_, *sides]}, {"shape": [count]} if len(sides) == 3 and all(
                type(side) is int and side > 0 for side in (*sides, count)
            ):
                length = told.spec.length
                arrays = array_layout(length, length, tuple(sides))
                told.layout = {**arrays, "pictures": (_BYTES, (count,))}
    layouts = {f"{n}.{name}": of for n, run in enumerate(runs) for name, of in run.layout.items()}
    if table.keys() != layouts.keys():
        raise BadInput(
            f"it holds {len(table):,} tensors, which are not the arrays of its {len(runs):,} runs"
        )
    places = {}
    for name, (dtype, shape) in layouts.items():
        match table[name]:
            case {"dtype": str(kind), "shape": sides, "data_offsets": [begin, end], **others} if (
                kind == _NAMES[dtype]
                and sides == list(shape)
                and not others
                and type(begin) is type(end) is int
                and end - begin == dtype.itemsize * math.prod(shape)
            ):
                places[name] = begin, end
            case _:
                raise BadInput(f"its tensor {name} is not {dtype} {shape}")
    at = 0
    for begin, end in sorted(places.values()):
        if begin != at:
            raise BadInput("its tensors do not lie end to end")
        at = end
    if at != size:
        raise BadInput(f"its tensors take {shown(at)} bytes, and it holds {size:,}")
    return places


def _check_numbers(trajectory: Trajectory) -> None:
    """Whether all of its numbers are finite, and its noise levels such.

    Raises:
        BadInput: they are not.
    """
    for name in array_layout(0, 0, ()):
        if not np.isfinite(getattr(trajectory, name)).all():
            raise BadInput(f"its {name.replace('_', ' ')} are not all finite numbers")
    with np.errstate(all="ignore"):
        levels = trajectory.alphas.min() >= 0 and trajectory.sigmas.min() >= 0
        if not levels or not np.isfinite(trajectory.alpha_bar).all():
            raise BadInput("its alphas and sigmas are no noise levels")
