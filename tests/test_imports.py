"""Who may import what: the whole table of edges, and proof that starting up loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Allowed:
    """What one part may import: our modules, libraries, and modules inside functions only."""

    modules: frozenset[str]
    libraries: frozenset[str]
    lazily: frozenset[str]


def allow(modules: str = "", libraries: str = "", lazily: str = "") -> Allowed:
    """Space-separated names; those of `diffgrid.` are written without it (`app.` is the rest)."""
    return Allowed(
        frozenset(f"diffgrid.{name}" for name in modules.split()),
        frozenset(libraries.split()),
        frozenset(f"diffgrid.{name}" for name in lazily.split()),
    )


BASE = "errors limits schedulers spec"  # the words everybody speaks; stdlib only
STORED = f"{BASE} catalogue trajectories store"
ALL = f"{STORED} frames engine api"
# What the pages draw from.
SHOWN = f"{ALL} animations chart_sheet charts compare families.* metrics results share study"

# A name ending in `.*` stands for a folder whose files may import each other.
TABLE = {
    "diffgrid.errors": allow(),
    "diffgrid.limits": allow("errors"),
    "diffgrid.schedulers": allow("errors"),
    "diffgrid.families.*": allow(),
    "diffgrid.spec": allow("errors limits schedulers"),
    "diffgrid.catalogue": allow(f"{BASE} families.* hub_models memory weights"),
    "diffgrid.weights": allow(),
    "diffgrid.hub_models": allow(),
    "diffgrid.hub": allow("errors hub_models", "huggingface_hub"),
    "diffgrid.memory": allow(),
    "diffgrid.listing": allow(f"{BASE} catalogue hub_models memory"),
    "diffgrid.envelope": allow(BASE),
    "diffgrid.disk": allow(BASE, "diskcache"),
    "diffgrid.trajectories": allow(f"{BASE} envelope", "numpy safetensors"),
    "diffgrid.shipped": allow(f"{BASE} trajectories frames", "numpy safetensors"),
    "diffgrid.store": allow(f"{BASE} disk envelope trajectories shipped", "diskcache platformdirs"),
    "diffgrid.share": allow(f"{BASE} catalogue"),
    "diffgrid.ink": allow("", "PIL"),
    "diffgrid.marks": allow("ink"),
    "diffgrid.charts": allow(f"{BASE} catalogue marks metrics results", "numpy pandas"),
    "diffgrid.chart_sheet": allow("charts ink marks", "PIL"),
    "diffgrid.metrics": allow(f"{BASE} compare trajectories", "numpy pandas"),
    "diffgrid.compare": allow(f"{BASE} catalogue trajectories", "numpy"),
    "diffgrid.animations": allow(BASE, "PIL"),
    "diffgrid.frames": allow(f"{BASE} envelope trajectories", "numpy PIL"),
    "diffgrid.sheets": allow(f"{BASE} ink", "numpy PIL"),
    "diffgrid.recording": allow(f"{BASE} trajectories", "numpy"),
    "diffgrid.torch_side": allow(),
    "diffgrid.torch_side.cores": allow("", "torch"),
    "diffgrid.torch_side.kernels": allow(f"{BASE} trajectories", "torch diffusers"),
    "diffgrid.torch_side.preparation": allow(
        f"{BASE} families.* trajectories torch_side.cores torch_side.kernels", "torch diffusers"
    ),
    "diffgrid.torch_side.models": allow(f"{BASE} memory", "torch diffusers transformers"),
    "diffgrid.torch_side.preview": allow("errors torch_side.cores", "torch diffusers numpy"),
    "diffgrid.torch_side.probes": allow("", "torch numpy safetensors"),
    "diffgrid.torch_side.sampler": allow(
        f"{BASE} trajectories torch_side.preparation torch_side.kernels", "torch numpy"
    ),
    "diffgrid.computation": allow(
        f"{BASE} trajectories store frames recording",
        "numpy",
        lazily=" ".join(
            f"torch_side.{name}" for name in ("preparation", "models", "preview", "sampler")
        ),
    ),
    "diffgrid.study": allow(
        f"{BASE} trajectories store frames computation",
        "numpy",
        lazily=" ".join(
            f"torch_side.{name}"
            for name in ("preparation", "models", "preview", "probes", "sampler")
        ),
    ),
    "diffgrid.results": allow(f"{BASE} catalogue frames metrics study", "numpy pandas"),
    "diffgrid.engine": allow(
        f"{STORED} frames computation memory study", lazily="torch_side.models torch_side.probes"
    ),
    "diffgrid.api": allow(f"{STORED} frames ink sheets engine study results", "numpy pandas PIL"),
    "diffgrid.cli": allow(f"{ALL} study hub hub_models listing memory", "tqdm"),
    "diffgrid": allow("errors spec trajectories api"),
    "diffgrid.__main__": allow("cli"),
    "diffgrid.ui.*": allow(SHOWN, "streamlit numpy PIL"),
    "pages.*": allow(f"{SHOWN} ui.*", "streamlit pandas"),
    "streamlit_app": allow(f"{SHOWN} ui.*", "streamlit"),
    "cloud.*": allow(),
    "training.*": allow(
        f"{BASE} catalogue engine results shipped store study torch_side.probes",
        "torch diffusers transformers tokenizers safetensors numpy PIL tqdm",
    ),
    "examples.*": allow(f"{ALL} hub hub_models", "PIL tqdm", lazily="torch_side.models"),
    "benchmarks.*": allow(
        f"{ALL} metrics torch_side.preparation torch_side.models torch_side.preview",
        "torch diffusers transformers numpy pandas playwright",
    ),
}

OURS = {
    "diffgrid",
    "pages",
    "cloud",
    "training",
    "benchmarks",
    "examples",
    "streamlit_app",
    "tests",
}


def module_name(file: Path) -> str:
    """The dotted name of a file below ROOT; a package goes by its folder's name."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    """Every module the table speaks of: the product and its workshops, not the tests."""
    folders = [
        ROOT / name for name in ("diffgrid", "pages", "cloud", "training", "benchmarks", "examples")
    ]
    files = [ROOT / "streamlit_app.py", *(file for each in folders for file in each.rglob("*.py"))]
    return {module_name(file): file for file in sorted(files) if file.exists()}


