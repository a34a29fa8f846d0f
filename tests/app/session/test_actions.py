"""What a touch of the grid does."""

import json
from pathlib import Path as File
from typing import Any

import pytest

from diffgrid.app.render_state import render_state
from diffgrid.app.session import actions
from diffgrid.app.session.actions import act
from diffgrid.app.session.page import COMPARE, DECISIONS, GRID, STRIP
from diffgrid.app.session.prompts import prompts_of
from diffgrid.app.session.session import Session
from diffgrid.models import heeded
from diffgrid.models.registry import find_model
from diffgrid.sharing.address import from_query, query_of_one, to_query
from diffgrid.sharing.recipe import read, write
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from tests.app.driver import cells, header
from tests.fakes import FakeEngine, pictures, trajectory


def test_a_click_makes_the_cell_the_trunk_and_leaves_an_address(
    opened: Session, engine: FakeEngine
) -> None:
    act(opened, {"do": "follow", "path": "5.2"})
    assert engine.jobs[-1].paths[0] == parse_path("5.2")
    message = render_state(opened)
    assert cells(message)[4:8] == ["5.0", "5.1", "trunk", "5.3"]
    assert cells(message)[:4] == ["1.0", "1.1", "1.2", "1.3"]
    assert header(message)["crumbs"] == ["trunk", "5.2"]
    assert to_query(opened.view)["path"] == "5.2"


def test_rows_columns_and_rerolls_change_only_what_they_name(opened: Session) -> None:
    act(opened, {"do": "reroll_cell", "step": 5, "branch": 1})
    act(opened, {"do": "add_row", "step": 12})
    act(opened, {"do": "add_column"})
    act(opened, {"do": "drop_row", "step": 1})
    rows = header(render_state(opened))["rows"]
    assert {row["step"]: [cell["branch"] for cell in row["cells"]] for row in rows} == {
        5: [0, 4, 2, 3, 5],
        10: [0, 1, 2, 3, 4],
        12: [0, 1, 2, 3, 4],
    }
    assert opened.generation == 3  # the form shows rows and columns, and no reroll


def test_a_page_that_an_act_leads_to_is_not_gone_to_once_somebody_went_elsewhere(
    opened: Session,
) -> None:
    act(opened, {"do": "strip", "path": "1.0"})
    act(opened, {"do": "share"})
    opened.load_query(GRID, {})  # the same page, run anew
    assert opened.next is not None
    opened.load_query(COMPARE, {})
    assert opened.next is None
    assert not opened.sharing


def test_the_strip_changes_the_path_that_it_shows(opened: Session, engine: FakeEngine) -> None:
    change = {"do": "change", "step": 8, "prompt": "a red monster", "guidance": 3}
    act(opened, {**change, "path": "1.0"})
    assert engine.jobs[-1].paths[0] == parse_path("1.0/8:prompt=a+red+monster")


def test_a_change_makes_another_trunk_that_can_be_undone(
    opened: Session, engine: FakeEngine
) -> None:
    act(opened, {"do": "change", "step": 8, "prompt": "a red monster", "guidance": 3})
    path = engine.jobs[-1].paths[0]
    assert path == parse_path("8:prompt=a+red+monster")
    message = render_state(opened)
    told = header(message)
    assert told["words"][told["path"]] == "from step 8: “a red monster”"
    assert told["change"]["prompt"] == "a red monster"
    assert cells(message)[:5] == ["1.0", "1.1", "1.2", "1.3", "5.0"]
    assert cells(message)[8] == "8:prompt=a+red+monster/10.0"
    assert from_query(to_query(opened.view)).path == path
    act(opened, {"do": "undo"})
    assert header(render_state(opened))["path"] == "trunk"


def test_a_prompt_that_is_leafed_to_is_a_run_from_its_trunk_and_in_the_form(
    opened: Session, engine: FakeEngine
) -> None:
    act(opened, {"do": "follow", "path": "5.2"})
    first = header(render_state(opened))
    here, drawn = first["prompts"].index(first["prompt"]), opened.generation
    act(opened, {"do": "prompt", "prompt": first["prompts"][here + 1]})
    told = header(render_state(opened))
    assert (told["prompt"], told["path"]) == (first["prompts"][here + 1], "trunk")
    assert told["run"] == key(engine.jobs[-1].spec, ()) != first["run"]
    assert [row["step"] for row in told["rows"]] == [row["step"] for row in first["rows"]]
    assert opened.form.prompt == told["prompt"]
    assert opened.generation > drawn
    act(opened, {"do": "undo"})
    assert header(render_state(opened))["path"] == "5.2"
    for odd in (5, None, "x" * 100_000):
        act(opened, {"do": "prompt", "prompt": odd})
        assert "prompt" in str(opened.error)
    assert opened.view.prompt == first["prompt"]


def test_all_prompts_to_leaf_through_are_of_words_that_the_model_knows(opened: Session) -> None:
    model = find_model(opened.view.model)
    for prompt in prompts_of(model.name):
        assert not heeded.unknown_words(model, prompt)
    assert opened.view.prompt in prompts_of(model.name)
    assert prompts_of("another") == ()


