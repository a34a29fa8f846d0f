"""Memory that is free again, and is to be so for the rest of the machine too."""

import ctypes
import sys
import time
from contextlib import suppress

SECONDS_BETWEEN = 30


class Memory:
    """What this process has taken of the system, and gives back now and then.

    glibc keeps what was freed, in several arenas, each for some threads: a server with fifty
    visitors who came and went grew by 13 MB a minute that nothing used.
    """

    def __init__(self) -> None:
        self._next = 0.0  # monotonic seconds

    def give_back(self) -> None:
        """Hand free pages back, where that was not done just now; it takes some 20 ms."""
        if sys.platform == "linux" and time.monotonic() > self._next:
            with suppress(AttributeError, OSError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)
            self._next = time.monotonic() + SECONDS_BETWEEN
