"""A view's way into an address and back: untrusted input ends here.

>>> view = from_query({"prompt": "a red monster", "steps": "10", "rows": "1,4:0.7.2"})
>>> view.rows
((1, (0, 1, 2, 3)), (4, (0, 7, 2)))
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.models.folder import BUNDLED
from diffgrid.models.registry import models, named
from diffgrid.sharing.view import COLUMNS, OPTIONS, Rows, View, _with_columns
from diffgrid.spec.grid import (
    format_fork_kind,
    parse_fork_kind,
)
from diffgrid.spec.path import Path, file_name, format_path, parse_path
from diffgrid.spec.schedulers import find_scheduler


def to_query(view: View) -> dict[str, str]:
    """The address's keys; none for the default view, or else all that decides this one.

    Defaults are written out too: they may be others in a later version.
    """
    if view == View.default():
        return {}
    options = {name: getattr(view, name) for name in OPTIONS}
    query = {name: _text(value) for name, value in options.items() if value not in (None, "")}
    # An empty prompt is a choice, and not the default.
    query |= {"prompt": view.prompt, "rows": _format_rows(view), "columns": str(view.columns)}
    if view.path:
        query["path"] = format_path(view.path)
    if view.back:
        query["fork"] = format_fork_kind(view.back)
    return query


def from_query(query: Mapping[str, str]) -> View:
    """The view that an address asks for; keys it does not know are left alone.

    Raises:
        BadInput: a value is malformed, not allowed, or above this server's limits.
    """
    model = query.get("model", BUNDLED[0])
    if model not in (each.name for each in named()):  # a path is for its owner's command line alone
        known = ", ".join(each.name for each in models())
        raise BadInput(f"model {model[:60]!r} is not known here: use {known}.")
    view = View.default(model)
    options: dict[str, Any] = {
        name: READERS[name](name, query[name])
        for name in OPTIONS
        if name in query and name != "model"
    }
    view = view.with_options(**options).with_fork_kind(parse_fork_kind(query.get("fork", "fresh")))
    columns = _whole("columns", query["columns"]) if "columns" in query else COLUMNS
    if "rows" in query or "columns" in query:
        most = Limits.from_environment().max_columns
        if not 1 <= columns <= most:
            raise BadInput(f"columns {columns} is not allowed: use 1 to {most}.")
        view = replace(view, rows=_with_columns([step for step, _ in view.rows], columns))
    if "rows" in query:
        view = replace(view, rows=_parse_rows(query["rows"], columns))
    view = view.follow(parse_path(query.get("path", "trunk")))
    view.grid()  # all that is out of range is told here
    return view


def command(view: View, path: Path) -> str:
    """The command line that makes one trajectory's strip."""
    words = ["python", "-m", "diffgrid", "strip"]
    for name in OPTIONS:
        value = getattr(view, name)
        if value not in (None, "") or name == "prompt":
            flag, text = f"--{name.replace('_', '-')}", _text(value)
            # Alone, a text that begins with a dash would be taken for the next option.
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    if path:
        words += ["--path", format_path(path)]
    return shlex.join([*words, "--out", f"{file_name(path)}.png"])


def _text(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _format_rows(view: View) -> str:
    plain = tuple(range(view.columns))
    return ",".join(
        str(step) if branches == plain else f"{step}:{'.'.join(map(str, branches))}"
        for step, branches in view.rows
    )


def _parse_rows(text: str, columns: int) -> Rows:
    if len(text) > 20_000 or not re.fullmatch(
        r"(\d{1,9}(:\d{1,9}(\.\d{1,9})*)?(,|$))*", text, re.A
    ):
        raise BadInput(
            f"rows {text[:60]!r} are not allowed: write steps, and a row's branches after a colon, "
            "such as 1,5:0.1.7.3,10."
        )
    rows = []
    for part in filter(None, text.split(",")):
        step, _, numbers = part.partition(":")
        branches = tuple(map(int, numbers.split("."))) if numbers else tuple(range(columns))
        rows.append((int(step), branches))
    return tuple(rows)


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise BadInput(f"{name} {text[:60]!r} is not allowed: use a whole number.")
    return int(text)


def _number(name: str, text: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?", text):
        raise BadInput(f"{name} {text[:60]!r} is not allowed: use a number.")
    return float(text)


def _words(name: str, text: str) -> str:
    return text


def _scheduler(name: str, text: str) -> str:
    return find_scheduler(text).name


READERS: dict[str, Callable[[str, str], Any]] = {
    "prompt": _words,
    "negative_prompt": _words,
    "seed": _whole,
    "scheduler": _scheduler,
    "steps": _whole,
    "guidance": _number,
    "eta": _number,
    "height": _whole,
    "width": _whole,
}
