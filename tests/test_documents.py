"""The documents say what the code does."""

import re
from pathlib import Path

import diffgrid

ROOT = Path(__file__).parents[1]


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert versions[0] == diffgrid.__version__
