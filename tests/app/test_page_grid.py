"""The grid's page: what it says, when it looks again, and its address."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from diffgrid.app.session.actions import act
from diffgrid.app.session.session import Session
from diffgrid.errors import BadInput
from diffgrid.spec.path import parse_path
from tests.app.driver import cells, choose, press, run, widget
from tests.fakes import FakeEngine

pytestmark = pytest.mark.slow


def sent(page: AppTest) -> bytes:
    """What the grid's component was sent."""
    component, _history, _cards = page.get("bidi_component")
    message: bytes = component.proto.bytes
    return message


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How often the grid looks again, by each run of the whole page."""
    polls: list[float | None] = []
    fragment = st.fragment

    def noted(show: Any, *, run_every: float | None = None) -> Any:
        polls.append(run_every)
        return fragment(show)

    monkeypatch.setattr(st, "fragment", noted)
    return polls


def test_opening_the_page_shows_the_models_own_grid(
    polls: list[float | None], page: AppTest, engine: FakeEngine
) -> None:
    (job,) = engine.jobs
    assert [title.value for title in page.title] == ["Branching grid"]
    assert len(cells(sent(page))) == 12
    assert not page.query_params
    assert polls[-1]
    job.finish()
    run(page)
    assert polls[-1] is None


def test_a_touch_leaves_an_address(page: AppTest, session: Session) -> None:
    act(session, {"do": "follow", "path": "5.2"})
    assert run(page).query_params["path"] == "5.2"
    assert cells(sent(page))[4:8] == ["5.0", "5.1", "trunk", "5.3"]


def test_an_address_opens_its_view(app: AppTest, engine: FakeEngine) -> None:
    app.query_params.update({"seed": "9", "rows": "1,5:0.7", "columns": "2", "path": "5.7"})
    page = run(app)
    (job,) = engine.jobs
    assert (job.spec.seed, job.paths[0]) == (9, parse_path("5.7"))
    assert cells(sent(page)) == ["1.0", "1.1", "5.0", "trunk"]
    assert widget(page, "Seed").value == 9


def test_a_hostile_address_is_one_sentence_above_the_default_grid(
    app: AppTest, engine: FakeEngine
) -> None:
    app.query_params.update({"rows": "[click](https://example.org)"})
    page = run(app)
    assert "are not allowed" in page.error[0].value
    assert "\\[click\\]" in page.error[0].value
    assert engine.jobs[0].spec.seed == 7


def test_what_takes_long_is_offered_with_its_price(page: AppTest, engine: FakeEngine) -> None:
    engine.seconds = 90
    choose(page, "Steps", 50)
    assert len(engine.jobs) == 1
    assert any("about **90 s**" in text.value for text in page.markdown)
    press(page, "Sample")
    assert engine.jobs[-1].spec.length == 50
    assert not any(b.label == "Sample" for b in page.button)


def test_a_job_that_fails_says_why_in_its_own_words(page: AppTest, engine: FakeEngine) -> None:
    engine.jobs[0].play(state="failed", error=BadInput("steps 60 is not allowed with [lcm](x): …"))
    (error,) = run(page).error
    assert "\\[lcm\\]\\(x\\)" in error.value  # shown as it is: no link


def test_a_warning_of_the_job_is_shown(page: AppTest, engine: FakeEngine) -> None:
    engine.jobs[0].play(state="sampling", warning="the cache is full")
    assert run(page).warning[0].value == "the cache is full"


def test_sharing_says_who_can_open_the_address_and_has_files_once_all_is_made(
    page: AppTest, engine: FakeEngine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(st.context), "url", "http://127.0.0.1:8501/")
    act(session, {"do": "share"})
    run(page)
    said = [each.value for each in page.caption]
    assert any("this machine alone: nobody else" in each for each in said)
    assert any("once all of it is sampled" in each for each in said)
    assert not page.get("download_button")
    engine.jobs[0].finish()
    act(session, {"do": "share"})
    labels = [button.proto.label for button in run(page).get("download_button")]
    assert labels == ["Page", "Picture", "Film"]
