"""Which runs a session compares."""

from collections.abc import Sequence

from diffgrid.app.session.run_list import MOST_SHOWN, address, first_pair, named
from diffgrid.store.runs import RunInfo


class Compared:
    """The runs that were chosen last, and which of them are on top of the table."""

    def __init__(self) -> None:
        self._chosen: str | None = None  # as an address; empty where nothing is to be shown
        self._ticked: str | None = None
        self._on_top: list[str] = []  # keys

    def choose(
        self, infos: Sequence[RunInfo], asked: str | None, view: str
    ) -> tuple[list[RunInfo], str | None]:
        """The runs to show, and one sentence on those that were asked for in vain.

        They are those of the address, `asked`, or else this session's, or else a pair to begin
        with: the run on view, whose key is `view`, and another.
        """
        text = asked or self._chosen
        if text is None:
            return first_pair(infos, view), None
        chosen, complaint = named(infos, text)
        return chosen if chosen or not text else first_pair(infos, view), complaint

    def remember(self, chosen: Sequence[RunInfo]) -> str:
        """Keep the choice for when the page is left and opened anew; its address.

        An empty one is forgotten: a pair is chosen then.
        """
        text = address(chosen)
        self._chosen = text or None
        return text

    def take(self, chosen: Sequence[RunInfo], ticked: Sequence[RunInfo]) -> list[RunInfo]:
        """The runs to show where these rows are ticked and those were shown: A stays A."""
        kept = [info for info in chosen if info in ticked]
        taken = [*kept, *(info for info in ticked if info not in kept)][-MOST_SHOWN:]
        if len(taken) == len(ticked):
            self._ticked = address(taken)
        return taken

    def show_nothing(self) -> None:
        """The last tick was taken away, on purpose."""
        self._chosen = ""

    def on_top(self, chosen: Sequence[RunInfo]) -> list[str]:
        """The keys of the table's first rows: of what was chosen last by other hands than ticks."""
        if self._ticked != address(chosen):
            self._ticked = address(chosen)
            self._on_top = [info.key for info in chosen]
        return self._on_top
