"""Memory that is free again, and is to be so for the rest of the machine too."""

import ctypes
import gc
import sys
import time
from contextlib import suppress

SECONDS_BETWEEN = 60


class Memory:
    """What this process has taken of the system, and gives back now and then.

    A server with fifty visitors who came and went grew by 13 MB a minute that nothing used. Of
    sessions that are gone, objects name each other, and with all that torch brings Python's
    collector finds it too few to look at them; and glibc keeps what was freed, in several arenas,
    each for some threads.
    """

    def __init__(self) -> None:
        self._next = 0.0  # monotonic seconds

    def give_back(self) -> None:
        """Hand free pages back, where that was not done just now; it takes some 100 ms."""
        if time.monotonic() < self._next:
            return
        gc.collect()
        if sys.platform == "linux":
            with suppress(AttributeError, OSError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)
        self._next = time.monotonic() + SECONDS_BETWEEN