def part_of(module: str) -> str | None:
    """The row of TABLE that a module belongs to: its own, or that of a folder it lies in."""
    if module in TABLE:
        return module
    folders = [part for part in TABLE if part.endswith(".*")]
    return next((part for part in folders if f"{module}.".startswith(part[:-1])), None)


@dataclass(frozen=True)
class Import:
    """One imported name: `a.b` for `import a.b`, `a.b` or `a` for `from a import b`."""

    module: str
    line: int
    lazy: bool  # inside a function, or for the type checker only: nothing is loaded at start


def imports(module: str, source: str, known: set[str], *, package: bool = False) -> list[Import]:
    """Every import statement of a source, relative ones made absolute.

    `known` are the dotted names that are modules, so that `from a import b` is told apart from a
    name inside `a`.
    """

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: None if package else -1]
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno, lazy)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from walk(statement, True)
            for statement in node.orelse:
                yield from walk(statement, lazy)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, lazy or inside)

    return list(walk(ast.parse(source), False))


def fault(module: str, imported: Import) -> str | None:
    """One sentence if the table forbids this import, else None."""
    here = part_of(module)
    if here is None:
        return f"{module} is in no row of the table in {Path(__file__).name}: give it one"
    allowed, root = TABLE[here], imported.module.split(".")[0]
    where = f"{module}, line {imported.line}:"
    if root not in OURS:
        if root in sys.stdlib_module_names or root in allowed.libraries:
            return None
        return f"{where} {here} may not know the library {root}"
    there = part_of(imported.module)
    if there == here or there in allowed.modules:
        return None
    if there in allowed.lazily:
        return None if imported.lazy else f"{where} {there} is imported inside functions only"
    return f"{where} {here} may not import {imported.module}"


