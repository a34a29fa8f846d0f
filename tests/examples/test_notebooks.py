"""The notebooks run as they are committed, and what they show is what the code says now."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.notebooks import Shown

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
MOST = 1_500_000  # bytes of all of them
MEASURED = "measured"  # the tag of cells that tell what a classifier saw: figures, not counts

Notebook = dict[str, Any]


def read(file: Path) -> Notebook:
    notebook: Notebook = json.loads(file.read_text("utf-8"))
    return notebook


def code(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(notebook: Notebook) -> str:
    outputs = [output for cell in code(notebook) for output in cell["outputs"]]
    return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")


def told(cell: dict[str, Any]) -> list[Any]:
    """What a cell shows, as far as it is the same everywhere: text, and the kinds of pictures."""
    measured = MEASURED in cell["metadata"].get("tags", ())
    return [
        (sorted(output["data"]), None if measured else output["data"]["text/plain"])
        if output["output_type"] == "display_data"
        else None
        if measured
        else output["text"]
        for output in cell["outputs"]
    ]


def test_they_are_small_and_were_run_in_order() -> None:
    assert len(NOTEBOOKS) == 2
    assert sum(file.stat().st_size for file in NOTEBOOKS) < MOST
    for notebook in map(read, NOTEBOOKS):
        counts = [cell["execution_count"] for cell in code(notebook)]
        assert counts == [*range(1, len(counts) + 1)]
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_their_words_count_evaluations_as_their_cells_do(file: Path) -> None:
    notebook = read(file)
    words = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    counts = re.findall(r"(\d[\d,]*) evaluations", words)
    assert counts
    assert set(counts) <= set(re.findall(r"\d[\d,]*", printed(notebook)))


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_shows_what_the_code_says_now(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path))
    command = [sys.executable, str(ROOT / "examples" / "notebooks.py"), str(copy)]
    subprocess.run(command, check=True, cwd=tmp_path)
    again = read(copy)
    assert [*map(told, code(again))] == [*map(told, code(read(file)))]
    assert [each.name for each in tmp_path.iterdir()] == [file.name]  # it leaves nothing behind


class Drawn:
    def __repr__(self) -> str:
        return "drawn"

    def _repr_html_(self) -> str:
        return "<b>drawn</b>\n"


def test_a_cell_shows_what_it_prints_and_displays_in_order() -> None:
    shown = Shown()
    names = {"display": shown.display, "Drawn": Drawn}
    outputs = shown.run("print('one')\ndisplay(Drawn())\nprint('two')\n1 + 1", names)
    assert [output.get("text") or output["data"] for output in outputs] == [
        ["one\n"],
        {"text/plain": ["drawn"], "text/html": ["<b>drawn</b>\n"]},
        ["two\n"],
        {"text/plain": ["2"]},
    ]
    assert shown.run("x = 3\nNone", names) == []
    assert shown.run("", names) == []
