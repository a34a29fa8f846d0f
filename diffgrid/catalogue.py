"""Which models and schedulers there are, and how a run's options become a full specification.

Reads json and hashes files; never imports torch, so a page or a command can name a run at once.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.spec import RunSpec

ASSETS = Path(__file__).parent / "assets"
BUNDLED = ("monsters",)
FAMILIES = ("StableDiffusionPipeline",)
WEIGHTS = (
    ".safetensors",
    ".json",
    ".txt",
)  # what decides a model's numbers: tensors, configs, merges
SETTINGS = "diffgrid.json"  # in a model's folder: the prompt and settings that show it off


@dataclass(frozen=True)
class Scheduler:
    """A scheduler people can name: a diffusers class, with what its form adds to the configuration."""

    name: str
    class_name: str
    adds: Mapping[str, str] = field(default_factory=dict)
    takes_eta: bool = False


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
    Scheduler("lcm", "LCMScheduler"),
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
    def side(self) -> int:
        """The height and width it was trained for, in pixels."""
        latent_side = _read_json(self.folder / "unet" / "config.json")["sample_size"]
        blocks = _read_json(self.folder / "vae" / "config.json")["block_out_channels"]
        return int(latent_side * 2 ** (len(blocks) - 1))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that decide its numbers; the scheduler's configuration is named in a run by itself."""
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
            total.update(f"{name} {_file_digest(file)}\n".encode())
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
    folder = Path(name).expanduser()
    if not name or not (folder / "model_index.json").is_file():
        known = ", ".join(model.name for model in models())
        raise BadInput(
            f"model {name!r} is not known: use {known}, or the path of a diffusers folder (one that "
            "holds model_index.json)."
        )
    model = Model(name, folder.resolve())
    family = model.index.get("_class_name")
    if family not in FAMILIES:
        raise BadInput(
            f"model {name!r} is a {family}, which is not supported: use a {' or a '.join(FAMILIES)}."
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
        f"scheduler {name!r} is not known: use one of {known}, or its diffusers class name."
    )


def specify(
    *,
    model: str = BUNDLED[0],
    prompt: str | None = None,
    negative_prompt: str = "",
    seed: int = 0,
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
    kind = find_scheduler(scheduler or chosen.scheduler_config["_class_name"])
    if scheduler is not None:
        config |= kind.adds
    if eta is not None and not kind.takes_eta:
        raise BadInput(
            f"eta {eta} is not allowed with {kind.name}: only ddim takes one; leave it out or choose ddim."
        )
    if eta is None and kind.takes_eta:
        eta = settings.get("eta", 0.0)
    return RunSpec(
        model=chosen.name,
        digest=chosen.digest,
        prompt=settings.get("prompt", "") if prompt is None else prompt,
        negative_prompt=negative_prompt,
        guidance_scale=settings.get("guidance", 7.5) if guidance is None else guidance,
        scheduler=kind.class_name,
        scheduler_config=json.dumps(config),
        num_inference_steps=settings.get("steps", 25) if steps is None else steps,
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


def _file_digest(file: Path) -> str:
    """sha256 of one file. Files as large as Stable Diffusion's are hashed once and remembered."""
    status = file.stat()
    if status.st_size < 2**26:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    identity = f"{file} {status.st_size} {status.st_mtime_ns}"
    note = _digest_notes() / hashlib.sha256(identity.encode()).hexdigest()
    try:
        return note.read_text("ascii")
    except OSError:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.write_text(digest, "ascii")
    except OSError:
        pass  # it is only slower next time
    return digest


def _digest_notes() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "diffgrid-digests"
