"""Run notebooks without Jupyter, and write what their cells show into them.

    python examples/notebooks.py examples/paths_not_taken.ipynb

The cells run in order in one namespace, in a folder of their own and with an empty cache: what is
printed of costs is what they are for somebody who begins. Files that they save are dropped.
"""

import ast
import io
import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # it runs from a checkout, nothing installed

# By the method a value shows itself with in a notebook; text stands for it where none is shown.
KINDS = {"_repr_html_": "text/html", "_repr_png_": "image/png"}

Output = dict[str, Any]  # as nbformat 4 has it


class Shown:
    """What a cell prints and displays, in its order."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self._printed = io.StringIO()

    def display(self, *values: object) -> None:
        """Show values as Jupyter's own `display` does."""
        self._take_printed()
        self.outputs += [
            {"output_type": "display_data", "metadata": {}, "data": bundle(value)}
            for value in values
        ]

    def run(self, source: str, namespace: dict[str, Any]) -> list[Output]:
        """Execute one cell; the value of a last expression is shown. What the cell left."""
        self.outputs, self._printed = [], io.StringIO()
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with redirect_stdout(self._printed):
            exec(compile(tree, "<cell>", "exec"), namespace)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
                if value is not None:
                    self.display(value)
        self._take_printed()
        return self.outputs

    def _take_printed(self) -> None:
        if text := self._printed.getvalue():
            self.outputs.append({"output_type": "stream", "name": "stdout", "text": lines(text)})
        self._printed.seek(0)
        self._printed.truncate()


def bundle(value: object) -> dict[str, Any]:
    """A value in every kind that it can be shown in, by MIME type."""
    text = re.sub(" at 0x[0-9A-Fa-f]+", "", repr(value))  # it is another in each process
    found: dict[str, Any] = {"text/plain": lines(text)}
    for method, kind in KINDS.items():
        if show := getattr(value, method, None):
            shown = show()
            found[kind] = b64encode(shown).decode() if isinstance(shown, bytes) else lines(shown)
    return found


def lines(text: str) -> list[str]:
    """Text as nbformat has it, so that a change is seen line by line."""
    return text.splitlines(keepends=True)


def execute(notebook: dict[str, Any]) -> None:
    """Run all code cells of a notebook, and put what they show into it."""
    shown = Shown()
    namespace = {"display": shown.display, "__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code, 1):
        cell["outputs"] = shown.run("".join(cell["source"]), namespace)
        cell["execution_count"] = count


def main(names: Sequence[str]) -> None:
    """Run these notebooks, each of which is written anew."""
    for name in names:
        file = Path(name).absolute()
        notebook = json.loads(file.read_text("utf-8"))
        with TemporaryDirectory() as folder, chdir(folder):
            os.environ["DIFFGRID_CACHE"] = str(Path(folder, "cache"))
            execute(notebook)
        file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
