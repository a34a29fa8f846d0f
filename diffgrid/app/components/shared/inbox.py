"""What a component asks of the server: each act arrives, and is done once.

The browser numbers its acts and sends all that no message has acknowledged yet (`outbox.js`), as a
state and no trigger: of two triggers that no run has read the later one takes the place of the
earlier. What merely hints has a state of its own.
"""

from collections.abc import Iterator
from typing import Any


class Inbox:
    """The acts of a session's components: each of one sender's numbers is taken once."""

    def __init__(self) -> None:
        self._sender, self._number = "", 0

    @property
    def receipt(self) -> tuple[str, int]:
        """For the next message: who sent, and up to which number it was taken."""
        return self._sender, self._number

    def take(self, told: object) -> Iterator[dict[str, Any]]:
        """The acts that are new, without what is not understood: a browser may send anything."""
        match told:
            case {"sender": str(sender), "acts": [*acts]}:
                pass
            case _:
                return
        if sender != self._sender:
            self._sender, self._number = sender, 0
        for each in acts:
            match each:
                case [int(number), dict(act)] if number > self._number:
                    self._number = number
                    yield act
