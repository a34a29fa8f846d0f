"""A view's way into an address and back: untrusted input ends here.

>>> view = from_query({"prompt": "a red monster", "steps": "10", "rows": "1,4:0.7.2"})
>>> view.rows
((1, (0, 1, 2, 3)), (4, (0, 7, 2)))
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from diffgrid.errors import BadInput
from diffgrid.limits import Limits
from diffgrid.models.registry import models, named
from diffgrid.sharing.view import COLUMNS, Rows, View, plain_rows
from diffgrid.spec.grid import format_fork_kind, parse_fork_kind
from diffgrid.spec.options import FIRST_MODEL, OPTIONS
from diffgrid.spec.path import Path, file_name, format_path, parse_path
from diffgrid.spec.schedulers import find_scheduler

# Of an address, what says something of a view.
KEYS = {option.name for option in OPTIONS if option.addressed} | {"rows", "columns", "path", "fork"}


def to_query(view: View) -> dict[str, str]:
    """The address's keys; none for the default view, or else all that decides this one.

    Defaults are written out too: they may be others in a later version.
    """
    return {} if view == View.default() else full_query(view)


def full_query(view: View) -> dict[str, str]:
    """The same, of the default view too."""
    query = _said(view) | {"rows": _format_rows(view), "columns": str(view.columns)}
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
    model = query.get("model", FIRST_MODEL)
    if model not in (each.name for each in named()):  # a path is for its owner's command line alone
        known = ", ".join(each.name for each in models())
        raise BadInput(f"model {model[:60]!r} is not known here: use {known}.")
    view = View.default(model)
    options = {
        option.name: option.read(query[option.name])
        for option in OPTIONS
        if option.addressed and option.name in query and option.name != "model"
    }
    if "scheduler" in options:
        options["scheduler"] = find_scheduler(options["scheduler"]).name
    view = view.with_options(**options).with_fork_kind(parse_fork_kind(query.get("fork", "fresh")))
    columns = _whole("columns", query["columns"]) if "columns" in query else COLUMNS
    if "rows" in query or "columns" in query:
        most = Limits.from_environment().max_columns
        if not 1 <= columns <= most:
            raise BadInput(f"columns {columns} is not allowed: use 1 to {most}.")
        view = replace(view, rows=plain_rows([step for step, _ in view.rows], columns))
    if "rows" in query:
        view = replace(view, rows=_parse_rows(query["rows"], columns))
    view = view.follow(parse_path(query.get("path", "trunk")))
    view.grid()  # all that is out of range is told here
    return view


def query_of_one(view: View, path: Path) -> dict[str, str]:
    """The query of a page that shows one path of the view's grid by itself."""
    query = to_query(view.follow(path))
    return query if path == view.path == () else query | {"trunk": format_path(view.path)}


def command(view: View, path: Path) -> str:
    """The command line that makes one trajectory's strip."""
    words = ["--path", format_path(path)] if path else []
    return f"{_command_of(view)} {shlex.join([*words, '--out', f'{file_name(path)}.png'])}"


@lru_cache(maxsize=100)  # asked for with each cell that is drawn
def _command_of(view: View) -> str:
    words = ["python", "-m", "diffgrid", "strip"]
    said = _said(view)
    for option in OPTIONS:
        if option.name in said:
            text = said[option.name]
            # Alone, a text that begins with a dash would be taken for the next option.
            words += [f"{option.flag}={text}"] if text[:1] == "-" else [option.flag, text]
    return shlex.join(words)


def _said(view: View) -> dict[str, str]:
    """The options that decide a view, as they are written; an empty prompt is a choice too."""
    values = view.options
    return {
        option.name: option.write(values[option.name])
        for option in OPTIONS
        if option.name in values
        and (option.name == "prompt" or values[option.name] not in (None, ""))
        and not (option.added and values[option.name] == option.default)
    }


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
