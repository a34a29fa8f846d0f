"""What is written beside a PNG's pixels, which stay as they are."""

import struct
import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RECIPE = "diffgrid"  # the keyword of the chunk that holds it
_HEADER = len(SIGNATURE) + 25  # bytes before any chunk of text: the signature, and IHDR


class Texts(NamedTuple):
    """What a picture says of itself."""

    recipe: str  # for diffgrid, which opens the view again that it was made of
    parameters: str  # for other tools, as most of them write it


def with_texts(png: bytes, texts: Texts) -> bytes:
    """The same picture, which says this of itself; `png.js` does the same in the browser.

    Other tools look for their text in a tEXt chunk, where it is Latin-1.
    """
    recipe = _international(RECIPE, texts.recipe)
    try:
        parameters = _chunk(b"tEXt", b"parameters\0" + texts.parameters.encode("latin-1"))
    except UnicodeEncodeError:
        parameters = _international("parameters", texts.parameters)
    return b"".join((png[:_HEADER], recipe, parameters, png[_HEADER:]))


def _international(keyword: str, text: str) -> bytes:
    # Not compressed, in no language, and no keyword in translation.
    return _chunk(b"iTXt", b"%b\0\0\0\0\0%b" % (keyword.encode("ascii"), text.encode("utf-8")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))
