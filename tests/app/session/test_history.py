"""Undo and redo, and what the form has to show again."""

from collections.abc import Mapping
from typing import Any

import pytest

from diffgrid.app.session.actions import act
from diffgrid.app.session.history import MOST_UNDONE, History
from diffgrid.app.session.session import Session
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path
from tests.fakes import FakeEngine


def test_undo_and_redo_go_through_every_view(opened: Session) -> None:
    act(opened, {"do": "follow", "path": "5.2"})
    opened.change(opened.view.with_options(seed=8))
    for do, seed, path in [
        ("undo", 7, "5.2"),
        ("undo", 7, "trunk"),
        ("redo", 7, "5.2"),
        ("redo", 8, "trunk"),
        ("redo", 8, "trunk"),
    ]:
        act(opened, {"do": do})
        assert (opened.view.seed, opened.view.path) == (seed, parse_path(path))
        assert opened.form == opened.view
    assert opened.history.before
    assert not opened.history.after


def test_who_goes_elsewhere_cannot_redo(opened: Session) -> None:
    opened.go(opened.view.with_options(seed=8))
    opened.undo()
    opened.go(opened.view.with_options(seed=9))
    opened.redo()
    assert opened.view.seed == 9


def test_the_oldest_views_are_forgotten() -> None:
    history = History(View.default())
    for seed in range(MOST_UNDONE + 5):
        history.go(history.view.with_options(seed=seed))
    while history.before:
        history.undo()
    assert history.view.seed == 4


@pytest.mark.parametrize(
    ("touched", "renewed"),
    [
        ({"do": "follow", "path": "5.2"}, False),
        ({"do": "reroll_row", "step": 5}, False),
        ({"do": "drop_column"}, True),
        ({"do": "drop_row", "step": 5}, True),
    ],
    ids=lambda each: each["do"] if isinstance(each, dict) else "",
)
def test_undo_renews_the_form_only_where_it_shows_something_else(
    opened: Session, touched: Mapping[str, Any], renewed: bool
) -> None:
    act(opened, touched)
    before = opened.generation
    act(opened, {"do": "undo"})
    assert (opened.generation != before) == renewed


def test_a_touch_takes_back_what_the_form_offered_in_vain(
    opened: Session, engine: FakeEngine
) -> None:
    engine.seconds = 90
    opened.change(opened.view.with_options(steps=50))
    before = opened.generation
    act(opened, {"do": "follow", "path": "5.2"})
    assert opened.form.steps == opened.view.steps == 25
    assert opened.generation > before  # or the form's own field would go on showing 50


def test_what_cannot_be_sampled_any_more_is_not_gone_back_to(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.change(opened.view.with_options(steps=60))
    opened.change(opened.view.with_options(steps=50))
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    opened.undo()
    assert "60" in str(opened.error)
    assert opened.view.steps == 50
    assert opened.history.before
