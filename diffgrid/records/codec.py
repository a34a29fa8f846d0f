"""The layout of every stored value: bytes that say what they are and whether they are whole.

    magic (8) | version (2) | sha256 of all that follows (32) | header length (4) | header | payload

Numbers are little-endian. The header is JSON in ASCII, padded with spaces so that the payload
starts at a multiple of 64 bytes: arrays in it can be used in place. The checksum finds damage, not
malice: what a header says is still to be checked by whoever reads it.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from diffgrid.errors import Damaged, OtherVersion

_MAGIC = b"diffgrid"
LAYOUT = 1
_PREFIX = struct.Struct("<8sH32s")
_LENGTH = struct.Struct("<I")
_HEADER_START = _PREFIX.size + _LENGTH.size
_ALIGNMENT = 64
_LONGEST_HEADER = 2**20  # bytes; a specification with a long list of betas takes some 30,000


Unsealed = tuple[dict[str, Any], memoryview]  # a header, and the payload it describes


def seal(kind: str, header: Mapping[str, Any], payload: bytes | memoryview = b"") -> bytes:
    """Wrap a payload; `kind` (such as "trajectory") keeps one sort from being read as another."""
    text = json.dumps({**header, "kind": kind}, sort_keys=True).encode("ascii")
    text += b" " * (-(_HEADER_START + len(text)) % _ALIGNMENT)
    length = _LENGTH.pack(len(text))
    checksum = hashlib.sha256(length + text)
    checksum.update(payload)
    return b"".join((_PREFIX.pack(_MAGIC, LAYOUT, checksum.digest()), length, text, payload))


def unseal(kind: str, value: bytes | memoryview) -> Unsealed:
    """Undo `seal`: the header, without its kind, and a view of the payload.

    Raises:
        Damaged: the bytes are no value of this kind, or are not whole.
        OtherVersion: they have another layout.
    """
    view = memoryview(value)
    if len(view) < _HEADER_START or view[: len(_MAGIC)] != _MAGIC:
        raise Damaged(
            f"these {len(view)} bytes were not written by diffgrid: look for another file."
        )
    _, version, checksum = _PREFIX.unpack_from(view)
    if version != LAYOUT:  # the checksum does not cover it: where it lies may have changed too
        raise OtherVersion(
            f"the value has layout {version}, but this diffgrid reads layout {LAYOUT}."
        )
    if hashlib.sha256(view[_PREFIX.size :]).digest() != checksum:
        raise Damaged("the value is damaged (its checksum is wrong): compute or fetch it again.")
    (length,) = _LENGTH.unpack_from(view, _PREFIX.size)
    if length > min(_LONGEST_HEADER, len(view) - _HEADER_START):
        raise Damaged(f"the value's header of {length} bytes is too long: fetch it again.")
    payload = view[_HEADER_START + length :]
    try:
        header = json.loads(bytes(view[_HEADER_START : _HEADER_START + length]))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.pop("kind", None) != kind:
        raise Damaged(f"the value is not a diffgrid {kind}: look for another file.")
    return header, payload
