"""The components' files put into one page."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from diffgrid.browser.modules import COMPONENTS, import_map, modules, stylesheet

ENTRY = "page/page.js"
FOUND = modules(ENTRY)
# Whatever brings another module, in any way that the language has; comments aside.
IMPORTED = re.compile(
    r"""^(?:import|export)\s+(?:[\w*{][\w\s,*{}]*\bfrom\s+)?["']([^"']+)["']""", re.M
)


def test_the_entry_brings_the_grid_and_all_that_it_is_made_of() -> None:
    grid = {f"grid/{file.name}" for file in (COMPONENTS / "grid").glob("*.js")}
    assert grid <= FOUND.keys()
    assert ENTRY in FOUND


@pytest.mark.parametrize("name", FOUND)
def test_every_import_is_resolved(name: str) -> None:
    text = FOUND[name]
    imported = IMPORTED.findall(text)
    assert set(imported) <= FOUND.keys()
    code = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    assert len(re.findall(r"""\bfrom\s*["']""", code)) == len(imported)
    assert not re.search(r"\bimport\s*\(|\bimport\.meta\b", code)  # which name no module beforehand


@pytest.mark.parametrize("name", FOUND)
def test_a_url_holds_the_module_to_the_letter(name: str) -> None:
    kind, _, text = import_map(ENTRY)["imports"][name].partition(",")
    assert kind == "data:text/javascript;charset=utf-8"
    assert unquote(text) == FOUND[name]
    assert not re.search(r"[\n\r\t#]", text)  # browsers drop these


def test_a_stylesheet_holds_what_it_imports() -> None:
    style = stylesheet("grid/grid.css")
    assert "@import" not in style
    assert all(stylesheet(f"shared/{name}.css") in style for name in ("base", "dialog"))
    assert "</" not in style + stylesheet("page/page.css")
