"""What a touch of the grid or the strip does (`grid.py` lists most; a browser sends anything)."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from diffgrid.app.session.page import COMPARE, DECISIONS, STRIP
from diffgrid.app.session.run_list import MOST_SHOWN
from diffgrid.app.session.session import Session
from diffgrid.browser.protocol import MOST_REMEMBERED, SentImages
from diffgrid.errors import DiffgridError
from diffgrid.sharing import recipe
from diffgrid.sharing.address import from_query, query_of_one, to_query
from diffgrid.sharing.recipe import Recipe
from diffgrid.sharing.view import View
from diffgrid.spec.checks import HARD, check_text
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key as key_of


def _follow(view: View, what: Mapping[str, Any]) -> View:
    return view.follow(parse_path(what["path"]))


# The view that each of these leads to.
_VIEWS: dict[str, Callable[[View, Mapping[str, Any]], View]] = {
    "follow": _follow,
    "goto": _follow,
    "reroll_row": lambda view, what: view.reroll_row(what["step"]),
    "reroll_cell": lambda view, what: view.reroll_cell(what["step"], what["branch"]),
    "add_row": lambda view, what: view.add_row(what["step"]),
    "drop_row": lambda view, what: view.drop_row(what["step"]),
    "add_column": lambda view, what: view.add_column(),
    "drop_column": lambda view, what: view.drop_column(),
    # From the trunk that it names: the strip's may be any of the grid.
    "change": lambda view, what: (_follow(view, what) if "path" in what else view).change(
        what["step"], what["prompt"], what["guidance"]
    ),
}
MOST_ACTS = 100  # done at once; people are slower
_RESHAPES = {"add_row", "drop_row", "add_column", "drop_column"}  # which the form shows too


def take(mine: Session, told: object) -> None:
    """Do all that the browser asks for and that was not done yet (see `Inbox`)."""
    # A browser sends what is left once more: nothing has acknowledged it.
    for what in islice(mine.inbox.take(told), MOST_ACTS):
        act(mine, what)


def rest(mine: Session, told: object) -> None:
    """The pointer rests on a cell, `{"path": …}`."""
    match told:
        case {"path": str(path)}:
            with suppress(DiffgridError):
                mine.rest(parse_path(path))


def lack(sent: SentImages, told: object) -> None:
    """The browser has no pictures of these names, `{"names": […]}`, whatever it was `sent`."""
    match told:
        case {"names": [*names]}:
            few = names[:MOST_REMEMBERED]
            sent.lacks(name for name in few if isinstance(name, str))


def act(mine: Session, what: Mapping[str, Any]) -> None:
    """Do it; what cannot be done is told on the page."""
    try:
        _act(mine, what)
    except (DiffgridError, KeyError, TypeError, AttributeError) as error:
        told = isinstance(error, DiffgridError)
        mine.error = str(error) if told else "that touch was not understood: reload the page."


def _act(mine: Session, what: Mapping[str, Any]) -> None:
    match what.get("do"):
        case name if name in _VIEWS:
            stale = mine.stale
            mine.go(_VIEWS[name](mine.view, what))
            mine.generation += stale or name in _RESHAPES
        case "prompt":
            mine.generation += 1
            prompt = check_text("prompt", what["prompt"], HARD.max_prompt)
            mine.change(mine.form.with_options(prompt=prompt))
        case "undo" if mine.history.before is None and "to" in what:
            # The page was loaded anew since.
            mine.go(_view(what["to"]))
        case "undo":
            mine.undo()
        case "visit":
            mine.visit(_view(what["query"]))
        case "take_in":
            mine.history.journey.take_in(what["nodes"], what["at"])
        case "redo":
            mine.redo()
        case "cancel":
            mine.clear()
        case "resample":
            mine.again()
        case "lane":
            mine.show_lane(what["lane"])
        case "pick":
            mine.one_run.pick(mine.view, parse_path(what["path"]))
        case "star":
            view = _view(what["query"]) if "query" in what else mine.view
            mine.star(view.spec, parse_path(what["path"]), bool(what["on"]))
        case "strip":
            path = parse_path(what["path"])
            mine.one_run.pick(mine.view, path)
            mine.next = STRIP, query_of_one(mine.view, path)
        case "compare":
            paths = map(parse_path, what["paths"][:MOST_SHOWN])
            keys = [key_of(mine.view.spec, path)[:8] for path in paths]
            mine.next = COMPARE, {"runs": ",".join(keys)}
        case "share":
            mine.sharing = True
        case "open":
            _open(mine, recipe.read(check_text("recipe", what["recipe"], recipe.LARGEST)))


def _open(mine: Session, found: Recipe) -> None:
    """Go to what a file was made of, and say where it cannot look the same."""
    mine.visit(found.view)
    mine.error = mine.error or found.note
    if found.kind == "strip":
        mine.one_run.pick(found.view, found.path)
        mine.next = STRIP, query_of_one(found.view, found.path)
    elif found.kind == "decisions":
        mine.next = DECISIONS, to_query(found.view)


def _view(query: Mapping[str, Any]) -> View:
    return from_query({name: str(value) for name, value in query.items()})
