"""How the address follows the view, and the view an address that somebody else wrote."""

from collections.abc import Mapping

from diffgrid.app.session.page import Page
from diffgrid.sharing.address import from_query, to_query
from diffgrid.sharing.view import View


class Address:
    """The address of one tab, on whichever page it is."""

    def __init__(self) -> None:
        self.page: Page | None = None
        self._written: dict[str, str] | None = None  # as this session wrote it
        self._followed = False  # whether it came from elsewhere and is to be confirmed

    def load_query(self, page: Page, query: Mapping[str, str]) -> View | None:
        """The view that a link, a bookmark or the back button asks for; None where nobody does.

        A page that is come to without a query shows what was on view.

        Raises:
            BadInput: it asks for what cannot be.
        """
        arrived, self.page = page != self.page, page
        if page.keys or (arrived and not query):
            self._written = None  # this address is not the view's: it will be written
            return None
        if dict(query) == self._written:
            return None
        self._written, self._followed = dict(query), True
        return from_query(query)

    def write_query(self, view: View, shown: Mapping[str, str]) -> dict[str, str] | None:
        """The view's query; None where the browser, whose query is `shown`, need not be told."""
        query = to_query(view)
        # A link within the app changes the query but not the browser's address until it is written.
        known = query == self._written and query == shown and not self._followed
        self._written, self._followed = query, False
        return None if known else query
