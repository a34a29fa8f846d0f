"""The form: its fields, what a change of them asks for, and what it shows again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path as File

import pytest
from streamlit.testing.v1 import AppTest

from diffgrid.app import state
from diffgrid.app.session.actions import act
from diffgrid.app.session.request import FEW
from diffgrid.app.session.session import Session
from diffgrid.limits import Limits
from diffgrid.sharing.view import View
from diffgrid.spec.path import minimum
from tests.app import driver
from tests.app.driver import choose, ids, labels, places, press, run, widget
from tests.fakes import FakeEngine

pytestmark = pytest.mark.slow


def test_what_is_folded_is_not_drawn(app: AppTest) -> None:
    del app.session_state["lab"], app.session_state["words"]
    run(app)
    assert not {"Model", "Steps", "body"} & labels(app)
    app.session_state["lab"] = True
    run(app)
    assert {"Model", "Steps"} <= labels(app)
    assert "body" not in labels(app)


def test_a_change_applies_at_once_and_ends_what_was_under_way(
    page: AppTest, engine: FakeEngine
) -> None:
    choose(page, "Prompt", "a red monster")
    choose(page, "Steps", 6)
    choose(page, "Columns", 2)
    choose(page, "Guidance", 1.5)
    choose(page, "Scheduler", "euler")
    assert [job.cancelled for job in engine.jobs] == [True] * 5 + [False]
    spec = engine.jobs[-1].spec
    assert (spec.prompt, spec.length, spec.guidance_scale) == ("a red monster", 6, 1.5)
    assert (spec.scheduler, spec.eta) == ("EulerDiscreteScheduler", None)
    assert max(path[0].branch for path in engine.jobs[-1].paths if path) == 1
    assert page.query_params["scheduler"] == "euler"


def test_a_photo_is_offered_to_begin_with_where_it_can_be(
    app: AppTest, session: Session, own_models: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered() -> bool:
        return "Begin with a photo" in {each.label for each in run(app).expander}

    assert offered()
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    assert not offered()
    monkeypatch.delenv("DIFFGRID_PUBLIC")
    monkeypatch.setenv("DIFFGRID_MODELS", str(own_models))
    session.go(View.default("quick"))  # latent consistency
    assert not offered()


def test_the_rows_move_with_a_photos_strength(
    page: AppTest, engine: FakeEngine, session: Session
) -> None:
    session.go(session.view.with_options(image="ab" * 32))
    run(page)
    assert [step for step, _ in session.view.rows] == [1, 4, 8]
    choose(page, "Strength", 0.1)  # of two steps one can be left
    assert engine.jobs[-1].spec.length == 2
    assert (widget(page, "Rows").value, widget(page, "Strength").value) == (1, 0.1)
    press(page, "Leave it out")
    assert (session.view.options["image"], session.view.options["strength"]) == ("", 0.8)
    assert "Strength" not in labels(page)


def test_what_else_the_pipeline_takes_is_in_the_lab(
    page: AppTest, engine: FakeEngine, session: Session
) -> None:
    assert {"Guidance rescale", "Clip skip"} <= labels(page)
    choose(page, "Guidance rescale", 0.7)
    choose(page, "Clip skip", 1)
    assert engine.jobs[-1].spec.option("option") == "clip_skip=1;guidance_rescale=0.7"
    assert page.query_params["option"] == "clip_skip=1;guidance_rescale=0.7"
    choose(page, "Clip skip", None)
    choose(page, "Guidance rescale", 0.0)  # the pipeline's own: the first grid again
    assert session.view == View.default()
    assert widget(page, "Clip skip").value is None


def test_naming_the_models_own_scheduler_is_the_same_run(page: AppTest, engine: FakeEngine) -> None:
    choose(page, "Scheduler", "ddim")
    assert len(engine.jobs) == 1


def test_the_form_works_on_the_view_that_the_grid_has_made_since(
    page: AppTest, engine: FakeEngine, session: Session
) -> None:
    act(session, {"do": "reroll_cell", "step": 5, "branch": 1})  # the form is not drawn again
    choose(page, "Seed", 8)
    assert (5, (0, 4, 2, 3)) in session.view.rows
    assert engine.jobs[-1].spec.seed == 8


def test_the_form_follows_what_the_grid_and_undo_do(page: AppTest, session: Session) -> None:
    act(session, {"do": "add_column"})
    assert widget(run(page), "Columns").value == 5
    choose(page, "Seed", 8)
    act(session, {"do": "undo"})
    assert widget(run(page), "Seed").value == 7
    act(session, {"do": "redo"})
    assert widget(run(page), "Seed").value == 8


def test_a_field_that_shows_the_new_view_as_it_is_stays_the_same(
    page: AppTest, session: Session
) -> None:
    """Another would take the focus, and what is being typed, from whoever is in it."""
    before = ids(page)
    act(session, {"do": "add_column"})
    after = ids(run(page))
    assert {label for label in before if after[label] != before[label]} == {"Columns"}


def test_no_field_moves_as_others_come_and_go(page: AppTest) -> None:
    """Until a run is through, a browser shows what moved twice, or not at all."""
    before = places(page.sidebar)
    for label, value in (
        ("Prompt", "a green dragon"),
        ("Guidance", 0.5),
        ("Scheduler", "euler"),
        ("Fork kind", "Re-noise"),
    ):
        choose(page, label, value)
        after = places(page.sidebar)
        assert before | after == after | before


def test_rows_are_changed_beside_what_the_grid_has_made_of_the_columns(
    page: AppTest, session: Session
) -> None:
    act(session, {"do": "add_column"})  # the form is not drawn again
    choose(page, "Rows", 3)
    assert (len(session.view.rows), session.view.columns) == (3, 5)
    assert (widget(page, "Rows").value, widget(page, "Columns").value) == (3, 5)


def test_a_public_server_says_its_limits(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    app.session_state["about"] = True
    (panel,) = (e for e in run(app).sidebar.expander if e.label == "About this server")
    public, private = asdict(Limits.from_environment()), asdict(Limits())
    tighter = [f"{public[name]:,}" for name in public if public[name] < private[name]]
    assert len(tighter) == 9
    assert all(limit in panel.caption[0].value for limit in tighter)


def test_no_other_server_has_anything_to_say(app: AppTest) -> None:
    assert "About this server" not in {e.label for e in run(app).sidebar.expander}


def test_the_dice_give_another_seed_and_sample_at_once(page: AppTest, engine: FakeEngine) -> None:
    seeds = {engine.jobs[-1].spec.seed}
    for _ in range(3):
        press(page, ":material/casino:")
        seeds.add(engine.jobs[-1].spec.seed)
    assert len(seeds) > 1
    assert widget(page, "Seed").value == engine.jobs[-1].spec.seed


def test_undo_takes_back_what_the_form_refused(page: AppTest, session: Session) -> None:
    act(session, {"do": "follow", "path": "5.2"})
    choose(page, "Prompt", 12_000 * "x")
    assert page.error
    act(session, {"do": "undo"})
    assert widget(run(page), "Prompt").value == session.view.prompt


def test_what_is_not_allowed_is_said_and_the_grid_stays(
    page: AppTest, engine: FakeEngine, session: Session
) -> None:
    choose(page, "Scheduler", "lcm")
    choose(page, "Steps", 60)
    assert "steps 60" in page.error[0].value
    assert widget(page, "Steps").value == 60
    assert session.view.steps == 25
    assert len(engine.jobs) == 2
    choose(page, "Columns", 2)
    assert not page.error
    assert widget(page, "Steps").value == 25


def test_words_the_model_does_not_know_are_marked(page: AppTest) -> None:
    assert not any("does not know" in caption.value for caption in page.caption)
    choose(page, "Prompt", "a green dragon")
    captions = " ".join(caption.value for caption in page.caption)
    assert "red-background[dragon]" in captions
    assert "it knows 45 words" in captions


def test_a_prompt_is_put_together_of_words(page: AppTest, engine: FakeEngine) -> None:
    choose(page, "body", "green")
    choose(page, "head", "any")
    assert engine.jobs[-1].spec.prompt == "a green monster on a blue background"


def test_re_noise_is_chosen_and_explained_in_the_form(page: AppTest, engine: FakeEngine) -> None:
    choose(page, "Fork kind", "Re-noise")
    assert {fork.back for path in engine.jobs[-1].paths for fork in path} == {5}
    assert page.query_params["fork"] == "renoise:5"
    assert any("5 steps back" in caption.value for caption in page.caption)
    choose(page, "Steps back", 2)
    assert {fork.back for path in engine.jobs[-1].paths for fork in path} == {2}
    choose(page, "Fork kind", "Fresh noise")
    assert "Steps back" not in labels(page)
    assert {fork.back for path in engine.jobs[-1].paths for fork in path} == {0}


def test_two_stage_schedulers_go_back_by_whole_steps(page: AppTest, session: Session) -> None:
    choose(page, "Scheduler", "heun")
    assert session.view.spec.length == 49
    assert all(step % 2 == 0 for step, _ in session.view.rows)
    choose(page, "Fork kind", "Re-noise")
    back = widget(page, "Steps back")
    assert (back.min, back.step) == (2, 2)
    assert back.value in (2, 4, 6, 8, 10, 12)


def test_a_form_that_is_gone_changes_nothing(page: AppTest, session: Session) -> None:
    """A browser that has not drawn the new form yet may send the one before once more."""
    gone = page._tree.get_widget_states()
    for button in [each for each in gone.widgets if each.HasField("trigger_value")]:
        gone.widgets.remove(button)  # a browser sends those that were pressed
    press(page, ":material/casino:")
    before = session.view
    page._run(gone)
    assert not page.exception
    assert session.view == before


def test_what_was_told_a_server_that_is_gone_is_asked_of_the_next(
    page: AppTest, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget(page, "Prompt").set_value("a red monster")
    brought = page._tree.get_widget_states()
    later = Session(lambda: engine)
    monkeypatch.setattr(state, "session", lambda: later)
    again = driver.app(seed="7")  # what was on view
    again._run(brought)
    assert not again.exception
    assert (later.view.spec.prompt, engine.jobs[-1].spec.prompt) == 2 * ("a red monster",)
    assert again.query_params["prompt"] == "a red monster"


@pytest.fixture
def with_models(own_models: File, page: AppTest, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DIFFGRID_MODELS", str(own_models))
    return run(page)


@pytest.mark.parametrize(
    ("model", "lacking"),
    [
        ("faces", {"Prompt", "Guidance", "Negative prompt"}),
        ("quick", {"Negative prompt"}),
        ("flows", set()),
    ],
)
def test_the_form_has_the_fields_that_the_model_heeds(
    with_models: AppTest, model: str, lacking: set[str]
) -> None:
    choose(with_models, "Model", model)
    assert {"Prompt", "Guidance", "Negative prompt"} - labels(with_models) == lacking
    assert "body" not in labels(with_models)  # the bundled model's words to pick


def test_only_schedulers_that_go_with_the_model_are_offered(with_models: AppTest) -> None:
    assert "flow_match_euler" not in widget(with_models, "Scheduler").options
    choose(with_models, "Model", "quick")
    assert widget(with_models, "Scheduler").options == ["lcm"]
    choose(with_models, "Model", "flows")
    offered = widget(with_models, "Scheduler").options
    assert offered == ["flow_match_euler", "flow_match_heun", "flow_match_lcm"]


def test_another_model_begins_with_its_own_settings_and_waits_for_a_word(
    with_models: AppTest, engine: FakeEngine
) -> None:
    choose(with_models, "Prompt", "a red monster")
    choose(with_models, "Seed", 11)
    jobs, engine.seconds = len(engine.jobs), None
    choose(with_models, "Model", "quick")
    assert len(engine.jobs) == jobs
    (offer,) = [text.value for text in with_models.markdown if "evaluations" in text.value]
    assert "**quick**" in offer
    assert "nothing was timed" in offer
    (smaller,) = [b.label for b in with_models.button if b.label.startswith("Smaller")]
    press(with_models, smaller)
    spec = engine.jobs[-1].spec
    assert (spec.model, spec.prompt, spec.seed, spec.guidance_scale) == ("quick", "", 11, 8.5)
    assert minimum(engine.jobs[-1].paths, spec.length) <= FEW
    assert f"{spec.length} steps" in smaller
