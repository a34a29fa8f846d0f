"""The views of a session: the one on view, those before it, and those that were taken back."""

from collections import deque

from diffgrid.app.session.journey import Journey
from diffgrid.sharing.view import View

MOST_UNDONE = 200


class History:
    """One view, and the way to and fro.

    `journey` has what was on view besides: an undo and another choice leave two ways there.
    """

    def __init__(self, view: View) -> None:
        self.journey = Journey(view)
        self._past: deque[View] = deque(maxlen=MOST_UNDONE)
        self._future: deque[View] = deque(maxlen=MOST_UNDONE)

    @property
    def view(self) -> View:
        """What is looked at."""
        return self.journey.here

    def __contains__(self, view: View) -> bool:
        return view == self.view or view in self._past or view in self._future

    @property
    def before(self) -> View | None:
        """What `undo` leads to."""
        return self._past[-1] if self._past else None

    @property
    def after(self) -> View | None:
        """What `redo` leads to."""
        return self._future[-1] if self._future else None

    def go(self, view: View) -> None:
        """Look at another view; what was taken back is forgotten."""
        self._past.append(self.view)
        self._future.clear()
        self.journey.visit(view)

    def undo(self) -> None:
        """Go back to the view before."""
        self._future.append(self.view)
        self.journey.visit(self._past.pop())

    def redo(self) -> None:
        """Take back an undo."""
        self._past.append(self.view)
        self.journey.visit(self._future.pop())
