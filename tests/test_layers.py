"""Starting up loads no torch, and a session no Streamlit.

Who may import whom is checked by `make lint` (pyproject.toml).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "forbidden"),
    [
        (False, ["torch", "diffusers", "transformers", "streamlit"]),
        (True, ["torch", "diffusers", "transformers"]),
    ],
    ids=["without_the_app", "with_the_app"],
)
def test_importing_diffgrid_loads_nothing_heavy(app: bool, forbidden: list[str]) -> None:
    files = (file.relative_to(ROOT).with_suffix("") for file in (ROOT / "diffgrid").rglob("*.py"))
    modules = [
        module
        for module in sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
        if not module.startswith("diffgrid.sampling")
        and (app or not module.startswith("diffgrid.app") or ".session" in module)
    ]
    assert modules
    code = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        f"print(*sorted(set({forbidden}) & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == ""
