"""The files of a diffusers folder: which of them count, what they hold, and their digests."""

import hashlib
import math
import os
import re
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from diffgrid.errors import ModelError

WEIGHTS = (".safetensors", ".json", ".txt", ".model")  # tensors, configurations, vocabularies
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_HEADER = 2**23  # bytes, of a safetensors file; Flux's has 0.1 MB

_TENSORS = re.compile(
    r"[^.]+(\.(?P<variant>[a-z0-9_]+)[^.]*)?\.safetensors(\.index(\.(?P<of_index>[^.]+))?\.json)?"
)


def files_in(folder: Path) -> list[Path]:
    """The files right in a folder, by name; none where there is no folder."""
    with suppress(OSError):
        return sorted(file for file in folder.iterdir() if file.is_file())
    return []


def variant_of(file: Path) -> str | None:
    """fp16 of `model.fp16.safetensors`, None of `model.safetensors`, "" of what all share."""
    found = _TENSORS.fullmatch(file.name)
    return (found["variant"] or found["of_index"]) if found else ""


def count_numbers(file: Path) -> Counter[str]:
    """How many numbers of each kind (F32, F16 …) a safetensors file holds, by its header.

    Nothing of a damaged file: loading it will say what is wrong.
    """
    counts: Counter[str] = Counter()
    with suppress(ModelError):
        for kind, shape in read_header(file).values():
            counts[kind] += math.prod(shape)
    return counts


def read_header(file: Path) -> dict[str, tuple[str, list[int]]]:
    """The kind and the shape of each tensor in a safetensors file.

    Raises:
        ModelError: it cannot be read, or is no whole safetensors file.
    """
    try:
        with file.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > LARGEST_HEADER:
                raise SafetensorError("its header is too large")
        with safe_open(file, "np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.offset_keys()}
        return {name: (each.get_dtype(), each.get_shape()) for name, each in slices.items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"model file {file} is damaged ({error}): delete it, then fetch or copy it again."
        ) from error


def file_identity(file: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced, even by one of its size and date."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=1000)
def file_digest(file: Path, identity: tuple[int, ...]) -> str:
    """sha256 of one file. Those as large as Stable Diffusion's are hashed once, and noted down."""
    if file.stat().st_size < 2**26:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    name = f"{file} {identity}"
    note = _digest_notes() / hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    with suppress(OSError, UnicodeDecodeError):
        noted = note.read_text("ascii")
        if len(noted) == 64:  # or its writer was interrupted
            return noted
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with suppress(OSError):  # it is only slower next time
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.write_text(digest, "ascii")
    return digest


def _digest_notes() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches) / "diffgrid-digests"
