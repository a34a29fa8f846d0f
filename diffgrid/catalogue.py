"""Which models and schedulers there are, and how a run's options become a full specification.

Reads json and hashes files; never imports torch, so a page or a command can name a run at once.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.spec import RunSpec

ASSETS = Path(__file__).parent / "assets"
BUNDLED = ("monsters",)
FAMILIES = ("StableDiffusionPipeline",)
WEIGHTS = (".safetensors", ".json", ".txt")  # what decides its numbers: tensors, configs, merges
SEED = 7  # where nobody chose one: the same picture for everyone who tries it first
SETTINGS = "diffgrid.json"  # in a model's folder: the prompt and settings that show it off


@dataclass(frozen=True)
class Scheduler:
    """A scheduler people can name: a diffusers class, and what its form adds to a configuration."""

    name: str
    class_name: str
    adds: Mapping[str, str] = field(default_factory=dict)
    takes_eta: bool = False
    # Where the class makes only so many steps: that setting's name in diffusers, and its default.
    most_steps: tuple[str, int] | None = None


SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler("ddpm", "DDPMScheduler"),
    Scheduler("ddim", "DDIMScheduler", takes_eta=True),
    Scheduler("euler", "EulerDiscreteScheduler"),
    Scheduler("euler_ancestral", "EulerAncestralDiscreteScheduler"),
    Scheduler("dpmsolver", "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    Scheduler(
        "dpmsolver_sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
    ),
    Scheduler("unipc", "UniPCMultistepScheduler"),
    Scheduler("lcm", "LCMScheduler", most_steps=("original_inference_steps", 50)),
)


@dataclass(frozen=True)
class Model:
    """A diffusers folder."""

    name: str  # what people call it
    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class and its parts."""
        return _read_json(self.folder / "model_index.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The defaults that the model's makers chose: prompt, steps, guidance, eta, licence."""
        file = self.folder / SETTINGS
        return _read_json(file) if file.exists() else {}

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        return _read_json(self.folder / "scheduler" / "scheduler_config.json")

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
    def side(self) -> int:
        """The height and width it was trained for, in pixels."""
        latent_side = _read_json(self.folder / "unet" / "config.json").get("sample_size")
        blocks = _read_json(self.folder / "vae" / "config.json").get("block_out_channels")
        if not isinstance(latent_side, int) or not isinstance(blocks, list):
            raise BadInput(f"model {self.name!r} does not say its size: give height and width.")
        return int(latent_side * 2 ** (len(blocks) - 1))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that decide its numbers; a run names its scheduler's configuration itself."""
        found = (f for f in self.folder.rglob("*") if f.is_file() and f.suffix in WEIGHTS)
        others = (f for f in found if f.parent.name != "scheduler" and f.name != SETTINGS)
        return tuple(sorted(f for f in others if f.parent.name != "probe"))

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
                digest = _file_digest(file, status.st_size, status.st_mtime_ns)
            except OSError as error:
                raise BadInput(
                    f"model file {file} cannot be read ({error.strerror}): make it readable."
                ) from error
            total.update(f"{name} {digest}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()


def models() -> list[Model]:
    """Every model that can be named here."""
    return [Model(name, ASSETS / name) for name in BUNDLED]


def find_model(name: str) -> Model:
    """The model of this catalogue name, or the diffusers folder at this path.

    Raises:
        BadInput: neither is there, or the pipeline's family is not supported.
    """
    for model in models():
        if model.name == name:
            return model
    folder = _diffusers_folder(name)
    if folder is None:
        known = ", ".join(model.name for model in models())
        raise BadInput(
            f"model {name[:60]!r} is not known: use {known}, or the path of a diffusers folder "
            "(one that holds model_index.json)."
        )
    model = Model(name, folder)
    family = model.index.get("_class_name")
    if family not in FAMILIES:
        raise BadInput(
            f"model {name[:60]!r} is a {str(family)[:60]!r}, which is not supported: use a "
            f"{' or a '.join(FAMILIES)}."
        )
    return model


def find_scheduler(name: str) -> Scheduler:
    """The scheduler of this short name or diffusers class name.

    Raises:
        BadInput: there is none.
    """
    for scheduler in SCHEDULERS:
        if name in (scheduler.name, scheduler.class_name):
            return scheduler
    known = ", ".join(scheduler.name for scheduler in SCHEDULERS)
    raise BadInput(
        f"scheduler {name[:60]!r} is not known: use one of {known}, or its diffusers class name."
    )


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
    dtype: str = "float32",
) -> RunSpec:
    """A full specification from the options people give; None is the model's own choice.

    Raises:
        BadInput: an option is unknown or out of range, or does not go with the others.
    """
    chosen = find_model(model)
    settings = chosen.settings
    config = {k: v for k, v in chosen.scheduler_config.items() if not k.startswith("_")}
    # No name means the folder's own scheduler just as it is; a name means from_config of that one.
    own = chosen.scheduler_config.get("_class_name", "")
    kind = find_scheduler(own if scheduler is None else scheduler)
    if scheduler is not None:
        config |= kind.adds
    if eta is not None and not kind.takes_eta:
        takers = " or ".join(other.name for other in SCHEDULERS if other.takes_eta)
        raise BadInput(
            f"eta {eta} is not allowed with {kind.name}: leave it out, or choose {takers}."
        )
    if eta is None and kind.takes_eta:
        eta = settings.get("eta", 0.0)
    steps = settings.get("steps", 25) if steps is None else steps
    most = config.get(*kind.most_steps) if kind.most_steps else None
    if isinstance(most, int) and isinstance(steps, int) and steps > most:
        raise BadInput(f"steps {steps} is not allowed with {kind.name}: use 1 to {most}.")
    return RunSpec(
        model=chosen.name,
        digest=chosen.digest,
        prompt=settings.get("prompt", "") if prompt is None else prompt,
        negative_prompt=negative_prompt,
        guidance_scale=settings.get("guidance", 7.5) if guidance is None else guidance,
        scheduler=kind.class_name,
        scheduler_config=json.dumps(config),
        num_inference_steps=steps,
        eta=eta,
        seed=seed,
        height=chosen.side if height is None else height,
        width=chosen.side if width is None else width,
        dtype=dtype,
    )


def scheduler_name(spec: RunSpec) -> str:
    """The short name of a specification's scheduler, for captions and lists."""
    config = json.loads(spec.scheduler_config)
    fits = [
        s.name
        for s in SCHEDULERS
        if s.class_name == spec.scheduler and s.adds.items() <= config.items()
    ]
    return fits[0] if fits else spec.scheduler


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


@lru_cache(maxsize=1000)
def _file_digest(file: Path, size: int, modified: int) -> str:
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
