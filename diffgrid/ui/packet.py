"""What a component is sent: a header, and pictures as bytes, without base64.

One message is a length (4 bytes, little endian), that many bytes of JSON, and the pictures end to
end. The header names a picture by its index; `packet.js` takes the message apart again.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class Album:
    """Pictures by index: each is sent once, however many trajectories share it."""

    def __init__(self) -> None:
        self._indices: dict[bytes, int] = {}

    def put(self, picture: bytes | None) -> int | None:
        """The picture's index; None where there is none yet."""
        return None if picture is None else self._indices.setdefault(picture, len(self._indices))

    def put_all(self, pictures: Iterable[bytes | None]) -> list[int | None]:
        return [self.put(picture) for picture in pictures]

    def pack(self, header: Mapping[str, Any]) -> bytes:
        """The message: the header, and of each picture its length and a name by its content."""
        lengths = [len(picture) for picture in self._indices]
        names = [blake2b(picture, digest_size=9).hexdigest() for picture in self._indices]
        whole = {**header, "lengths": lengths, "names": names}
        text = json.dumps(whole, allow_nan=False).encode("utf-8")
        return b"".join((struct.pack("<I", len(text)), text, *self._indices))


def script(*names: str) -> str:
    """A component's JavaScript: its own files, in this order, after what all components share."""
    return "".join((FOLDER / f"{name}.js").read_text("utf-8") for name in ("packet", *names))


def style(name: str) -> str:
    """A component's CSS."""
    return (FOLDER / f"{name}.css").read_text("utf-8")
