"""The components' own files put into one page: ES modules with no server to import from, and CSS.

An import map gives each module a name and its text as a `data:` URL. What a `data:` URL imports
cannot be relative to it, so the modules import each other by these names.
"""

import posixpath
import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

COMPONENTS = Path(__file__).parents[1] / "app" / "components"

_IMPORTED = re.compile(r'(?<=\bfrom ")\.{1,2}/[^"]+(?=";$)', re.M)
_STYLE = re.compile(r'^@import "([^"]+)";$', re.M)
# Printable ASCII stands in a URL as it is, but for what begins an escape or a fragment.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%#")


@cache
def modules(entry: str) -> dict[str, str]:
    """The text of a module (`page/page.js`) and of all it imports, by name; they import by name."""
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        folder = posixpath.dirname(name)

        def named(path: re.Match[str], folder: str = folder) -> str:
            imported = posixpath.normpath(posixpath.join(folder, path[0]))
            waiting.append(imported)
            return imported

        found[name] = _IMPORTED.sub(named, _read(name))
    return found


@cache
def import_map(entry: str) -> dict[str, dict[str, str]]:
    """The same as an import map of `data:` URLs."""
    urls = {
        name: f"data:text/javascript;charset=utf-8,{quote(text, safe=_PLAIN)}"
        for name, text in modules(entry).items()
    }
    return {"imports": urls}


@cache
def stylesheet(name: str) -> str:
    """A stylesheet (`grid/grid.css`) with those that it imports in place."""
    folder = posixpath.dirname(name)
    return _STYLE.sub(
        lambda path: stylesheet(posixpath.normpath(posixpath.join(folder, path[1]))), _read(name)
    )


@cache
def template(name: str) -> str:
    """A file as it is."""
    return _read(name)


def _read(name: str) -> str:
    return (COMPONENTS / name).read_text("utf-8")
