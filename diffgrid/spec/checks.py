"""Checks of single values: each raises BadInput with the one sentence that says what is allowed."""

import math
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.limits import Limits

HARD = Limits()  # nobody may go beyond these; a public server's own are tighter


def check_whole(field: str, value: object, low: int, high: int) -> None:
    """A whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:  # not isinstance: True is no number here
        raise BadInput(
            f"{field} {shown(value)} is not allowed: use a whole number from {low} to {high}."
        )


def check_real(field: str, value: Any, low: float, high: float) -> float:
    """A finite number from `low` to `high`, in the one way it is written in keys."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and low <= value <= high and value <= sys.float_info.max:  # false for NaN
        return float(value) + 0.0  # 3 and 3.0 must have one key, -0.0 and 0.0 too
    allowed = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
    raise BadInput(f"{field} {shown(value)} is not allowed: use a number {allowed}.")


def check_text(field: str, value: object, longest: int) -> str:
    """Text of at most so many characters that can be encoded."""
    if not isinstance(value, str):
        raise BadInput(f"{field} {shown(value)} is not allowed: use text.")
    if len(value) > longest:
        raise BadInput(
            f"{field} has {len(value):,} characters, which is too long: use at most {longest:,}."
        )
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f"{field} {shown(value)} is not valid Unicode: type it again as UTF-8.")
    return value


def check_digest(field: str, value: object) -> str:
    """A sha256 as it is written."""
    if not re.fullmatch(r"[0-9a-f]{64}", check_text(field, value, HARD.max_prompt)):
        raise BadInput(f"{field} {shown(value)} is not allowed: give 64 hexadecimal digits.")
    return str(value)


def rises(steps: Sequence[int]) -> bool:
    """Whether each step is later than the one before."""
    return all(first < second for first, second in pairwise(steps))


def shown(value: object) -> str:
    """A value as a sentence quotes it: on one line, and not too long."""
    try:
        text = ascii(value) if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # of more digits, or more levels, than Python writes
        text = f"of type {type(value).__name__}"
    return shortened(text)


def shortened(text: str) -> str:
    """Text of at most 60 characters."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def set_field(frozen: object, name: str, value: object) -> None:
    """Put what a check made of a field in its place, while a frozen value is being made."""
    object.__setattr__(frozen, name, value)
