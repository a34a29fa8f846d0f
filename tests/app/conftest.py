"""Sessions and pages that ask an engine which only takes notes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path as File
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from diffgrid.app import state
from diffgrid.app.session import session as sessions
from diffgrid.app.session.page import GRID
from diffgrid.app.session.session import Session
from tests.app import driver
from tests.fakes import FakeEngine


@pytest.fixture(autouse=True)
def _a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All of AppTest's sessions go by one name, and it takes a `pages` folder for an app of the old
    kind, whose entry point it leaves out; a browser does neither."""
    runner = "streamlit.runtime.scriptrunner.script_runner.PagesManager"
    monkeypatch.setattr(runner, SimpleNamespace(uses_pages_directory=False))
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="session", autouse=True)
def _one_look_at_what_is_installed() -> Iterator[None]:
    """Each AppTest reads the metadata of all packages for components of theirs, a fifth of a second
    for what stays the same."""
    with pytest.MonkeyPatch.context() as patch:
        found = cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", found)
        yield


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def session(engine: FakeEngine) -> Session:
    """A session that has not come to any page."""
    return Session(lambda: engine)


@pytest.fixture
def opened(session: Session) -> Session:
    """The same on its first page, whose grid was asked for."""
    session.load_query(GRID, {})
    session.open()
    return session


@pytest.fixture
def app(engine: FakeEngine, session: Session, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The first page of the session, not run yet, and the form's folded parts with it."""
    monkeypatch.setattr(state, "engine", lambda: engine)
    monkeypatch.setattr(state, "session", lambda: session)
    monkeypatch.setattr(sessions, "HEAD_START", 0)
    page = driver.app()
    page.session_state["lab"] = page.session_state["words"] = True
    return page


@pytest.fixture
def page(app: AppTest) -> AppTest:
    """The first page, just opened."""
    return driver.run(app)


@pytest.fixture(scope="session")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> File:
    """A folder of models with random weights, of three families."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("models")
    tiny.save(folder / "faces", family="ddpm")
    tiny.save(folder / "quick", family="latent_consistency")
    tiny.save(folder / "flows", family="stable_diffusion_3")
    return folder
