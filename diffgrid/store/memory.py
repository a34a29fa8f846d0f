"""A shelf that is gone with the process: where results stay while the disk fails."""

import contextlib
import threading
from collections.abc import Iterator


class MemoryShelf:
    """Rows in a dict, the one used longest ago first; with `evict`, at most `limit` bytes."""

    def __init__(self, limit: int, *, evict: bool = True) -> None:
        self.values: dict[str, bytes] = {}
        self.limit, self.evict = limit, evict
        self.there = True
        self._lock = threading.RLock()

    def get(self, row: str) -> bytes | None:
        with self._lock:
            if row in self.values:
                self.values[row] = self.values.pop(row)
            return self.values.get(row)

    def look(self, row: str) -> bytes | None:
        return self.values.get(row)

    def __contains__(self, row: object) -> bool:
        return row in self.values

    def add(self, row: str, value: bytes) -> None:
        with self._lock:
            if row not in self.values:
                self.set(row, value)

    def set(self, row: str, value: bytes) -> None:
        with self._lock:
            self.values.pop(row, None)
            self.values[row] = value
            while self.evict and self.volume() > self.limit:
                del self.values[next(iter(self.values))]

    def delete(self, row: str) -> None:
        self.values.pop(row, None)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.values))

    def stamps(self) -> Iterator[tuple[str, object]]:
        return iter(list(self.values.items()))

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        with self._lock:
            before = dict(self.values)
            try:
                yield
            except BaseException:
                self.values = before
                raise

    def volume(self) -> int:
        return sum(map(len, list(self.values.values())))

    def clear(self) -> None:
        self.values.clear()

    def close(self) -> None:
        pass
