"""The JSON of a model's folder: whoever made the folder may have written anything, and this is the
one place that reads it."""

import json
import os
import stat
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from diffgrid.errors import BadInput
from diffgrid.spec.checks import shown

LARGEST = 4 * 2**20  # bytes; parsed they take up to 25 times as much
DEEPEST = 50  # lists and objects in one another


def read_json(file: Path, **kinds: Any) -> dict[str, Any]:
    """The object in a file; what it has by these names must be of these kinds.

    A kind is str, int, float (an int will do), a list or dict of those, such as
    `dict[str, list[str]]`, one of several, `list[int] | str`, or an object that has all of some
    names, `{"noun": str}`.

    Raises:
        BadInput: it cannot be read, is no regular file, too large or too deep, or of another kind.
    """
    try:
        text = read_file(file)
    except OSError as error:
        raise _refused(file, f"cannot be read ({error.strerror})") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(file, f"cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise _refused(file, "is no JSON object")
    if _is_deeper(content, DEEPEST):
        raise _refused(file, f"cannot be read: it is more than {DEEPEST} levels deep")
    for name, kind in kinds.items():
        if name in content and not _is(content[name], kind):
            raise _refused(file, f"has {shown(content[name])} as its {name}, not {_word(kind)}")
    return content


def _refused(file: Path, why: str) -> BadInput:
    return BadInput(f"model file {file} {why}: give a whole diffusers folder.")


def _word(kind: Any) -> str:
    if isinstance(kind, dict):
        return f"an object with {', '.join(kind)}"
    return {str: "text", int: "a whole number", float: "a number"}.get(kind, f"a {kind}")


def read_file(file: Path) -> bytes:
    """The bytes of a regular file that is not too large.

    Raises:
        BadInput: it is neither.
        OSError: it cannot be read.
    """
    with open(file, "rb", opener=_open) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):  # a device may never end
            raise _refused(file, "cannot be read: it is no regular file")
        text = stream.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise _refused(file, f"cannot be read: it has more than {LARGEST:,} bytes")
    return text


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a pipe that nobody writes to waits for ever


def _is_deeper(content: Any, levels: int) -> bool:
    level = [content]
    for _ in range(levels):
        if not level:
            return False
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for values in inner for each in values if isinstance(each, dict | list)]
    return bool(level)


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(value.get(name), kind[name]) for name in kind)
    if isinstance(kind, UnionType):
        return any(_is(value, each) for each in get_args(kind))
    if origin := get_origin(kind):
        values = value.values() if isinstance(value, dict) else value
        return isinstance(value, origin) and all(_is(each, get_args(kind)[-1]) for each in values)
    return isinstance(value, int | float if kind is float else kind) and type(value) is not bool
