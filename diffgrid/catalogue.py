"""Which models and schedulers there are, and how a run's options become a full specification.

Reads json and hashes files; never imports torch, so a page or a command can name a run at once.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from diffgrid.errors import BadInput
from diffgrid.families import FAMILIES, Family
from diffgrid.hub_models import HUB_MODELS, HubModel, find_hub_model
from diffgrid.limits import Limits
from diffgrid.memory import BYTES
from diffgrid.schedulers import SCHEDULERS, Loop, Scheduler, find_scheduler, loop, name_of
from diffgrid.spec import RunSpec
from diffgrid.weights import PICKLES, WEIGHTS, count_numbers, file_digest, files_in, variant_of

ASSETS = Path(__file__).parent / "assets"
BUNDLED = ("monsters",)
LIBRARIES = ("diffusers", "transformers")  # whose classes a model may be made of
# Named by an index, but no run is decided by them: runs name their scheduler themselves, and
# pictures are decoded without asking the others.
LEFT_OUT = ("scheduler", "safety_checker", "feature_extractor")
LARGE = 1e9  # bytes; where a GPU is, models above it run in half the precision
SEED = 7  # where nobody chose one: the same picture for everyone who tries it first
PLAIN_PROBE = "colours-1"  # labels by mean colour: for models that bring no probe
SETTINGS = "diffgrid.json"  # in a model's folder: the prompt and settings that show it off


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
        return _read_json(self.folder / "model_index.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The defaults that the model's makers chose: prompt, steps, guidance, eta, licence."""
        file = self.folder / SETTINGS
        own = self.hub.settings if self.hub else {}
        return own | _read_json(file) if file.exists() else own

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        return _read_json(self.part("scheduler") / "scheduler_config.json")

    def part(self, name: str) -> Path:
        """The folder of one of its parts; its own where a model with a single one lies flat."""
        folder = self.folder / name
        flat = not folder.is_dir() and (self.folder / "config.json").is_file()
        return self.folder if flat else folder

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that decide its numbers."""
        listed = {name: each for name, each in self.index.items() if isinstance(each, list)}
        used = (name for name, each in listed.items() if each[:1] not in ([], [None]))
        return tuple(sorted(name for name in used if name[0] != "_" and name not in LEFT_OUT))

    @cached_property
    def words(self) -> frozenset[str] | None:
        """The words its tokenizer knows, in lower case; None where it spells out any word."""
        tokenizer = self.folder / "tokenizer" / "tokenizer.json"
        model = _read_json(tokenizer).get("model", {}) if tokenizer.exists() else {}
        if model.get("type") != "WordLevel":
            return None
        return frozenset(word for word in model["vocab"] if word.isalpha())

    @cached_property
    def factors(self) -> dict[str, list[str]]:
        """What its pictures vary in, and the words for it; empty where nobody said."""
        probe = self.folder / "probe" / "config.json"
        return dict(_read_json(probe)["factors"]) if probe.exists() else {}

    @cached_property
    def probe(self) -> str:
        """The digest of what labels its pictures: its own probe's, or the name of the plain one."""
        files = [self.folder / "probe" / name for name in ("config.json", "model.safetensors")]
        if not all(file.is_file() for file in files):
            return PLAIN_PROBE
        whole = b"".join(file.read_bytes() for file in files)
        return f"probe-1-{hashlib.sha256(whole).hexdigest()[:32]}"

    @property
    def family(self) -> Family:
        """What is special about its pipeline."""
        return FAMILIES[self.index["_class_name"]]

    @cached_property
    def side(self) -> int:
        """The height and width it was trained for, in pixels."""
        side = self.family.side(lambda part: _read_json(self.part(part) / "config.json"))
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
        if not isinstance(family, str) or family not in FAMILIES:
            raise BadInput(
                f"model {self.name[:60]!r} is a {str(family)[:60]!r}, which is not supported: use "
                f"a {' or a '.join(FAMILIES)}."
            )
        for part in self.parts:
            if self.index[part][0] not in LIBRARIES:
                raise BadInput(
                    f"model {self.name[:60]!r} brings code of its own for its {part}, which is "
                    "never run: use a model made of diffusers' and transformers' classes alone."
                )
            self._check_part(part)

    def _check_part(self, part: str) -> None:
        folder = self.part(part)
        if not folder.is_dir():
            raise BadInput(f"model {self.name[:60]!r} lacks its {part}: give a whole folder.")
        if not (folder / "config.json").is_file():
            return  # a tokenizer
        listed = files_in(folder)
        chosen = [file for file in listed if file in self.files]
        tensors = {file.name for file in chosen if file.suffix == ".safetensors"}
        if not tensors and any(file.suffix in PICKLES for file in listed):
            raise BadInput(
                f"model {self.name[:60]!r} has its {part} as a pickle, which can run code: save it "
                "as safetensors (its pipeline's save_pretrained does that)."
            )
        for index in (file for file in chosen if ".safetensors.index." in file.name):
            tensors |= set(_read_json(index).get("weight_map", {}).values())
        if not tensors or not all((folder / name).is_file() for name in tensors):
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
                status = file.stat()
                digest = file_digest(file, status.st_size, status.st_mtime_ns)
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


