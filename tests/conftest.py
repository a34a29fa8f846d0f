"""Fixtures every test gets: no network, no cache but its own, no browser where there is none."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of what is tested. Each run draws other examples, so many small runs
# see more than a few large ones.
settings.register_profile("here", deadline=None, max_examples=50)
settings.load_profile("here")

# Before any import of torch, diffusers or transformers, which read them once: a test that reaches
# for the hub fails instead of downloading, and there is a process a core already.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish() -> None:
    """What torch and its kin left in memory stays: a collection, as each load of a model makes two,
    would go through all of it, a quarter of a second."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, so that none ends up alone: those that drive the browser, which wait
    more than they compute, then those with most of what is slow.

    Where the Debian packages that a browser test drives are missing, it is skipped.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (not item.get_closest_marker("browser"), -slow[item.path]))
    if shutil.which("chromium"):
        return
    skip = pytest.mark.skip(reason="needs the Debian packages chromium and chromium-driver")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _never_the_users_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of a wider scope than one test see these settings, never the user's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DIFFGRID_")]:
            patch.delenv(name)
        patch.setenv("DIFFGRID_CACHE", str(tmp_path_factory.mktemp("session") / "cache"))
        yield


@pytest.fixture(autouse=True)
def _main_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit puts an app's script in its place, which a process that is spawned would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def cache_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The cache directory that DIFFGRID_CACHE names for this test alone; it does not exist yet."""
    directory = tmp_path_factory.mktemp("test") / "cache"
    monkeypatch.setenv("DIFFGRID_CACHE", str(directory))
    return directory
