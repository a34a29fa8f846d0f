"""Files that anybody may have written: the one place where their bytes are read.

Nothing of a file is unpacked but the text that may be a recipe, and no pixel is decoded.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from diffgrid.errors import BadInput
from diffgrid.pictures.png import RECIPE, SIGNATURE
from diffgrid.sharing import recipe
from diffgrid.sharing.recipe import ELEMENT, END, Recipe

LARGEST = 64_000_000  # bytes of a file
MOST_CHUNKS = 10_000  # of a PNG; one of that size has some 8,000
_DAMAGED = "the picture's recipe is damaged: open the file as it was saved."


def opened(data: bytes) -> Recipe:
    """What a PNG, or a page, says that it was made of.

    Raises:
        BadInput: it is neither, carries no recipe, or one that cannot be read (`recipe.read`).
    """
    if len(data) > LARGEST:
        raise BadInput(f"the file is too large: use at most {LARGEST:,} bytes.")
    if data.startswith(SIGNATURE):
        return recipe.read(_in_png(data))
    begin = data.find(ELEMENT.encode("ascii"))
    if begin < 0:
        raise BadInput(
            "the file is no picture and no page that carries a recipe: open a PNG or a page that "
            "diffgrid wrote."
        )
    begin += len(ELEMENT)
    # From there on only as far as a recipe may go: a file may begin many, and end none.
    end = data.find(END.encode("ascii"), begin, begin + recipe.LARGEST + len(END))
    return recipe.read(_decoded(data[begin:end] if end >= 0 else b"", "utf-8"))


def opened_file(file: Path) -> Recipe:
    """The same of a file on this machine.

    Raises:
        BadInput: it cannot be read, or as above.
    """
    try:
        with open(file, "rb", opener=_open) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):  # a device may never end
                raise BadInput(f"file {str(file)!r} is no regular file: open a PNG or a page.")
            return opened(stream.read(LARGEST + 1))
    except OSError as error:
        raise BadInput(
            f"file {str(file)!r} cannot be read ({error.strerror}): open another."
        ) from error


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a pipe that nobody writes to waits for ever


def _in_png(data: bytes) -> str:
    keyword = RECIPE.encode("ascii") + b"\0"
    for kind, content, checksum in _chunks(data):
        if kind in (b"tEXt", b"zTXt", b"iTXt") and content[: len(keyword)] == keyword:
            if zlib.crc32(content, zlib.crc32(kind)) != checksum:
                raise BadInput(_DAMAGED)
            return _text(kind, bytes(content[len(keyword) :]))
    raise BadInput(
        "the picture carries no recipe: diffgrid did not write it, or what it came through has "
        "taken that away."
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Kind, content and checksum of each whole chunk, up to the last."""
    view, start = memoryview(data), len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if start + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data) or kind == b"IEND":
            return
        yield kind, view[start + 8 : end], struct.unpack_from(">I", data, end)[0]
        start = end + 4


def _text(kind: bytes, content: bytes) -> str:
    """The text of a chunk behind its keyword."""
    if kind == b"tEXt":
        return _decoded(content, "latin-1")
    if kind == b"zTXt":
        return _decoded(_inflated(content[1:]), "latin-1")
    flags, _, rest = content[:2], *content[2:].partition(b"\0")[::2]  # then a language,
    _, _, text = rest.partition(b"\0")  # and the keyword in that
    return _decoded(_inflated(text) if flags[:1] == b"\1" else text, "utf-8")


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        inflated = inflate.decompress(data, recipe.LARGEST + 1)
    except zlib.error as error:
        raise BadInput(_DAMAGED) from error
    if not inflate.eof and len(inflated) <= recipe.LARGEST:
        raise BadInput(_DAMAGED)
    return inflated


def _decoded(data: bytes, encoding: str) -> str:
    if len(data) > recipe.LARGEST:
        raise BadInput(f"the file's recipe is too long: use at most {recipe.LARGEST:,} bytes.")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput(_DAMAGED) from error