def models() -> list[Model]:
    """Every model that can be named and used here, by name alone."""
    return [model for model in named() if trouble(model) is None]


def named() -> Iterator[Model]:
    """Every model that has a name here, whole or not: the bundled, one's own, and the fetched.

    On a public server there are no fetched ones. Where two share a name, the first counts.
    """
    yield from map(_in_the_box, BUNDLED)
    names = set()
    if own := own_models():
        for index in sorted([*own.glob("*/model_index.json"), *own.glob("*/*/model_index.json")]):
            name = index.parent.relative_to(own).as_posix()
            if not name.startswith("."):
                names.add(name)
                yield Model(name, index.parent, "in DIFFGRID_MODELS")
    for hub in to_fetch():
        if hub.id not in names and (hub.folder / "model_index.json").is_file():
            yield Model(hub.id, hub.folder, "on this machine", hub)


def to_fetch() -> tuple[HubModel, ...]:
    """What may be fetched from the hub, or was; nothing on a public server."""
    return () if os.environ.get("DIFFGRID_PUBLIC") == "1" else HUB_MODELS


def own_models() -> Path | None:
    """The folder that DIFFGRID_MODELS names: models lie in it, one or two levels deep."""
    named = os.environ.get("DIFFGRID_MODELS")
    return Path(named).expanduser().absolute() if named else None


def trouble(model: Model) -> str | None:
    """Why a model cannot be used, in one sentence; None where it can."""
    try:
        model.check()
    except BadInput as error:
        return str(error)
    return None


def find_model(name: str) -> Model:
    """The model of this catalogue name, or the diffusers folder at this path.

    Raises:
        BadInput: neither is there, it is not whole, or its pipeline is not supported.
    """
    if name in BUNDLED:
        return _bundled(name)
    model = next((model for model in named() if model.name == name), None)
    if model is None and (folder := _diffusers_folder(name)):
        model = Model(name, folder)
    if model is None:
        hub = find_hub_model(name)
        if hub in to_fetch():
            raise BadInput(f"model {name!r} is not on this machine: {fetching(hub)}.")
        known = ", ".join(model.name for model in models())
        raise BadInput(
            f"model {name[:60]!r} is not known: use {known}, or the path of a diffusers folder "
            "(one that holds model_index.json)."
        )
    model.check()
    return model


@cache
def _bundled(name: str) -> Model:
    """A model in the box does not change: a look at its files for each grid drawn is too many."""
    model = _in_the_box(name)
    model.check()
    return model


def _in_the_box(name: str) -> Model:
    return Model(name, ASSETS / name, "in the box")


def fetching(hub: HubModel) -> str:
    """What to do to have it."""
    return f"python -m diffgrid models --fetch {hub.id} brings {hub.size / 1e9:.1f} GB"


