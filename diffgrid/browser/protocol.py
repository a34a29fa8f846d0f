"""What a component is sent: a header, and pictures as bytes, without base64.

One message is a length (4 bytes, little endian), that many bytes of JSON, and the pictures end to
end. The header names a picture by its index; `protocol.js` takes the message apart again.

A message is small where most of its pictures were sent before (`SentImages`), or can follow it: the
browser keeps what it got, draws what it has, and asks for what it lacks.
"""

import json
import struct
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any

MOST_REMEMBERED = 20_000  # names of pictures, 0.1 KB each


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What `ImagePool.pack` was given, and the pictures in the order of the header's `names`."""
    (size,) = struct.unpack_from("<I", message)
    header: dict[str, Any] = json.loads(message[4 : 4 + size])
    ends = list(accumulate(header["lengths"], initial=4 + size))
    return header, [message[start:end] for start, end in pairwise(ends)]


class SentImages:
    """What one browser holds: all it was sent, but for what it says it lacks."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        self._asked: set[str] = set()

    def lacks(self, names: Iterable[str]) -> None:
        """The browser has no such pictures, whatever it was sent; the next message brings them."""
        self._asked = set(names)
        self._sent -= self._asked

    def choose(self, names: Collection[str], first: Collection[str]) -> set[str]:
        """Of these pictures, those to send now: what cannot wait, and what was asked for."""
        chosen = self._asked.union(first).intersection(names) - self._sent
        if len(self._sent) > MOST_REMEMBERED:
            self._sent.clear()
        self._sent |= chosen
        self._asked.clear()
        return chosen


class ImagePool:
    """Pictures by index: each is sent once, however many trajectories share it."""

    def __init__(self) -> None:
        self._indices: dict[bytes, int] = {}
        self._first: set[int] = set()

    def put(self, picture: bytes | None, *, later: bool = False) -> int | None:
        """The picture's index; None where there is none yet. `later` says that it can wait."""
        if picture is None:
            return None
        index = self._indices.setdefault(picture, len(self._indices))
        if not later:
            self._first.add(index)
        return index

    def put_all(self, pictures: Iterable[bytes | None], *, later: bool = False) -> list[int | None]:
        return [self.put(picture, later=later) for picture in pictures]

    def pack(self, header: Mapping[str, Any], sent_images: SentImages | None = None) -> bytes:
        """The message: the header, and of each picture its length and a name by its content.

        Pictures that are not sent now have a length of 0: all are, where `sent_images` is None.
        """
        names = [blake2b(picture, digest_size=9).hexdigest() for picture in self._indices]
        now = set(names)
        if sent_images:
            now = sent_images.choose(names, {names[index] for index in self._first})
        sent = [
            picture if name in now else b""
            for name, picture in zip(names, self._indices, strict=True)
        ]
        whole = {**header, "lengths": [len(picture) for picture in sent], "names": names}
        text = json.dumps(whole, allow_nan=False).encode("utf-8")
        return b"".join((struct.pack("<I", len(text)), text, *sent))
