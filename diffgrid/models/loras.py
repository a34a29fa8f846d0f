"""LoRA files beside a model: which one a name means, and what of it is part of a run's key.

A LoRA is a safetensors file, alone in a folder or by itself, beside the model's own folder or in
DIFFGRID_MODELS. Its name may be followed by a weight: `crayon:0.8`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffgrid.errors import BadInput, ModelError
from diffgrid.models.folder import Model, own_models
from diffgrid.models.weights import PICKLES, file_digest, file_identity, files_in, read_header
from diffgrid.spec.checks import shown
from diffgrid.spec.pipeline_options import parse_loras

_PLAIN = re.compile(r"lora[._](A|B|down|up)|lora_linear_layer")
_KINDS = re.compile(r"\.(use_rslora|use_dora|alpha_pattern)$")  # of its settings, if it has any
_OTHERS = re.compile(r"dora_scale|hada_w|lokr_w|oft_|glora|lora_magnitude")  # its relatives'


@dataclass(frozen=True)
class Lora:
    """One file, and how strongly it is applied."""

    file: Path
    weight: float

    @property
    def digest(self) -> str:
        """sha256 of the file."""
        return file_digest(self.file, file_identity(self.file))

    @property
    def alphas(self) -> dict[str, float]:
        """Alpha of all layers of a part, where its writer said so beside the tensors."""
        told = _adapter(self.file)
        parts = {name.rpartition(".")[0] for name in told if name.endswith(".lora_alpha")}
        found = {part: told[f"{part}.lora_alpha"] for part in parts}
        return {part: float(a) for part, a in found.items() if isinstance(a, int | float)}


def loras_of(model: Model, text: str) -> list[Lora]:
    """What such a text names, for this model.

    Raises:
        BadInput: one is not there, or is no LoRA in safetensors.
    """
    return [Lora(_find(model, name), weight) for name, weight in parse_loras(text).items()]


def digest_of(model: Model, loras: Sequence[Lora]) -> str:
    """The model's digest with these applied; without any, its own."""
    if not loras:
        return model.digest
    parts = sorted(f"{lora.digest} {lora.weight!r}" for lora in loras)
    return hashlib.sha256("\n".join([model.digest, *parts]).encode("ascii")).hexdigest()


def _find(model: Model, name: str) -> Path:
    places = filter(None, (model.folder.parent, own_models()))
    for place in places:
        for found in (place / name, place / f"{name}.safetensors"):
            with suppress(OSError):  # its name is too long
                if found.is_file() and found.suffix == ".safetensors":
                    return _checked(found, name)
            if files := files_in(found):
                tensors = [file for file in files if file.suffix == ".safetensors"]
                if len(tensors) == 1:
                    return _checked(tensors[0], name)
                pickles = any(file.suffix in PICKLES for file in files)
                raise BadInput(
                    f"lora {shown(name)} is a folder with {len(tensors)} safetensors files"
                    f"{' (pickles can run code and are never read)' if pickles else ''}: give one "
                    "that holds a single LoRA."
                )
    raise BadInput(
        f"lora {shown(name)} is not here: put its safetensors file, or a folder with it, beside "
        f"the folder of {model.name!r} or into DIFFGRID_MODELS."
    )


def _checked(file: Path, name: str) -> Path:
    """The file, if it is a LoRA by the names of its tensors."""
    try:
        tensors = read_header(file)
    except ModelError as error:
        raise BadInput(f"lora {shown(name)} cannot be used: {error}") from error
    if strange := next((each for each in tensors if _OTHERS.search(each)), None):
        raise BadInput(
            f"lora {shown(name)} is of a kind that is not known here: it holds {shown(strange)}; "
            "use a plain LoRA."
        )
    told = _adapter(file)
    if strange := next((each for each in told if _KINDS.search(each) and told[each]), None):
        raise BadInput(
            f"lora {shown(name)} is of a kind that is not known here ({shown(strange)}): use a "
            "plain LoRA."
        )
    if not any(map(_PLAIN.search, tensors)):
        raise BadInput(
            f"lora {shown(name)} holds no LoRA, but tensors such as "
            f"{shown(next(iter(tensors), 'none'))}: give another file."
        )
    return file


def _adapter(file: Path) -> dict[str, Any]:
    """The settings that diffusers writes beside the tensors, PART.NAME -> value."""
    try:
        with safe_open(file, "np") as tensors:
            told = json.loads((tensors.metadata() or {}).get("lora_adapter_metadata", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
