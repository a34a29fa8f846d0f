"""The options of a run, one row each: what people may set, by one name everywhere.

A row makes the keyword in Python, the key in an address, the flag on the command line and its help,
what lists and captions call it, and the check of what was typed. An option added to this table is
also a field of the form, of every stored specification and of the key:

    Option("clip_skip", int, "layers of the text encoder to leave out", 0, low=0, high=12)

It is kept in `RunSpec.added`, is no part of the key while it has its default, so that older runs
keep theirs, and is read as `spec.option("clip_skip")` by whoever heeds it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.spec.checks import HARD, check_digest, check_real, check_text, check_whole
from diffgrid.spec.pipeline_options import canonical_loras, canonical_options
from diffgrid.spec.schedulers import SCHEDULERS

FIRST_MODEL = "monsters"
SEED = 7  # where nobody chose one: the same picture for everyone who tries it first
STRENGTH = 0.8  # of a photo, the library's own


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, what it is, and what the command line says of it."""

    name: str  # in Python and in addresses; the command line writes it with dashes
    kind: type[str] | type[int] | type[float]
    help: str
    default: Any = None  # None is the model's own choice
    low: float = 0  # of an added number
    high: float = 0
    addressed: bool = True  # whether an address says it
    added: bool = True  # since the first release: it has no field of its own in RunSpec
    canonical: Callable[[str], str] = str  # the one way to write an added text
    several: bool = False  # whether the command line takes it several times

    @property
    def title(self) -> str:
        """What captions, lists and the form call it."""
        return self.name.replace("_", " ")

    @property
    def flag(self) -> str:
        """What the command line calls it."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, text: str) -> Any:
        """What somebody typed.

        Raises:
            BadInput: it is no number where one is wanted.
        """
        if self.kind is str:
            return text
        if self.kind is int and re.fullmatch(r"[+-]?[0-9]{1,300}", text):
            return int(text)
        if self.kind is float and re.fullmatch(
            # Whether it is finite and in range is told with what is allowed.
            r"[+-]?(nan|inf|([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})(e[+-]?[0-9]{1,3})?)",
            text,
            re.IGNORECASE | re.ASCII,
        ):
            return float(text)
        number = "a whole number" if self.kind is int else "a number"
        raise BadInput(f"{self.name} {text[:60]!r} is not allowed: use {number}.")

    def check(self, value: Any) -> Any:
        """An added option's value as it is kept.

        Raises:
            BadInput: it is of another kind or out of range.
        """
        if self.kind is str:
            return self.canonical(check_text(self.title, value, HARD.max_prompt))
        if self.kind is float:
            return check_real(self.title, value, self.low, self.high)
        check_whole(self.title, value, int(self.low), int(self.high))
        return value

    def write(self, value: Any) -> str:
        """A value as addresses and the command line write it; `read` takes it back."""
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _digest(text: str) -> str:
    """A picture, as a run names it: by the digest of its pixels."""
    return check_digest("image", text) if text else text


OPTIONS = (
    Option("model", str, "a name from `models`, or a diffusers folder", FIRST_MODEL, added=False),
    Option("prompt", str, "what to draw (default: one that shows the model off)", added=False),
    Option("negative_prompt", str, "what to keep away from", "", added=False),
    Option("seed", int, f"of the trunk's noise (default: {SEED})", SEED, added=False),
    Option(
        "scheduler",
        str,
        f"{', '.join(s.name for s in SCHEDULERS)}, or a class name (default: the model's own)",
        added=False,
    ),
    Option("steps", int, "denoising steps, 1 to 1000", added=False),
    Option("guidance", float, "classifier-free guidance scale; 1 is none", added=False),
    Option("eta", float, "of ddim: 0 is deterministic, 1 as random as ddpm", added=False),
    Option("height", int, "pixels", added=False),
    Option("width", int, "pixels", added=False),
    Option(
        "dtype",
        str,
        "float32, bfloat16 or float16 (default: DIFFGRID_DTYPE, or else float32; half the "
        "precision for a large model where a GPU is)",
        addressed=False,
        added=False,
    ),
    Option(
        "option",
        str,
        "NAME=VALUE that its pipeline takes besides, such as guidance_rescale=0.7; may be repeated",
        "",
        canonical=canonical_options,
        several=True,
    ),
    Option(
        "lora",
        str,
        "a LoRA beside the model's folder, with its weight: crayon:0.8; may be repeated",
        "",
        canonical=canonical_loras,
        several=True,
    ),
    Option(
        "image",
        str,
        "a picture to begin with in place of noise: a PNG, JPEG or WebP file, or the digest of one "
        "that was used before",
        "",
        canonical=_digest,
    ),
    Option(
        "strength",
        float,
        "how far from that picture, 0 to 1: the share of the steps that are taken (default: 0.8)",
        STRENGTH,
        high=1,
    ),
)


def added() -> dict[str, Option]:
    """The options that were added since the first release, by name."""
    return {option.name: option for option in OPTIONS if option.added}