def test_every_import_is_in_the_table() -> None:
    files = sources()
    known = {*files, *TABLE}
    faults = []
    for module, file in files.items():
        if part_of(module) is None:
            faults.append(fault(module, Import(module, 1, lazy=False)))
        package = file.name == "__init__.py"
        found = imports(module, file.read_text(encoding="utf-8"), known, package=package)
        faults += [fault(module, each) for each in found]
    seen = sorted({each for each in faults if each})
    assert not seen, "\n" + "\n".join(seen)


def test_the_table_points_one_way() -> None:
    named = {name for row in TABLE.values() for name in row.modules | row.lazily}
    assert named <= set(TABLE), f"not in the table: {sorted(named - set(TABLE))}"
    graph = {part: row.modules | row.lazily for part, row in TABLE.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("library", ["torch", "diffusers", "transformers"])
def test_only_the_torch_side_and_the_workshops_know_torch(library: str) -> None:
    knowing = {part for part, row in TABLE.items() if library in row.libraries}
    assert all(
        part.startswith(("diffgrid.torch_side", "training", "benchmarks")) for part in knowing
    )


def test_only_the_app_knows_streamlit() -> None:
    product = {part for part in TABLE if not part.startswith(("training", "benchmarks"))}
    knowing = {part for part in product if "streamlit" in TABLE[part].libraries}
    assert knowing == {"diffgrid.ui.*", "pages.*", "streamlit_app"}


@pytest.mark.parametrize("part", ["errors", "limits", "spec", "catalogue"])
def test_the_foundations_are_standard_library_only(part: str) -> None:
    assert not TABLE[f"diffgrid.{part}"].libraries


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("diffgrid.spec", "import numpy", "may not know the library numpy"),
        ("diffgrid.store", "import streamlit as st", "may not know the library streamlit"),
        ("diffgrid.store", "from diffgrid import engine", "may not import diffgrid.engine"),
        ("diffgrid.store", "from . import engine", "may not import diffgrid.engine"),
        ("diffgrid.store", "from .engine import Job", "may not import diffgrid.engine"),
        ("diffgrid.torch_side.models", "from ..api import grid", "may not import diffgrid.api"),
        (
            "diffgrid.computation",
            "if True:\n import diffgrid.torch_side.sampler",
            "inside functions",
        ),
        ("diffgrid.computation", "class A:\n from .torch_side import sampler", "inside functions"),
        ("diffgrid.api", "def f():\n from diffgrid.torch_side import sampler", "may not import"),
        ("diffgrid.cli", "import training.render", "may not import training.render"),
        ("diffgrid.cli", "from tests import conftest", "may not import tests"),
        ("diffgrid.newcomer", "import json", "is in no row"),
    ],
)
def test_a_forbidden_import_is_named(module: str, source: str, sentence: str) -> None:
    faults = [fault(module, each) for each in imports(module, source, set(TABLE))]
    assert [each for each in faults if each and sentence in each], faults


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffgrid.spec", "import json\nfrom diffgrid.errors import BadInput"),
        ("diffgrid.computation", "def work():\n from diffgrid.torch_side.sampler import sample"),
        ("diffgrid.computation", "if TYPE_CHECKING:\n from .torch_side import sampler"),
        ("diffgrid.ui.grid", "import streamlit\nfrom .component import draw"),
        ("pages.grid", "from diffgrid.ui import component"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    found = imports(module, source, set(TABLE))
    assert found
    assert [fault(module, each) for each in found] == [None] * len(found)


@pytest.mark.parametrize(
    ("ui", "forbidden"),
    [
        (False, ["torch", "diffusers", "transformers", "streamlit"]),
        (True, ["torch", "diffusers", "transformers"]),
    ],
    ids=["without_the_ui", "with_the_ui"],
)
def test_importing_diffgrid_loads_nothing_heavy(ui: bool, forbidden: list[str]) -> None:
    modules = [
        module
        for module in sources()
        if module.split(".")[0] == "diffgrid"
        and not module.startswith("diffgrid.torch_side")
        and (ui or not module.startswith("diffgrid.ui"))
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