def test_a_change_of_nothing_is_one_sentence(opened: Session, engine: FakeEngine) -> None:
    same = header(render_state(opened))["change"]
    act(opened, {"do": "change", "step": 8, **{n: same[n] for n in ("prompt", "guidance")}})
    assert "nothing changes at step 8" in str(opened.error)
    assert len(engine.jobs) == 1


@pytest.mark.slow
def test_a_model_without_a_prompt_has_none_to_change(
    own_models: File, opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", str(own_models))
    opened.load_query(GRID, {"model": "faces"})
    assert opened.view.model == "faces"
    assert header(render_state(opened))["change"] is None
    act(opened, {"do": "change", "step": 8, "prompt": "a cat", "guidance": 3})
    assert "has no prompt" in str(opened.error)


def test_cancel_stops_the_job_and_resample_goes_on(opened: Session, engine: FakeEngine) -> None:
    act(opened, {"do": "cancel"})
    (job,) = engine.jobs
    assert job.cancelled
    job.play(pictures(25).final, state="cancelled")
    assert header(render_state(opened))["stopped"]
    act(opened, {"do": "resample"})
    assert engine.jobs[1].paths == job.paths


def test_noisy_pictures_are_made_only_when_they_are_looked_at(
    opened: Session, engine: FakeEngine
) -> None:
    act(opened, {"do": "lane", "lane": "xt"})
    assert [job.noisy_asked for job in engine.jobs] == [False, True]
    assert header(render_state(opened))["focus"]["noisy"] is None
    engine.jobs[-1].finish()
    assert len(header(render_state(opened))["focus"]["noisy"]) == 25
    act(opened, {"do": "lane", "lane": "x0"})
    assert header(render_state(opened))["lane"] == "x0"
    assert len(engine.jobs) == 2


def test_a_star_keeps_a_run_and_takes_it_back(opened: Session, engine: FakeEngine) -> None:
    path, name = parse_path("5.2"), key(opened.view.spec, parse_path("5.2"))
    engine.store.add(trajectory(opened.view.spec, path))
    on, off = ({"do": "star", "path": "5.2", "on": on} for on in (True, False))
    for each in (on, on):  # a tab that was loaded anew may say it twice
        act(opened, each)
        assert opened.starred() == {path}
    for each in (off, off):
        act(opened, each)
        assert opened.starred() == set()
    engine.store.save(name, "mine")
    act(opened, on)
    assert not opened.error
    act(opened, off)
    assert "saved as “mine”" in str(opened.error)
    assert opened.starred() == {path}


def test_a_public_server_keeps_nothing_for_strangers(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    act(opened, {"do": "star", "path": "5.2", "on": True})
    assert "keeps nothing" in str(opened.error)


def test_other_pages_are_gone_to_with_their_own_address(opened: Session) -> None:
    act(opened, {"do": "strip", "path": "5.2"})
    assert opened.next == (STRIP, query_of_one(opened.view, parse_path("5.2")))
    assert opened.one_run.picked(opened.view, opened.view.grid()) == parse_path("5.2")
    act(opened, {"do": "compare", "paths": ["trunk", "5.2"]})
    keys = [key(opened.view.spec, parse_path(path))[:8] for path in ("trunk", "5.2")]
    assert opened.next == (COMPARE, {"runs": ",".join(keys)})
    act(opened, {"do": "share"})
    assert opened.sharing


def test_a_file_opens_the_view_that_it_was_made_of(opened: Session, engine: FakeEngine) -> None:
    before = opened.view
    view = before.with_options(prompt="a red monster").reroll_row(5).follow(parse_path("5.4"))
    act(opened, {"do": "open", "recipe": write(view, "cell", parse_path("5.5"))})
    assert (opened.view, opened.error, opened.next) == (view, None, None)
    assert engine.jobs[-1].paths[0] == view.path
    act(opened, {"do": "open", "recipe": write(before, "strip", parse_path("5.2"))})
    assert opened.view == before
    assert opened.next == (STRIP, query_of_one(before, parse_path("5.2")))
    assert opened.one_run.picked(opened.view, opened.view.grid()) == parse_path("5.2")
    act(opened, {"do": "open", "recipe": write(view, "decisions")})
    assert opened.next == (DECISIONS, to_query(view))
    act(opened, {"do": "undo"})
    assert opened.view == before


def test_a_file_of_another_model_of_that_name_opens_and_is_told(opened: Session) -> None:
    view = opened.view.follow(parse_path("5.2"))
    other = write(view).replace(view.spec.digest, "0" * 64)
    act(opened, {"do": "open", "recipe": other})
    assert opened.view == view
    assert "not the model that made this" in str(opened.error)
    act(opened, {"do": "open", "recipe": write(view)})
    assert opened.error is None


def test_a_file_asks_a_public_server_for_no_more_than_an_address(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, wide = opened.view, write(opened.view.with_shape(2, 9))
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    act(opened, {"do": "open", "recipe": wide})
    assert opened.view == before
    assert "columns 9 is not allowed" in str(opened.error)


def test_any_cells_picture_can_say_what_it_was_made_of(opened: Session) -> None:
    act(opened, {"do": "follow", "path": "5.2"})
    texts = header(render_state(opened))["texts"]
    found = read(json.dumps(texts["recipe"] | {"path": "5.2/10.1"}))
    assert (found.view, found.path) == (opened.view, parse_path("5.2/10.1"))
    assert [*texts["recipe"]] == sorted(texts["recipe"])  # the one way that it is written
    assert texts["parameters"].endswith("Diffgrid path: ")


def test_another_path_is_picked_for_the_strip_and_the_grid_stays(
    opened: Session, engine: FakeEngine
) -> None:
    act(opened, {"do": "pick", "path": "5.2"})
    assert opened.one_run.picked(opened.view, opened.view.grid()) == parse_path("5.2")
    assert opened.view.path == ()
    act(opened, {"do": "pick", "path": "nowhere"})
    assert opened.error
    assert len(engine.jobs) == 1


@pytest.mark.parametrize(
    "what",
    [
        {"do": "follow", "path": "24.0"},
        {"do": "follow", "path": 7},
        {"do": "reroll_cell", "step": "x", "branch": []},
        {"do": "follow"},
        {"do": "add_row", "step": 10**9},
        {"do": "star", "path": "5.2", "on": True},
        {"do": "star", "path": "5.2"},
        {"do": ["undo"]},
        {"do": "undo", "to": 7},
        {"do": "undo", "to": {"seed": []}},
        {"do": "open"},
        {"do": "open", "recipe": {}},
        {"do": "open", "recipe": "{}"},
        {"do": "open", "recipe": "[" * 10**6},
        {"do": "open", "recipe": "\ud800"},
        {"do": "visit"},
        {"do": "visit", "query": "steps=4"},
        {"do": "visit", "query": {"steps": "none"}},
    ],
)
def test_a_touch_that_cannot_be_is_told_and_nothing_is_lost(
    opened: Session, engine: FakeEngine, what: dict[str, Any]
) -> None:
    before = opened.view
    act(opened, what)
    assert opened.view == before
    act(opened, {"do": "unheard of"})
    assert len(engine.jobs) == 1


def test_an_undo_is_done_though_the_page_was_loaded_anew_since(session: Session) -> None:
    session.load_query(GRID, {"path": "5.2"})
    to = header(render_state(session))["before"]
    assert to is None
    act(session, {"do": "follow", "path": "5.3"})
    to = header(render_state(session))["before"]
    act(session, {"do": "undo", "to": to})
    assert session.view.path == parse_path("5.2")
    act(session, {"do": "follow", "path": "5.3"})
    anew = Session(session._engine)
    anew.load_query(GRID, to_query(session.view))
    act(anew, {"do": "undo", "to": to})
    assert anew.view.path == parse_path("5.2")


def test_a_card_leads_to_its_grid_and_undo_back(opened: Session, engine: FakeEngine) -> None:
    before = opened.view
    query = {"prompt": "a monster", "steps": "4", "path": "1.2"}
    act(opened, {"do": "visit", "query": query})
    assert opened.view == from_query(query)
    assert engine.jobs[-1].paths[0] == parse_path("1.2")
    assert opened.generation == 1  # the form shows other options
    act(opened, {"do": "undo"})
    assert opened.view == before


def test_acts_that_arrive_together_are_all_done_and_once(opened: Session) -> None:
    told = {"sender": "me", "acts": [[1, {"do": "add_column"}], [2, {"do": "drop_row", "step": 1}]]}
    actions.take(opened, told)
    actions.take(opened, told)
    assert (opened.view.columns, len(opened.view.rows)) == (5, 2)
    assert header(render_state(opened))["acted"] == ["me", 2]


@pytest.mark.parametrize("told", [None, 3, {}, {"path": 7}, {"path": "no path"}])
def test_a_hint_that_is_not_understood_is_left_alone(
    opened: Session, engine: FakeEngine, told: object
) -> None:
    engine.jobs[0].finish()
    actions.rest(opened, told)
    assert not engine.ahead_of
    assert opened.error is None
    actions.rest(opened, {"path": "5.2"})
    assert len(engine.ahead_of) == 1


def test_a_picture_that_the_browser_lacks_is_sent_again(
    opened: Session, engine: FakeEngine
) -> None:
    engine.jobs[0].finish()
    first = header(render_state(opened))
    assert not any(header(render_state(opened))["lengths"])
    for told in (None, {"names": 3}, {"names": [3, first["names"][0]]}):
        actions.lack(opened.sent_images, told)
    sent = header(render_state(opened))
    assert [name for name, size in zip(sent["names"], sent["lengths"], strict=True) if size] == [
        first["names"][0]
    ]
