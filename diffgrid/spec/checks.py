"""Checks of single values, each with the one sentence that says what is allowed."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.limits import Limits

HARD = Limits()


def rises(steps: Sequence[int]) -> bool:
    return all(first < second for first, second in pairwise(steps))


def set_field(frozen: object, name: str, value: object) -> None:
    object.__setattr__(frozen, name, value)


def check_whole(field: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:  # not isinstance: True is no number here
        raise BadInput(
            f"{field} {shown(value)} is not allowed: use a whole number from {low} to {high}."
        )


def check_real(field: str, value: Any, low: float, high: float) -> float:
    # 3 and 3.0 must have one key, -0.0 and 0.0 too: hence float() and + 0.0.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and low <= value <= high and value < math.inf:  # false for NaN
        return float(value) + 0.0
    allowed = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
    raise BadInput(f"{field} {shown(value)} is not allowed: use a number {allowed}.")


def check_text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{field} {shown(value)} is not allowed: use text.")
    if len(value) > longest:
        raise BadInput(
            f"{field} has {len(value):,} characters, which is too long: use at most {longest:,}."
        )
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInput(f"{field} {shown(value)} is not valid Unicode: type it again as UTF-8.")
    return value


def listed(numbers: Sequence[int]) -> str:
    return shown(",".join(map(str, numbers)))


def shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
