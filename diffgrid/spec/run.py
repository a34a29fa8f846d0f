"""What decides a run: the specification of a trunk, and the key of a trajectory."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Self

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.spec.checks import (
    HARD,
    check_digest,
    check_real,
    check_text,
    check_whole,
    set_field,
    shown,
)
from diffgrid.spec.options import added
from diffgrid.spec.path import Path
from diffgrid.spec.pipeline_options import parse_options
from diffgrid.spec.schedulers import (
    Loop,
    draws_noise,
    forks_are_mended,
    loop,
    scheduler_of,
    stages_of,
)

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that decides a trunk. Equal specifications give equal trajectories.

    Raises:
        BadInput: a field is outside its range (`Limits()` has the upper ends).
    """

    model: str  # what people call it: a catalogue name or a folder; not part of the key
    digest: str  # sha256 of the weights, 64 hexadecimal digits
    prompt: str
    negative_prompt: str
    guidance_scale: float  # w of classifier-free guidance, 0 and up; 1 is none
    scheduler: str  # a diffusers class name
    scheduler_config: str  # JSON of the full configuration it is built with; made canonical here
    num_inference_steps: int
    eta: float | None  # of DDIM, 0 … 1; None for schedulers that have none
    seed: int
    height: int  # pixels
    width: int  # pixels
    dtype: str = "float32"  # the model runs in it; arrays are stored in float32 all the same
    # JSON of the options added since (`options.py`), those at their default left out. What a newer
    # version wrote is kept: such a run can be shown, but not gone on with.
    added: str = "{}"

    def __post_init__(self) -> None:
        set_field(self, "guidance_scale", check_real("guidance", self.guidance_scale, 0, math.inf))
        if self.eta is not None:
            set_field(self, "eta", check_real("eta", self.eta, 0, 1))
        check_text("model", self.model, HARD.max_prompt)
        check_digest("digest", self.digest)
        if not check_text("scheduler", self.scheduler, 100).isidentifier():
            raise BadInput(
                f"scheduler {shown(self.scheduler)} is not allowed: give a diffusers class name."
            )
        set_field(self, "scheduler_config", _canonical_config(self.scheduler_config))
        if self.dtype not in DTYPES:
            raise BadInput(
                f"dtype {shown(self.dtype)} is not allowed: choose one of {', '.join(DTYPES)}."
            )
        set_field(self, "added", _without_defaults(self.added))
        self.check(HARD)
        if not self.photo and "strength" in self.chosen:
            raise BadInput(
                f"strength {self.option('strength'):g} is of a picture to begin with: give an "
                "image too, or leave it out."
            )
        if self.photo and not self.length:
            raise BadInput(
                f"strength {self.option('strength'):g} leaves none of {self.num_inference_steps} "
                "steps to take: raise it, or the steps."
            )

    def check(self, limits: Limits) -> None:
        """Check the fields that limits bound; construction has done it for `Limits()`.

        Raises:
            BadInput: a field is above its limit.
        """
        check_text("prompt", self.prompt, limits.max_prompt)
        check_text("negative prompt", self.negative_prompt, limits.max_prompt)
        check_whole("steps", self.num_inference_steps, 1, limits.max_steps)
        check_whole("seed", self.seed, 0, limits.max_seed)
        for side, pixels in (("height", self.height), ("width", self.width)):
            check_whole(side, pixels, 8, limits.max_side)
            if pixels % 8:
                raise BadInput(f"{side} {pixels} is not allowed: use a multiple of 8 pixels.")
        if self.photo and limits.public:
            raise BadInput(
                "image is not allowed on a public server: leave it out, or run diffgrid on a "
                "machine of your own."
            )

    @property
    def loop(self) -> Loop:
        """The steps that its scheduler makes."""
        strength = self.option("strength") if self.photo else None
        return loop(self.scheduler, self.scheduler_config, self.num_inference_steps, strength)

    @property
    def length(self) -> int:
        """T, the steps of the loop: not `num_inference_steps` where one takes two evaluations."""
        return self.loop.length

    @property
    def photo(self) -> str:
        """The digest of the picture that it begins with; empty where it begins with noise."""
        digest: str = self.option("image")
        return digest

    @property
    def fork_steps(self) -> range:
        """The steps at which a trajectory can be forked."""
        return self.loop.fork_steps

    @property
    def stages(self) -> int:
        """How many steps of the loop belong together."""
        return stages_of(self.scheduler, self.scheduler_config)

    @property
    def draws_noise(self) -> bool:
        """Whether its scheduler's own steps add noise."""
        return draws_noise(self.scheduler, self.scheduler_config, self.eta)

    def option(self, name: str) -> Any:
        """The value of an option that was added."""
        return self.chosen.get(name, added()[name].default)

    @property
    def chosen(self) -> dict[str, Any]:
        """The added options that are not at their default."""
        values: dict[str, Any] = json.loads(self.added)
        return values

    @property
    def added_words(self) -> dict[str, str]:
        """The same for captions and lists."""
        words = {name: str(value) for name, value in self.chosen.items()}
        words |= parse_options(words.pop("option", ""))
        if self.photo:
            words |= {"image": self.photo[:8], "strength": f"{self.option('strength'):g}"}
        return {name.replace("_", " "): value for name, value in words.items()}

    @property
    def unknown(self) -> list[str]:
        """The options that a newer version knows: nothing can be sampled under them here."""
        return [name for name in self.chosen if name not in added()]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON; an added option where it is not at its default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["added"]
        return values | self.chosen

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take back what `to_dict` gave.

        Raises:
            BadInput: a field is missing, of another type or outside its range.
        """
        own = {field.name: field for field in fields(cls) if field.name != "added"}
        needed = {name for name, field in own.items() if field.default is MISSING}
        if missing := sorted(needed - values.keys()):
            raise BadInput(
                f"a run specification lacks {shown(', '.join(missing))}: give all of "
                f"{', '.join(sorted(needed))}."
            )
        told = {name: value for name, value in values.items() if name in own}
        later = {name: value for name, value in values.items() if name not in own}
        return cls(**told, added=canonical(later))


def key(spec: RunSpec, path: Path) -> str:
    """The name a trajectory is stored under: sha256 over all that decides its numbers, 64 digits.

    The model counts by the digest of its weights: its name may differ from machine to machine.
    """
    version = scheduler_of(spec.scheduler).version
    if any(not (fork.changes or fork.back) for fork in path):
        version += forks_are_mended(
            spec.scheduler, spec.scheduler_config, spec.eta, spec.num_inference_steps
        )
    return _key(spec, path, version)


@lru_cache(maxsize=4096)  # a page asks for the same some seventy times
def _key(spec: RunSpec, path: Path, sampler: int) -> str:
    specification = spec.to_dict()
    del specification["model"]
    specification.pop("lora", None)  # the digest says which files there are, and how strong
    forks = [fork.words for fork in path]
    text = canonical({"specification": specification, "path": forks, "sampler": sampler})
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def conditions(spec: RunSpec, path: Path) -> RunSpec:
    """The specification whose prompt and guidance a path ends under: its changes applied."""
    for fork in path:
        spec = replace(
            spec,
            prompt=spec.prompt if fork.prompt is None else fork.prompt,
            guidance_scale=(
                spec.guidance_scale if fork.guidance_scale is None else fork.guidance_scale
            ),
        )
    return spec


def canonical(value: object) -> str:
    """JSON that is the same for the same value."""
    # Not allow_nan=False: DPM-Solver's own default is lambda_min_clipped = -Infinity.
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _without_defaults(text: object) -> str:
    values = json.loads(_canonical_object(text) or "0") if isinstance(text, str) else None
    if not isinstance(values, dict):
        raise BadInput(f"added options {shown(text)} are not allowed: give a JSON object.")
    known = added()
    checked = {name: known[name].check(v) if name in known else v for name, v in values.items()}
    return canonical({n: v for n, v in checked.items() if n not in known or v != known[n].default})


def _canonical_config(text: object) -> str:
    config = _canonical_object(text) if isinstance(text, str) else None
    if config is None:
        raise BadInput(f"scheduler configuration {shown(text)} is not allowed: give a JSON object.")
    return config


@lru_cache(maxsize=256)  # often a thousand betas, asked for with each link on a page
def _canonical_object(text: str) -> str | None:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return canonical(config) if isinstance(config, dict) else None
