"""A diffusers folder: what its files say of the model in it."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from diffgrid.errors import BadInput
from diffgrid.models.calls import packages
from diffgrid.models.families import Family, family_of, known, why_not
from diffgrid.models.hub_list import HubModel, fetching
from diffgrid.models.json_file import read_json
from diffgrid.models.memory import BYTES
from diffgrid.models.tokens import Reader, read
from diffgrid.models.weights import (
    PICKLES,
    WEIGHTS,
    count_numbers,
    file_digest,
    file_identity,
    files_in,
    variant_of,
)
from diffgrid.spec.checks import shown
from diffgrid.spec.options import FIRST_MODEL
from diffgrid.spec.schedulers import scheduler_of

ASSETS = Path(__file__).parents[1] / "assets"
BUNDLED = (FIRST_MODEL,)
LIBRARIES = ("diffusers", "transformers")  # whose classes a model may be made of
NEVER_ASKED = ("safety_checker", "feature_extractor")  # pictures are decoded without
# Named by an index, but no run is decided by them: runs name their scheduler themselves.
LEFT_OUT = ("scheduler", *NEVER_ASKED)
LARGE = 1e9  # bytes; where a GPU is, models above it run in half the precision
PLAIN_PROBE = "colours-1"  # labels by mean colour: for models that bring no probe
COLOURS = ASSETS / "colours.json"  # those colours: red, green, blue
UNCLEAR = "unclear"  # the label of a picture in which a probe cannot tell
SETTINGS = "diffgrid.json"  # in a model's folder: the prompt and settings that show it off
SETTING_KINDS = {
    "prompt": str,
    "steps": int,
    "guidance": float,
    "eta": float,
    "licence": str,
    "trained_words": int,  # the most in a prompt that it was trained on
    "sentence": {"adjectives": list[str], "noun": str, "parts": list[str], "place": str},
}
# By factor and value a colour, {"swatch": [red, green, blue]}, or SVG paths in a square of 16 px,
# {"lines": outlines, "fills": what is filled}; either may be left out.
Signs = Mapping[str, Mapping[str, Mapping[str, Any]]]
Place = Literal["in the box", "in DIFFGRID_MODELS", "on this machine", "at this path"]


@dataclass(frozen=True)
class Model:
    """A diffusers folder."""

    name: str  # what people call it
    folder: Path
    place: Place = "at this path"
    hub: HubModel | None = None  # what it was fetched as

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class and its parts."""
        file = self.folder / "model_index.json"
        index = read_json(file)
        for name, part in index.items():
            if isinstance(part, list) and not (
                name.isidentifier() and len(name) <= 100 and len(part) == 2
            ):
                raise BadInput(
                    f"model file {file} has {shown(part)} as its part {shown(name)}, which is not "
                    "a library and a class: give a whole diffusers folder."
                )
        return index

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The defaults that the model's makers chose: prompt, steps, guidance, eta, licence."""
        file = self.folder / SETTINGS
        own = self.hub.settings if self.hub else {}
        return own | read_json(file, **SETTING_KINDS) if file.exists() else own

    @cached_property
    def sentence(self) -> dict[str, Any] | None:
        """How a prompt names what its pictures vary in; None where nobody said."""
        told: dict[str, Any] | None = self.settings.get("sentence")
        if not told or not self.factors:
            return None
        if not {*told["adjectives"], *told["parts"], told["place"]} <= self.factors.keys():
            raise BadInput(
                f"model file {self.folder / SETTINGS} has a sentence of other factors than "
                f"{', '.join(self.factors)}: use those."
            )
        return told

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        """That of its folder, of the class that its pipeline makes of it."""
        config = self._scheduler_config
        own = self.family.scheduler_class or config.get("_class_name", "")
        return {**config, "_class_name": own}

    @cached_property
    def canonical_configs(self) -> dict[str | None, str]:
        """By the scheduler chosen, what became of its configuration: see `registry.specify`."""
        return {}

    @cached_property
    def _scheduler_config(self) -> dict[str, Any]:
        return read_json(self.part("scheduler") / "scheduler_config.json", _class_name=str)

    def part(self, name: str) -> Path:
        """The folder of one of its parts; its own where a model with a single one lies flat."""
        folder = self.folder / name
        flat = not folder.is_dir() and (self.folder / "config.json").is_file()
        return self.folder if flat else folder

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that decide its numbers."""
        listed = {name: each for name, each in self.index.items() if isinstance(each, list)}
        used = (name for name, each in listed.items() if each[0] is not None)
        return tuple(sorted(name for name in used if name[0] != "_" and name not in LEFT_OUT))

    @cached_property
    def words(self) -> frozenset[str] | None:
        """The words its tokenizer knows, in lower case; None where it spells out any word."""
        file = self.folder / "tokenizer" / "tokenizer.json"
        try:
            model = read_json(file, model={"type": str, "vocab": dict[str, int]}).get("model", {})
        except BadInput:  # there is none, or one of another kind
            return None
        if model.get("type") != "WordLevel":
            return None
        return frozenset(word for word in model["vocab"] if word.isalpha())

    @cached_property
    def readers(self) -> list[Reader]:
        """Its tokenizers, as far as they can be read."""
        names = [name for name in self.parts if name.startswith("tokenizer")]
        found = (read(self.part(name), self.family.longest.get(name)) for name in names)
        return [reader for reader in found if reader]

    @cached_property
    def factors(self) -> dict[str, list[str]]:
        """What its pictures vary in, and the words for it; empty where nobody said."""
        probe = self.folder / "probe" / "config.json"
        read = read_json(probe, factors=dict[str, list[str]]) if probe.exists() else {}
        return dict(read.get("factors", {}))

    @cached_property
    def probe(self) -> str:
        """The digest of what labels its pictures: its own probe's, or the name of the plain one."""
        files = [self.folder / "probe" / name for name in ("config.json", "model.safetensors")]
        if not all(file.is_file() for file in files):
            return PLAIN_PROBE
        whole = b"".join(file.read_bytes() for file in files)
        return f"probe-1-{hashlib.sha256(whole).hexdigest()[:32]}"

    @cached_property
    def signs(self) -> Signs:
        """How its labels are drawn; empty where nobody said. It is no part of any digest."""
        if self.probe == PLAIN_PROBE:
            swatches = {name: {"swatch": colour} for name, colour in read_json(COLOURS).items()}
            return {"colour": swatches, "middle": swatches}
        file = self.folder / "probe" / "signs.json"
        kinds = dict.fromkeys(self.factors, dict[str, dict[str, list[int] | str]])
        return read_json(file, **kinds) if file.exists() else {}

    @property
    def family(self) -> Family:
        """What is special about its pipeline."""
        return family_of(self.index["_class_name"], self._of_flow)

    @property
    def _of_flow(self) -> bool:
        return scheduler_of(self._scheduler_config.get("_class_name", "")).flow

    @cached_property
    def side(self) -> int:
        """The height and width it was trained for, in pixels."""
        side = self.family.side(lambda part: read_json(self.part(part) / "config.json"))
        if side is None:
            raise BadInput(f"model {self.name!r} does not say its size: give height and width.")
        return side

    @cached_property
    def variant(self) -> str | None:
        """fp16 where its weights are read from `*.fp16.safetensors`; None for the plain ones."""
        if self.hub:
            return self.hub.variant
        kinds = [self._variants(part) for part in self.parts]
        return "fp16" if {"fp16"} in kinds else None

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that decide its numbers; a run names its scheduler's configuration itself."""
        found = {self.folder / "model_index.json"}
        for part in self.parts:
            wanted = self.variant if self.variant in self._variants(part) else None
            found |= {file for file in self._files(part) if variant_of(file) in (wanted, "")}
        return tuple(sorted(found))

    def _files(self, part: str) -> list[Path]:
        found = [file for file in files_in(self.part(part)) if file.suffix in WEIGHTS]
        return [file for file in found if file.name not in (SETTINGS, "scheduler_config.json")]

    def _variants(self, part: str) -> set[str | None]:
        return {variant_of(file) for file in self._files(part) if file.suffix == ".safetensors"}

    def check(self) -> None:
        """See that it can be used.

        Raises:
            BadInput: its name is taken, its pipeline is not supported, or a part is missing, a
                pickle, or code of its own.
        """
        if self.place == "in DIFFGRID_MODELS" and self.name in BUNDLED:
            raise BadInput(
                f"model {self.name!r} in DIFFGRID_MODELS has the bundled model's name: rename its "
                "folder."
            )
        family = self.index.get("_class_name")
        if not isinstance(family, str) or family not in known():
            raise BadInput(
                f"model {self.name[:60]!r} is a {str(family)[:60]!r}, {why_not(str(family)[:60])}."
            )
        for part in self.parts:
            library = self.index[part][0]
            if library not in LIBRARIES and library not in packages():
                raise BadInput(
                    f"model {self.name[:60]!r} brings code of its own for its {part}, which is "
                    "never run: use a model made of diffusers' and transformers' classes alone."
                )
            self._check_part(part)
        # Defaults that are wrong are told here, not by whoever reads them first.
        _ = self.scheduler_config, self.factors, self.signs, self.sentence

    def _check_part(self, part: str) -> None:
        folder = self.part(part)
        if not folder.is_dir():
            raise BadInput(f"model {self.name[:60]!r} lacks its {part}: give a whole folder.")
        if not (folder / "config.json").is_file():
            return  # a tokenizer
        read_json(folder / "config.json")
        listed = files_in(folder)
        chosen = [file for file in listed if file in self.files]
        tensors = {file.name for file in chosen if file.suffix == ".safetensors"}
        if not tensors and any(file.suffix in PICKLES for file in listed):
            raise BadInput(
                f"model {self.name[:60]!r} has its {part} as a pickle, which can run code: save it "
                "as safetensors (its pipeline's save_pretrained does that)."
            )
        for index in (file for file in chosen if ".safetensors.index." in file.name):
            tensors |= {*read_json(index, weight_map=dict[str, str]).get("weight_map", {}).values()}
        if not tensors or not tensors <= {file.name for file in listed}:
            again = f"fetch it again ({fetching(self.hub)})" if self.hub else "give a whole folder"
            raise BadInput(f"model {self.name[:60]!r} lacks weights of its {part}: {again}.")

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def digest(self) -> str:
        """sha256 over names and contents of its files: two copies of a model are one model."""
        total = hashlib.sha256()
        for file in self.files:
            name = file.relative_to(self.folder).as_posix()
            try:
                digest = file_digest(file, file_identity(file))
            except OSError as error:
                raise BadInput(
                    f"model file {file} cannot be read ({error.strerror}): make it readable."
                ) from error
            total.update(f"{name} {digest}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    @cached_property
    def numbers(self) -> Counter[str]:
        """How many numbers its weights have of each kind, such as F16."""
        tensors = (file for file in self.files if file.suffix == ".safetensors")
        return sum(map(count_numbers, tensors), Counter())

    def weights(self, dtype: str) -> int:
        """Bytes that its weights take in memory."""
        return self.numbers.total() * BYTES[dtype]

    @property
    def dtype(self) -> str:
        """What it runs in where nobody chose.

        DIFFGRID_DTYPE goes before all but the bundled model's float32, which its shipped grid
        was made in. A large model runs in half the precision where there is a GPU of NVIDIA's:
        that is seen by its driver, since torch takes seconds to ask.
        """
        if self.name in BUNDLED:
            return "float32"
        if told := os.environ.get("DIFFGRID_DTYPE"):
            return told
        if self.size <= LARGE or not has_cuda():
            return "float32"
        return "bfloat16" if self.numbers["BF16"] else "float16"


def own_models() -> Path | None:
    """The folder that DIFFGRID_MODELS names: models lie in it, one or two levels deep."""
    named = os.environ.get("DIFFGRID_MODELS")
    # Not Path's own: it raises where there is no such user, and then no model could be named.
    return Path(os.path.expanduser(named)).absolute() if named else None


def has_cuda() -> bool:
    """Whether a driver of NVIDIA's is installed, and runs were not sent elsewhere."""
    if not (os.environ.get("DIFFGRID_DEVICE") or "cuda").startswith("cuda"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
