"""What a server keeps of a tab."""

from __future__ import annotations

import pytest
from streamlit.runtime.caching import clear_session_resource_cache

from diffgrid.app import state
from diffgrid.app.session.session import Session
from diffgrid.spec.path import parse_path
from tests.app.driver import app, run
from tests.fakes import FakeEngine


def test_a_connection_that_comes_back_finds_what_it_left(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "engine", lambda: engine)
    page = run(app())
    mine: Session = page.session_state["_mine"]
    mine.go(mine.view.follow(parse_path("5.2")))
    clear_session_resource_cache("test session id")  # what Streamlit does where one ends
    assert mine.job is None
    assert engine.jobs[-1].cancelled
    run(page)
    assert page.session_state["_mine"] is mine
    assert mine.job is engine.jobs[-1]
    mine.undo()
    assert mine.view.path == ()
