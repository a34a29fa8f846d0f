"""A whole grid as one HTML file that plays with no server.

It is the component as the app has it, its messages with the pictures taken out (each stands in the
file once, by its name), and `page.js`, which answers as a server would: it goes to every grid that
the file holds. The file may ask for nothing: its own policy forbids each request.
"""

import json
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from html import escape
from string import Template
from typing import Any

from diffgrid.browser.message import GridState, message
from diffgrid.browser.modules import import_map, stylesheet, template
from diffgrid.browser.protocol import unpack
from diffgrid.records.frames import Frames, decode, encode
from diffgrid.sharing.recipe import element
from diffgrid.spec.path import evaluations_of

LARGEST = 3_000_000  # bytes
EVERY = (2, 3, 4)  # of the pictures along the way, where all are too many
_ORDINALS = {2: "second", 3: "third", 4: "fourth"}
_ENTRY = "page/page.js"
Lossy = Callable[[Frames], Frames]  # `_lossy`, which codes each picture once in a file


@dataclass(frozen=True)
class Page:
    """What stands in a file.

    Args:
        shown: the grid on view.
        behind: the grids that a click on it leads to, whole ones; the first are the last left out.
        recipe: what `recipe.write` says of the grid on view.
        address: an app's that shows the grid on view, up to its path; empty where there is none.
    """

    shown: GridState
    behind: Sequence[GridState]
    recipe: str
    address: str = ""

    def html(self, largest: int = LARGEST) -> bytes:
        """The file: as much of all that as goes into so many bytes, and the grid on view at least.

        Where the grid on view is too large by itself, first its finished pictures lose what nobody
        sees, then it loses pictures along its cells' ways, every other one of them or more; if it
        still is, nothing is behind it. Of grids behind, first such pictures are left out, then
        whole grids, the last first.
        """
        lossy, coded = cache(_lossy), dict[str, str]()
        shown, head, alone = self.shown, dict[str, Any](), b""
        for shown in _ever_smaller(self.shown, lossy):
            head = self._head(shown, coded)
            alone = self._html([head], coded)
            if len(alone) <= largest:
                break
        if len(alone) > largest or not self.behind:
            return alone
        heads = [head]
        for every in (1, *EVERY):
            thinned = (_thinned(state, every, shown, lossy) for state in self.behind)
            heads = [head, *(self._head(state, coded) for state in thinned)]
            if len(whole := self._html(heads, coded)) <= largest:
                return whole

        def size(count: int) -> int:
            return len(self._html(heads[:count], coded))

        most = bisect_right(range(2, len(heads)), largest, key=size)
        return self._html(heads[: 1 + most], coded)

    def _head(self, state: GridState, coded: dict[str, str]) -> dict[str, Any]:
        """A grid's message, without its pictures: those go to the `coded` ones, by name."""
        head, sent = unpack(message(replace(state, file={"link": self.address})))
        del head["lengths"]
        for name, picture in zip(head["names"], sent, strict=True):
            if name not in coded:
                coded[name] = b64encode(picture).decode("ascii")
        return head

    def _html(self, heads: Sequence[Mapping[str, Any]], coded: Mapping[str, str]) -> bytes:
        paths = [head["path"] for head in heads]
        file = {"paths": paths, "link": self.address}
        return _written(
            title=self.shown.grid.spec.prompt or "no prompt",
            facts=" · ".join(self.shown.recipe),
            address=self.address and self.address + paths[0],
            recipe=self.recipe,
            grids=_json([{**head, "file": file} for head in heads]),
            pictures=_json({name: coded[name] for head in heads for name in head["names"]}),
        )


def _written(
    *, title: str, facts: str, address: str, recipe: str, grids: str, pictures: str
) -> bytes:
    """All that into `page.html`."""
    imports, entry = _json(import_map(_ENTRY)), f'import "{_ENTRY}";'
    link = f' · <a href="{escape(address)}">open it in the app</a>' if address else ""
    text = Template(template("page/page.html")).substitute(
        policy=_policy(imports, entry),
        title=escape(title),
        facts=escape(facts),
        link=link,
        style=stylesheet("page/page.css"),
        sheet=stylesheet("grid/grid.css"),
        recipe=element(recipe),
        imports=imports,
        entry=entry,
        grids=grids,
        pictures=pictures,
    )
    return text.encode("utf-8")


def _policy(*scripts: str) -> str:
    """Only these scripts run, and what they import of the file; nothing is asked for anywhere.

    The `style` attributes of what the component draws need 'unsafe-inline'.
    """
    digests = (b64encode(sha256(script.encode()).digest()).decode("ascii") for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed} data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """JSON that ends no element which it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")


def _ever_smaller(shown: GridState, lossy: Lossy) -> Iterator[GridState]:
    yield shown
    smaller = replace(shown, made={path: lossy(frames) for path, frames in shown.made.items()})
    yield smaller
    trunk = replace(smaller, made={shown.grid.path: smaller.made[shown.grid.path]})
    for every in EVERY:
        yield _thinned(shown, every, trunk, lossy)


def _lossy(frames: Frames) -> Frames:
    """Its finished picture in a seventh of the bytes; nobody sees the difference."""
    final = encode(decode(frames.final), format="WEBP", quality=90, method=4)
    return replace(frames, final=final)


def _thinned(state: GridState, every: int, shown: GridState, lossy: Lossy) -> GridState:
    """A grid with what the grid on view has, and every so many of its own pictures along the way.

    Each stands until the next. The last guess stands for the finished picture where it was decoded
    in the same way, as in a first message.
    """
    length = state.grid.spec.length
    there = {
        name: picture
        for path, frames in shown.made.items()
        for name, picture in zip(evaluations_of(path, length), frames.x0, strict=True)
    }
    made = {}
    for path, frames in state.made.items():
        if path in shown.made:
            made[path] = shown.made[path]
            continue
        x0: list[bytes] = []
        for step, name in enumerate(evaluations_of(path, length)):
            chosen = not x0 or (length - 1 - step) % every == 0
            x0.append(there.get(name) or (frames.x0[step] if chosen else x0[-1]))
        small = lossy(frames) if frames.decoding.approximate else replace(frames, final=x0[-1])
        made[path] = replace(small, x0=tuple(x0))
    fewer = f"x̂0 of every {_ORDINALS[every]} step" if every > 1 else ""
    return replace(state, made=made, note="; ".join(filter(None, [state.note, fewer])))
