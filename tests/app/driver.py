"""The app in Streamlit's AppTest, and what a component was sent."""

import gc
import json
import struct
from pathlib import Path as File
from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

ROOT = File(__file__).parents[2]


def app(page: str | None = None, **query: str) -> AppTest:
    """The app at an address, on its first page or another; it has not run yet."""
    opened = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    if page:
        opened.switch_page(f"pages/{page}.py")
    for name, value in query.items():
        opened.query_params[name] = value
    return opened


def run(page: AppTest) -> AppTest:
    """The page after another run."""
    page.run()
    assert not page.exception, page.exception[0].message
    return page


def widget(page: AppTest, label: str) -> Any:
    """The only one of this label."""
    kinds = (page.number_input, page.text_input, page.selectbox, page.slider, page.radio)
    (found,) = [each for kind in kinds for each in kind if each.label == label]
    return found


def labels(page: AppTest) -> set[str]:
    kinds = (page.number_input, page.text_input, page.selectbox, page.slider, page.radio)
    return {each.label for kind in kinds for each in kind}


def ids(page: AppTest) -> dict[str, str]:
    """What a browser knows each field by."""
    return {label: widget(page, label).id for label in labels(page)}


def places(block: Block, *path: int) -> dict[str, tuple[int, ...]]:
    """Where all that has a label stands."""
    found = {}
    for index, each in block.children.items():
        if label := getattr(each, "label", None):
            found[label] = (*path, index)
        if isinstance(each, Block):
            found |= places(each, *path, index)
    return found


def choose(page: AppTest, label: str, value: Any) -> AppTest:
    widget(page, label).set_value(value)
    return run(page)


def press(page: AppTest, label: str, which: int = 0) -> AppTest:
    [b for b in page.button if label in (b.label, b.icon)][which].click()
    return run(page)


def header(message: bytes) -> dict[str, Any]:
    """What a component is told beside its pictures."""
    (length,) = struct.unpack_from("<I", message)
    told: dict[str, Any] = json.loads(message[4 : 4 + length])
    return told


def cells(message: bytes) -> list[str]:
    """The paths of a grid's cells."""
    return [cell["path"] for row in header(message)["rows"] for cell in row["cells"]]


def alive(*kinds: type) -> list[object]:
    """The objects of these kinds that something still holds."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
