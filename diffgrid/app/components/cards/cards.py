"""Things to try, as cards under the grid: one message, where each card and link once was its own.

A link that is pressed is an act, `{"do": "visit", "query": {…}}`, and as sure to arrive as a touch
of the grid, which delivers it.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from diffgrid.app.components.shared.mount import component

_cards = component("cards", '<ul class="cards"></ul>')


class Card(TypedDict):
    """A thing to try; `links` are names, and the queries of the addresses they lead to."""

    title: str
    sentence: str
    links: Sequence[tuple[str, Mapping[str, str]]]  # an object would come with numbers first


def show_cards(cards: Sequence[Card]) -> None:
    """Mount them."""
    _cards(key="cards", data={"cards": cards})
