"""A model of one's own that goes away while somebody looks at it."""

from __future__ import annotations

import shutil
from pathlib import Path as File

import pytest
from streamlit.testing.v1 import AppTest

from diffgrid.app.session.actions import act
from diffgrid.app.session.session import Session
from tests.app.driver import choose, press, run
from tests.fakes import FakeEngine

pytestmark = pytest.mark.slow


@pytest.fixture
def moving(
    tmp_path: File, own_models: File, page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> File:
    """Models of one's own that a test can take away again."""
    shutil.copytree(own_models, tmp_path / "models")
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path / "models"))
    run(page)
    return tmp_path / "models"


def test_while_it_is_on_view_it_is_one_sentence_and_a_way_on(
    moving: File, page: AppTest, engine: FakeEngine, session: Session
) -> None:
    choose(page, "Model", "faces")
    shutil.rmtree(moving / "faces")
    choose(page, "Seed", 8)
    (error,) = page.error
    assert "is not known" in error.value
    press(page, "Go on with the model in the box")
    assert session.view.model == "monsters"
    assert engine.jobs[-1].spec.model == "monsters"
    act(session, {"do": "undo"})
    assert "is not known" in run(page).error[0].value
    assert session.view.model == "monsters"


def test_while_it_is_offered_it_is_one_sentence_and_a_way_on(
    moving: File, page: AppTest, engine: FakeEngine, session: Session
) -> None:
    engine.seconds = None
    choose(page, "Model", "quick")
    shutil.rmtree(moving / "quick")
    assert run(page).error
    press(page, "Go on with the model in the box")
    assert not page.error
    assert session.form.model == "monsters"
