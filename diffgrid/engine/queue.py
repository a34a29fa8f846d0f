"""Who is next: requests first, and their sessions in turn; then what nobody waits for."""

import itertools
from collections import deque
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar

from diffgrid.engine.protocol import Work
from diffgrid.errors import Busy

REMEMBERED = 1000  # sessions whose last turn is known, and those that are sampled ahead for


class Shared(Work, Protocol):
    """Work that identical requests share."""

    @property
    def identity(self) -> Hashable:
        """Equal for identical requests."""

    @property
    def open(self) -> bool:
        """Whether another request can still join."""


class Asker(Protocol):
    """One request's hold on shared work."""

    @property
    def session(self) -> str:
        """Who asks; sessions take turns."""

    def cancel(self) -> None:
        """Ask no longer."""


_S = TypeVar("_S", bound=Shared)


class Queue(Generic[_S]):
    """What is to be done by one worker, and for whom. It has no lock: its engine holds one."""

    def __init__(self) -> None:
        self._waiting: list[_S] = []  # in order of arrival
        self._askers: dict[_S, list[Asker]] = {}  # of what waits, and of what runs if it is shared
        self._turns = itertools.count()
        self._served: dict[str, int] = {}  # session -> its last turn; the newest last
        self._loading: Work | None = None
        self._ahead: dict[str, _S] = {}  # session -> its wish; the newest last
        self._background: deque[Work] = deque()  # in turn, a part each
        self._running: Work | None = None
        self._outbid = False

    def find(self, wanted: _S) -> _S | None:
        """The same request, where it waits or runs and can still be joined."""
        for work in self._askers:
            leaving = self._outbid and work is self._running
            if work.open and not leaving and work.identity == wanted.identity:
                return work
        return None

    def ask(self, work: _S, asker: Asker, most: int) -> None:
        """Have it done in its session's turn, or join who asked already; the session's wish goes.

        Raises:
            Busy: it is new, and `most` requests wait.
        """
        self._ahead.pop(asker.session, None)
        if work not in self._askers:
            self.check_room(most)
            self._waiting.append(work)
            self._askers[work] = []
            self._outbid = self._running is not None and not self.asked(self._running)
        self._askers[work].append(asker)

    def check_room(self, most: int) -> None:
        """Raise Busy where `most` requests wait."""
        count = len(self._waiting)
        if count >= most:
            waiting = "1 grid is waiting" if count == 1 else f"{count} grids are waiting"
            raise Busy(f"the server is busy: {waiting}; try again in a moment.")

    def before(self, work: _S) -> int:
        """How many requests are served before one that waits, as it stands; none where it runs."""
        if work not in self._waiting:
            return 0
        running = self._running is not None and self.asked(self._running)
        return sorted(self._waiting, key=self._last_turn).index(work) + running

    def waiting(self, session: str) -> list[Asker]:
        """A session's requests that wait, in order of arrival."""
        askers = (asker for work in self._waiting for asker in self._askers[work])
        return [asker for asker in askers if asker.session == session]

    def asked(self, work: Work) -> bool:
        """Whether somebody waits for it."""
        return any(each is work and askers for each, askers in self._askers.items())

    def leave(self, work: _S, asker: Asker) -> bool:
        """Ask no longer; whether it did."""
        asked = asker in self._askers.get(work, ())
        if asked:
            self._askers[work].remove(asker)
        return asked

    def drop(self, work: _S) -> bool:
        """Take it out where it waits; whether it did."""
        waits = work in self._waiting
        if waits:
            self._waiting.remove(work)
            del self._askers[work]
        return waits

    def load(self, work: Work) -> None:
        """Have a model loaded once nobody waits: the newest."""
        self._loading = work

    def wish(self, work: _S, session: str) -> None:
        """Have it done once nobody waits, until somebody does: a session has one wish, its last."""
        self._ahead.pop(session, None)
        self._ahead[session] = work
        _forget_oldest(self._ahead)

    def add_background(self, work: Work, most: int) -> None:
        """Have it done to its end, while nobody waits; such work takes turns, part by part.

        Raises:
            Busy: `most` are under way.
        """
        self._background = deque(each for each in self._background if not each.ended)
        if len(self._background) >= most:
            raise Busy("the server is busy with other work: try again later.")
        self._background.append(work)

    def next(self) -> Work | None:
        """What the worker does now: requests first, then loading, sampling ahead, background."""
        self._running, self._outbid = self._choose(), False
        return self._running

    def outbid(self) -> bool:
        """Whether somebody waits since, and nobody for what runs: it should make way."""
        return self._outbid

    def finish(self, work: Work) -> None:
        """It has ended, or made way: then it goes on when it is its turn again."""
        self._running = None
        self._askers = {each: askers for each, askers in self._askers.items() if each is not work}
        if not work.ended:
            self._background.append(work)

    def _choose(self) -> Work | None:
        if self._waiting:
            # Of those who were served longest ago, whoever asked first.
            chosen = min(self._waiting, key=self._last_turn)
            self._waiting.remove(chosen)
            for asker in self._askers[chosen]:
                self._served.pop(asker.session, None)
                self._served[asker.session] = next(self._turns)
            _forget_oldest(self._served)
            return chosen
        if self._loading:
            loading, self._loading = self._loading, None
            return loading
        if self._ahead:
            _, wished = self._ahead.popitem()  # the newest: pointers move on
            self._askers[wished] = []
            return wished
        return self._background.popleft() if self._background else None

    def _last_turn(self, work: _S) -> int:
        return min(self._served.get(asker.session, -1) for asker in self._askers[work])


def _forget_oldest(sessions: dict[str, Any]) -> None:
    while len(sessions) > REMEMBERED:
        del sessions[next(iter(sessions))]
