"""The files of a diffusers folder: which of them count, what they hold, and their digests."""

import hashlib
import json
import math
import os
import re
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

WEIGHTS = (".safetensors", ".json", ".txt", ".model")  # tensors, configurations, vocabularies
PICKLES = (".bin", ".pt", ".pth", ".ckpt")

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
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length < 2**27 else {}
        for name, tensor in header.items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    return counts


@lru_cache(maxsize=1000)
def file_digest(file: Path, size: int, modified: int) -> str:
    """sha256 of one file. Those as large as Stable Diffusion's are hashed once, and noted down."""
    if size < 2**26:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    identity = f"{file} {size} {modified}"
    note = _digest_notes() / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
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
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "diffgrid-digests"
