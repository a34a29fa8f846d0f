"""How many evaluations each session may still ask for: in all, and within a minute."""

import threading
import time
from collections.abc import Callable

from diffgrid.engine.queue import REMEMBERED
from diffgrid.errors import Busy
from diffgrid.limits import Limits

MINUTE = 60.0  # seconds


class Allowances:
    """What was asked for so far, by session."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._total: dict[str, int] = {}  # the session that asked last is the last
        self._recent: list[tuple[float, str, int]] = []  # of the last minute
        self._lock = threading.Lock()

    def take(self, session: str, count: int, limits: Limits) -> None:
        """Take so many evaluations; within a minute a first request may be of any size.

        Raises:
            Busy: the session has not so many left; none are taken.
        """
        with self._lock:
            now = self._now()
            self._recent = [each for each in self._recent if each[0] > now - MINUTE]
            own = [(when, taken) for when, name, taken in self._recent if name == session]
            total = self._total.pop(session, 0)
            self._total[session] = total
            if total + count > limits.max_evaluations:
                raise Busy(
                    f"this server makes {limits.max_evaluations:,} evaluations for one visitor, "
                    f"and {max(0, limits.max_evaluations - total):,} of yours are left, where "
                    f"{count:,} are needed: ask for less, or run diffgrid on a machine of your own."
                )
            if own and sum(taken for _, taken in own) + count > limits.max_evaluations_a_minute:
                raise Busy(
                    f"this server makes {limits.max_evaluations_a_minute:,} evaluations a minute "
                    f"for one visitor, and yours are used up: try again in "
                    f"{max(1, round(own[0][0] + MINUTE - now))} s."
                )
            self._total[session] = total + count
            self._recent.append((now, session, count))
            while len(self._total) > REMEMBERED:
                del self._total[next(iter(self._total))]