def specify(
    *,
    model: str = BUNDLED[0],
    prompt: str | None = None,
    negative_prompt: str = "",
    seed: int = SEED,
    scheduler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    eta: float | None = None,
    height: int | None = None,
    width: int | None = None,
    dtype: str | None = None,
) -> RunSpec:
    """A full specification from the options people give; None is the model's own choice.

    Raises:
        BadInput: an option is unknown or out of range, or does not go with the others.
    """
    chosen = find_model(model)
    family, settings = chosen.family, chosen.settings
    kind, config = _scheduler(chosen, scheduler)
    if scheduler is not None:
        _check_goes_with(kind, family)
    if eta is not None and not kind.takes_eta:
        takers = " or ".join(other.name for other in SCHEDULERS if other.takes_eta)
        raise BadInput(
            f"eta {eta} is not allowed with {kind.name}: leave it out, or choose {takers}."
        )
    if eta is None and kind.takes_eta:
        eta = settings.get("eta", 0.0)
    steps = settings.get("steps", family.steps) if steps is None else steps
    most = config.get(*kind.most_steps) if kind.most_steps else None
    if isinstance(most, int) and isinstance(steps, int) and steps > most:
        raise BadInput(f"steps {steps} is not allowed with {kind.name}: use 1 to {most}.")
    _check_words(family, prompt, negative_prompt, guidance)
    if family.guided and guidance is None:
        guidance = settings.get("guidance", family.guidance)
    return RunSpec(
        model=chosen.name,
        digest=chosen.digest,
        prompt=(settings.get("prompt", "") if prompt is None else prompt) * family.prompted,
        negative_prompt=negative_prompt,
        guidance_scale=family.guidance if guidance is None else guidance,
        scheduler=kind.class_name,
        scheduler_config=json.dumps(config),
        num_inference_steps=steps,
        eta=eta,
        seed=seed,
        height=chosen.side if height is None else height,
        width=chosen.side if width is None else width,
        dtype=chosen.dtype if dtype is None else dtype,
    )


def loop_of(model: str, scheduler: str | None, steps: int) -> Loop:
    """The loop that so many steps make; None is the model's own scheduler.

    Raises:
        BadInput: the model or the scheduler is not known.
    """
    kind, config = _scheduler(find_model(model), scheduler)
    # Views may ask for more than is allowed, and are refused later: until then it stays small.
    steps = max(0, min(steps, Limits().max_steps))
    return loop(kind.class_name, json.dumps(config, sort_keys=True), steps)


def _scheduler(model: Model, name: str | None) -> tuple[Scheduler, dict[str, Any]]:
    """No name means the folder's own just as it is; a name means from_config of that one."""
    config = {k: v for k, v in model.scheduler_config.items() if not k.startswith("_")}
    if name is None:
        return find_scheduler(model.scheduler_config.get("_class_name", "")), config
    kind = find_scheduler(name)
    return kind, {**config, **kind.adds}


def _check_goes_with(kind: Scheduler, family: Family) -> None:
    """Whether a pipeline's loop makes sense with a scheduler of this name."""
    allowed = [s.name for s in SCHEDULERS if s.flow == family.flow]
    if family.schedulers is not None:
        allowed = [name for name in allowed if name in family.schedulers]
    if kind.name not in allowed:
        raise BadInput(
            f"scheduler {kind.name!r} does not go with a {family.pipeline}: use "
            f"{', '.join(allowed)}, or leave it out."
        )


def _check_words(
    family: Family, prompt: str | None, negative_prompt: str, guidance: float | None
) -> None:
    """Refuse what the pipeline would not heed."""
    given = {
        "prompt": (prompt, family.prompted),
        "negative prompt": (negative_prompt, family.negative),
        "guidance": (guidance not in (None, family.guidance) and guidance, family.guided),
    }
    for name, (value, heeded) in given.items():
        if value and not heeded:
            raise BadInput(
                f"{name} {str(value)[:60]!r} is not heeded by a {family.pipeline}: leave it out."
            )


def has_cuda() -> bool:
    """Whether a driver of NVIDIA's is installed, and runs were not sent elsewhere."""
    if not (os.environ.get("DIFFGRID_DEVICE") or "cuda").startswith("cuda"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def scheduler_name(spec: RunSpec) -> str:
    """The short name of a specification's scheduler, for captions and lists."""
    return name_of(spec.scheduler, json.loads(spec.scheduler_config))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"model file {file} cannot be read ({error}): give a whole diffusers folder."
        ) from error
    if not isinstance(content, dict):
        raise BadInput(f"model file {file} is no JSON object: give a whole diffusers folder.")
    return content


def _diffusers_folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser().resolve()
        return folder if name and (folder / "model_index.json").is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a NUL in it
        return None
