"""What a pipeline takes besides the options that every run has, as one text in a run's options.

    >>> parse_options("pag_scale=3; clip_skip=1")
    {'clip_skip': '1', 'pag_scale': '3'}
    >>> format_options({"guidance_rescale": 0.7})
    'guidance_rescale=0.7'

Which names there are, and of what kind, is the pipeline's to say (`models.calls`).
"""

import re
from collections.abc import Mapping

from diffgrid.errors import BadInput
from diffgrid.spec.checks import shown

MOST, LONGEST = 20, 200  # options of a run; characters of a value
Value = bool | int | float | str


def parse_options(text: str) -> dict[str, str]:
    """Name -> value as it is written, by name.

    Raises:
        BadInput: the text is not `name=value`, or several of them with semicolons between.
    """
    found = {}
    for part in filter(str.strip, text.split(";")):
        named = re.fullmatch(r"\s*([A-Za-z][A-Za-z0-9_]{0,59})\s*=(.*)", part)
        if not named or len(named[2].strip()) > LONGEST or not named[2].strip().isprintable():
            raise BadInput(
                f"option {shown(part)} is not allowed: write name=value, such as "
                f"guidance_rescale=0.7, with at most {LONGEST} characters."
            )
        found[named[1]] = named[2].strip()
    if len(found) > MOST:
        raise BadInput(f"{len(found)} options are too many: use at most {MOST}.")
    return dict(sorted(found.items()))


def format_options(values: Mapping[str, object]) -> str:
    """The options as one text, the same for the same options; `parse_options` takes it back.

    Raises:
        BadInput: a name or a value is none that can be written.
    """
    written = []
    for name, value in values.items():
        texts = [text for text in (name, value) if isinstance(text, str)]
        if not isinstance(value, Value) or any(";" in text for text in texts):
            raise BadInput(
                f"option {shown(name)} {shown(value)} is not allowed: use a number, true or false, "
                "or a short text without semicolons."
            )
        written.append(f"{name}={_write(value)}")
    return ";".join(f"{name}={value}" for name, value in parse_options(";".join(written)).items())


def _write(value: Value) -> str:
    """A number in one way, so that 3 and 3.0 are one."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case int():
            return shown(value)
    return value


def canonical_options(text: str) -> str:
    """The text in the one way of writing it."""
    return format_options(parse_options(text))


def parse_loras(text: str) -> dict[str, float]:
    """Name -> weight, by name.

        >>> parse_loras("crayon:0.80; ink")
        {'crayon': 0.8, 'ink': 1.0}

    Raises:
        BadInput: the text is not `name` or `name:weight`, or several of them with semicolons
            between.
    """
    found = {}
    for part in filter(str.strip, text.split(";")):
        named = re.fullmatch(
            r"([^:/\\]{1,100})(?::\s*([+-]?[0-9]{1,2}(\.[0-9]{0,9})?))?", part.strip()
        )
        if not named or not named[1].isprintable() or named[1].startswith("."):
            raise BadInput(
                f"lora {shown(part)} is not allowed: write the name of its folder, and a weight "
                "after a colon, such as crayon:0.8."
            )
        found[named[1].strip()] = float(named[2] or 1)
    if len(found) > MOST:
        raise BadInput(f"{len(found)} LoRAs are too many: use at most {MOST}.")
    return dict(sorted(found.items()))


def canonical_loras(text: str) -> str:
    """The text in the one way of writing it; those of no weight are left out."""
    weights = {
        name: f"{weight:.9f}".rstrip("0").rstrip(".") for name, weight in parse_loras(text).items()
    }
    return ";".join(f"{name}:{weight}" for name, weight in weights.items() if float(weight))
