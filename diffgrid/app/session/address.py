"""How the address follows the view, and the view an address that somebody else wrote.

Each page's holds the whole grid, so that one that is loaded anew has it still.
"""

from collections.abc import Mapping

from diffgrid.app.session.page import Page
from diffgrid.sharing.address import from_query
from diffgrid.sharing.view import View
from diffgrid.spec.path import Path, parse_path

MOST_SHOWN = 100  # written and not seen to be heard of; a page that is only touched is not run anew


class Address:
    """The address of one tab, on whichever page it is."""

    def __init__(self) -> None:
        self.page: Page | None = None
        self._written: dict[str, str] | None = None  # as this session wrote it
        self._followed = False  # whether it came from elsewhere and is to be confirmed
        # What the browser may still show: the newest that it was seen to, and all written since.
        self._shown: list[dict[str, str]] = []

    def load_query(
        self, page: Page, query: Mapping[str, str], now: View, *, back: bool = False
    ) -> tuple[View, Path] | None:
        """The view that a link, a bookmark or the back button asks for; None where nobody does.

        And the path of its grid that the address names, for a page that shows one by itself. What
        has no view's query shows what is on view, `now`: a page that is come to, or whose link is
        pressed again. Only gone `back` to, within a page, it is the first view of all.

        Raises:
            BadInput: it asks for what cannot be.
        """
        arrived, self.page = page != self.page, page
        if not query.keys() - set(page.keys) and (arrived or not back):
            self._written = None  # this address is not the view's: it will be written
            return None
        if dict(query) == self._written:
            self._shown = [dict(query)]
            return None
        if not (arrived or back) and query in self._shown:
            self._followed = True  # it was sent before the newest was heard of, which is said again
            return None
        self._written, self._followed, self._shown = dict(query), True, [dict(query)]
        named = from_query(query)
        view, one = named, page.shows_one_path
        if "trunk" in query:
            view = named.follow(parse_path(query["trunk"]))
        elif one and named.follow(now.path) == now:
            view = now
        known = named.path in view.grid().paths
        return (view if known or not one else named), named.path

    def write_query(self, query: dict[str, str], shown: Mapping[str, str]) -> dict[str, str] | None:
        """What to write; None where the browser, whose query is `shown`, need not be told."""
        # A link within the app changes the query but not the browser's address until it is written.
        known = query == self._written and query == shown and not self._followed
        self._written, self._followed = query, False
        if not known:
            self._shown = [*self._shown[-MOST_SHOWN:], query]
        return None if known else query
