"""The grids that somebody has looked at, as a tree: each under the one it was reached from first.

A browser keeps it over a reload, which is a new session here: as queries of addresses, each by what
it has other than the one above it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.sharing.address import KEYS, from_query, full_query
from diffgrid.sharing.view import View
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import describe

MOST_VISITED = 200
LARGEST = 40_000  # characters of what is kept, all together
LONGEST = 4_000  # characters of one query; a longer one is not taken in
MOST_REMEMBERED = 2_000  # views of all sessions whose words are
NONE = -1  # in place of the index of the one above

Kept = list[tuple[int, dict[str, str | None]]]  # the index above; of its query, what differs


class Journey:
    """Each view once, the one on view among them, in the order in which they were first visited."""

    def __init__(self, view: View) -> None:
        self.here = view
        self.taken_in = False  # whether a browser handed over what it had kept
        self._above: dict[View, View | None] = {view: None}  # which comes before what is under it

    def __iter__(self) -> Iterator[View]:
        return iter(self._above)

    def __len__(self) -> int:
        return len(self._above)

    def above(self, view: View) -> View | None:
        """Which it was reached from first; None for the first of all."""
        return self._above[view]

    def visit(self, view: View) -> None:
        """Another view is looked at, or one of before once more."""
        new = view not in self._above
        self._above.setdefault(view, self.here)
        self.here = view
        if new:
            self._shorten()

    def kept(self) -> Kept:
        """What a browser is to keep."""
        index = {view: number for number, view in enumerate(self)}
        return [
            (NONE if above is None else index[above], _changes(view, above))
            for view, above in self._above.items()
        ]

    def take_in(self, nodes: Collection[Any], at: object) -> None:
        """Put what a browser kept before all of this session; `at` is the index of what it showed.

        It may hand over anything, once: what cannot be is left out, and what was reached from that
        goes under the one above it.
        """
        if self.taken_in:
            return
        self.taken_in = True
        found = _read(nodes)
        if not found:
            return
        mine, self._above = self._above, {}
        root = next(view for view, _ in found if view)
        for view, above in found:
            if view:
                self._above.setdefault(view, None if view == root else above or root)
        left = found[at] if isinstance(at, int) and 0 <= at < len(found) else (None, None)
        for view, above in mine.items():
            # This session's first was come to from where the browser was.
            self._above.setdefault(view, above or left[0] or left[1] or root)
        self._shorten()

    def _shorten(self) -> None:
        while len(self) > MOST_VISITED or (
            len(self) > 1 and len(json.dumps(self.kept())) > LARGEST
        ):
            self._forget()

    def _forget(self) -> None:
        """The oldest leaf goes; where there is none but the view on view, the first of all."""
        inner = set(self._above.values())
        leaves = (view for view in self if view not in inner and view != self.here)
        first = next(iter(self))
        gone = next(leaves, first)
        del self._above[gone]
        for view, above in self._above.items():
            if above == gone:
                self._above[view] = None


@lru_cache(maxsize=MOST_REMEMBERED)  # asked for with each message
def _changes(view: View, above: View | None) -> dict[str, str | None]:
    query, other = full_query(view), full_query(above) if above else {}
    changed: dict[str, str | None] = {
        name: text for name, text in query.items() if other.get(name) != text
    }
    return changed | dict.fromkeys(other.keys() - query.keys())


def _read(nodes: Collection[Any]) -> list[tuple[View | None, View | None]]:
    """Each view, and the nearest one above it that is one; None where there is none."""
    found: list[tuple[View | None, View | None]] = []
    queries: list[dict[str, str]] = []
    for each in list(nodes)[:MOST_VISITED]:
        view, above, query = None, None, {}
        match each:
            case [int(number), dict(changes)] if NONE <= number < len(found):
                if number != NONE:
                    query, above = queries[number], found[number][0] or found[number][1]
                query = _changed(query, changes)
                view = _view(query)
        queries.append(query)
        found.append((view, above))
    return found if any(view for view, _ in found) else []


def _changed(query: Mapping[str, str], changes: Mapping[str, object]) -> dict[str, str]:
    whole = {name: changes.get(name, query.get(name)) for name in KEYS}
    return {name: text for name, text in whole.items() if isinstance(text, str)}


def _view(query: Mapping[str, str]) -> View | None:
    if not query or sum(map(len, query.values())) > LONGEST:
        return None
    try:
        return from_query(query)
    except BadInput:  # of a model that is gone, or above this server's limits
        return None


@lru_cache(maxsize=MOST_REMEMBERED)
def what_changed(view: View, above: View | None) -> str:
    """What a view has other than the one above it, in a few words: "5.2", "seed 8"."""
    if above is None:
        return describe(view.path)
    now, before = view.options, above.options
    words = [
        _said(option.name, now[option.name])
        for option in OPTIONS
        if option.addressed and now[option.name] != before[option.name]
    ]
    if view.path != above.path and (view.path or not words):
        words.append(describe(view.path[-1:]))
    if view.back != above.back:
        words.append(f"re-noise {view.back}" if view.back else "fresh forks")
    if words:
        return ", ".join(words)
    if len(view.rows) != len(above.rows):
        return f"{len(view.rows)} rows"
    if view.columns != above.columns:
        return f"{view.columns} columns"
    same = [step for step, _ in view.rows] == [step for step, _ in above.rows]
    return "rerolled" if same else "other rows"


def _said(name: str, value: Any) -> str:
    if name == "prompt":
        return f"“{' '.join(value.split())}”" if value else "no prompt"
    if isinstance(value, float):
        return f"{name} {value:g}"
    words = name.replace("_", " ")
    if name == "image" and value:
        return f"photo {value[:8]}"
    return f"no {words}" if value in (None, "") else f"{words} {value}"
