"""The documents say what the code does."""

import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import diffgrid
from diffgrid.spec.schedulers import SCHEDULERS
from docs import make_decisions

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / name
    for name in (
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "diffgrid/assets/monsters/README.md",
        "docs/decisions.md",
        "docs/matrix.md",
        "docs/trust.md",
        "examples/README.md",
    )
]
FOLDERS = "diffgrid|pages|tests|training|benchmarks|docs|cloud|examples"


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    versions = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.M)
    assert versions[0] == diffgrid.__version__


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_path_and_link_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    quoted = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*|\w+\.(?:py|md|toml))\b", text)
    places = (ROOT, document.parent, ROOT / "diffgrid" / "models" / "families")
    missing += [path for path in quoted if not any((place / path).exists() for place in places)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_dotted_name_is_there(document: Path) -> None:
    quoted = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})(?:\.\w+)+)", document.read_text("utf-8"))
    for name in set(quoted):
        module = ROOT.joinpath(*name.split("."))
        if not module.is_dir() and not module.with_suffix(".py").is_file():
            pkgutil.resolve_name(name)


def test_the_picture_of_the_floors_is_what_lint_holds() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    _, picture, _ = read("ARCHITECTURE.md").split("```", 2)
    floors = re.findall(r"^ (\w+(?: \| \w+)*)(?:  |$)", picture, re.M)
    assert floors == ["floor", *layers]


@pytest.mark.slow
def test_the_readme_tells_what_the_shipped_studies_found() -> None:
    (words,) = make_decisions.WORDS.findall(read("README.md"))
    assert words == make_decisions.shipped()


def test_the_readme_counts_the_schedulers() -> None:
    assert f"one of {len(SCHEDULERS)} short names" in read("README.md")


def test_the_readmes_table_has_each_option_of_grid_and_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (main,) = re.findall(r'^diffgrid = "(.+)"', read("pyproject.toml"), re.M)
    with pytest.raises(SystemExit):
        pkgutil.resolve_name(main)(["grid", "--help"])
    helped = re.split(r"^  (--[a-z-]+) ", capsys.readouterr().out, flags=re.M)[1:]
    options = {
        name: re.findall(r"\(default:\s+(\w+)\)", text)
        for name, text in zip(helped[::2], helped[1::2], strict=True)
    }
    del options["--out"], options["--json"]  # where it writes stands in the examples above

    rows = [
        row.strip("| ").split(" | ") for row in read("README.md").splitlines() if "| `--" in row
    ]
    documented = {
        name: default for names, _, default in rows for name in re.findall(r"--[a-z-]+", names)
    }
    assert documented.keys() == options.keys()
    for name, defaults in options.items():
        for default in defaults:
            assert re.search(rf"\b{default}\b", documented[name]), name
