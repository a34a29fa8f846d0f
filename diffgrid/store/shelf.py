"""A shelf: bytes by the names of their rows. It is all that the store asks of a disk (`disk`).

Another medium is one more such file: a class with these methods, and a function that opens three.
They are methods of diskcache, by its names.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Shelf(Protocol):
    """Rows of one cache, shared by threads. A medium that fails raises OSError, or its own."""

    @property
    def there(self) -> bool:
        """Whether the medium is still the one that was opened: somebody may have deleted it."""

    def get(self, row: str) -> bytes | None:
        """The row's value, or None where there is no such row.

        Raises:
            Damaged: the row is there, but it has lost its value, or what it holds is no bytes.
        """

    def look(self, row: str) -> bytes | None:
        """As `get`, but the row is no younger for it, and who writes waits for nobody who looks."""

    def __contains__(self, row: object) -> bool: ...

    def add(self, row: str, value: bytes) -> None:
        """Write a row, unless it is there."""

    def set(self, row: str, value: bytes) -> None:
        """Write a row in place of what is there."""

    def delete(self, row: str) -> None:
        """Delete a row, if it is there."""

    def __iter__(self) -> Iterator[str]:
        """The names of all rows, planted ones too."""

    def stamps(self) -> Iterator[tuple[str, object]]:
        """The same names, each with what is another whenever the row is written."""

    def transact(self) -> AbstractContextManager[None]:
        """All that is written until the end is written together, or not at all."""

    def volume(self) -> int:
        """Bytes on the medium."""

    def clear(self) -> None:
        """Delete all rows."""

    def close(self) -> None:
        """Let go of all connections; the next use makes new ones."""


class Shelves(NamedTuple):
    """The three that a store needs, of one medium."""

    runs: Shelf  # evicts what was used longest ago when its quota is used up
    saved: Shelf  # evicts nothing
    imported: Shelf  # evicts nothing
    leave: Callable[[], object]  # to be called when they are not used any more
    aside: str = ""  # what was found broken, and how it is called now
