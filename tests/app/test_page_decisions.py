"""The page of decisions: its chart, what it shows for whom, and how a study is looked at."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import diffgrid.decisions.results as shelf
from diffgrid.app.session.bundled_studies import nearest
from diffgrid.app.session.studies import USUAL_COLUMNS, Studies
from diffgrid.decisions.chart_png import to_png
from diffgrid.decisions.charts import MARKERS, chart, summary
from diffgrid.decisions.decision_steps import ordered
from diffgrid.decisions.results import Results, read
from diffgrid.decisions.study import Finding, Plan, Study, study_rows
from diffgrid.models.registry import find_model, specify
from diffgrid.pictures.primitives import STYLES, Mark, Scene
from diffgrid.records.frames import encode_final
from diffgrid.sharing import foreign
from diffgrid.spec.path import Path
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore
from tests.app.driver import app, run
from tests.fakes import FakeEngine

STEPS, ROWS, COLUMNS = 8, (0, 1, 2, 4, 6), 3
# Before that row branches differ, from it on they agree.
DECIDED = {"late_one": 6, "early": 1, "middle": 3, "named": 0}


def plan_of(trunks: int = 8, prompt: str = "a monster", guidance: float = 3.0) -> Plan:
    spec = specify(prompt=prompt, steps=STEPS, guidance=guidance)
    return Plan(spec, trunks, ROWS, COLUMNS)


def finding(spec: RunSpec, path: Path) -> Finding:
    """Labels of a world in which each factor is decided at its own row."""
    own = np.random.default_rng([spec.seed, *([path[0].step, path[0].branch] if path else [99])])
    trunk = np.random.default_rng([spec.seed, 7])
    labels = {}
    for name, row in DECIDED.items():
        common, drawn = trunk.integers(3), own.integers(3)
        decided = not path or path[0].step >= row
        labels[name] = "abc"[0 if name == "named" else common if decided else drawn]
    picture = own.integers(0, 255, (16, 16, 3)).astype(np.uint8)
    bars = np.append(1e-9, np.linspace(0.01, 0.9, STEPS - 1))
    levels = tuple(zip(np.linspace(999, 20, STEPS), bars, strict=True))
    return Finding(labels, labels, encode_final(picture), levels=None if path else levels)


def found_by(plan: Plan, bands: bool = True) -> Results:
    findings = [(s.seed, path, finding(s, path)) for s in plan.trees for path in plan.paths]
    return read(plan, findings, bands=bands)


@pytest.fixture(scope="module")
def found() -> Results:
    return found_by(plan_of())


# --- the chart ------------------------------------------------------------------------------------


def test_factors_stand_in_the_order_in_which_they_are_decided(found: Results) -> None:
    names = [panel.title for panel in chart(found).panels]
    assert names == ["early", "middle", "late one", "named", "by frequency", "How to read it"]


def test_what_the_prompt_fixed_has_a_lock_and_no_curve(found: Results) -> None:
    drawn = chart(found)
    named = next(panel for panel in drawn.panels if panel.title == "named")
    assert named.scene is None
    assert named.sentence == "… named is fixed by the prompt."
    assert [mark for mark in drawn.wide.marks if mark.role == "lock"]


def test_every_row_can_be_read_with_its_interval_and_count(found: Results) -> None:
    early = chart(found).panels[0]
    assert len(early.stops) == len(ROWS)
    _, text = early.stops[-1]
    phi = ordered(found.decisions.factors)[0].agreement[ROWS[-1]]
    assert text.startswith(f"step {ROWS[-1]}, t ")
    assert f"{phi.value:.2f} ({phi.low:.2f}–{phi.high:.2f}), {phi.n} pairs" in text
    assert "8 trunks, pooled" in early.note


def test_noise_is_left_and_nothing_leaves_its_scene(found: Results) -> None:
    drawn = chart(found)
    for panel in drawn.panels:
        places = [x for x, _ in panel.stops]
        assert places == sorted(places)
    scenes: list[Scene] = [drawn.wide, drawn.narrow]
    scenes += [panel.scene for panel in drawn.panels if panel.scene]
    for scene in scenes:
        for x, y in (point for mark in scene.marks for point in mark.points):
            assert 0 <= x <= scene.width
            assert 0 <= y <= scene.height


def test_bands_differ_by_more_than_colour() -> None:
    kinds = set(MARKERS.values())
    assert len(kinds) == len({STYLES[name].dash for name in MARKERS}) == len(MARKERS)
    markers = [Mark("layout", ((0, 0),), kind=kind) for kind in kinds]
    assert len({len(marker.corners) for marker in markers}) == len(MARKERS)


@pytest.mark.slow
def test_the_picture_carries_its_recipe(found: Results) -> None:
    data = to_png(chart(found), found)
    picture, recipe = Image.open(io.BytesIO(data)), foreign.opened(data)
    told = json.loads(picture.text["diffgrid"])  # type: ignore[attr-defined]
    assert told["study"] == json.loads(json.dumps(found.to_dict()["study"]))
    assert (recipe.kind, recipe.view.prompt) == ("decisions", found.plan.spec.prompt)
    assert len(picture.getcolors(1 << 24) or []) > 100


def test_a_chart_needs_no_pictures_and_hardly_any_trunk() -> None:
    drawn = chart(found_by(plan_of(1), bands=False))
    assert "this trunk" in drawn.recipe
    assert "by frequency" not in [panel.title for panel in drawn.panels]
    assert "1 trunk" not in drawn.panels[0].note


@pytest.mark.slow
def test_few_trunks_have_no_intervals() -> None:
    found = found_by(plan_of(4))
    drawn = chart(found)
    scenes = [drawn.wide, *(panel.scene for panel in drawn.panels[:-1] if panel.scene)]
    roles = {mark.role for scene in scenes for mark in scene.marks}
    assert "decision" in roles
    assert not roles & {"reach", "whisker", "spread", "ends", "layout-interval"}
    assert drawn.intervals == "4 trunks are too few for intervals: they take 8"
    assert drawn.order == "4 trunks establish no order of early, middle and late one."
    assert "too few trunks for an interval" in drawn.panels[0].note
    assert to_png(drawn, found)


def test_the_table_says_what_the_chart_says(found: Results) -> None:
    lines = [summary(factor) for factor in ordered(found.decisions.factors)]
    assert [line["factor"] for line in lines] == ["early", "middle", "late one", "named"]
    assert lines[0]["decided at"].startswith("t ≈ ")
    assert lines[-1]["decided at"] == "fixed by the prompt"


# --- studies of a session -------------------------------------------------------------------------


def test_the_nearest_study_has_the_model_then_the_prompt() -> None:
    plans = {
        "far": plan_of(prompt="a cat", guidance=3.0).spec,
        "near": plan_of(guidance=1.0).spec,
        "same": plan_of(guidance=3.0).spec,
    }
    assert nearest(plan_of(4).spec, plans) == "same"
    del plans["same"]
    assert nearest(plan_of(4).spec, plans) == "near"
    assert nearest(plan_of(4).spec, {}) is None


@pytest.fixture
def store(cache_directory: File) -> Iterator[TrajectoryStore]:
    store = TrajectoryStore(cache_directory)
    yield store
    store.close()


def stored(store: TrajectoryStore, plan: Plan, trees: int) -> None:
    """Have what a probe saw in the first trees: no model is needed for them."""
    probe = find_model(plan.spec.model).probe
    for spec in plan.trees[:trees]:
        for path in plan.paths:
            store.add_labels(key(spec, path), probe, *finding(spec, path).to_payload())


@pytest.mark.slow
def test_results_are_looked_at_only_where_the_trees_have_doubled(store: TrajectoryStore) -> None:
    plan, mine = plan_of(16), Studies(lambda: FakeEngine(store), "me")
    stored(store, plan, 9)
    mine.plan, mine.study = plan, Study(store, plan)
    assert mine.next_look == 16
    assert mine.running
    for _ in range(2):
        mine.look()
        while mine.reading:
            time.sleep(0.01)
        assert mine.found[plan.spec].trees == 8
    mine.study.progress.publish(state="sampling")
    assert "9 of 16 trunks" in mine.progress
    mine.close()
    assert mine.study.snapshot.state == "cancelled"
    assert not mine.running
    assert mine.found[plan.spec].trees == 8  # what is whole is kept


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(found: Results) -> dict[str, bytes]:
    other = found_by(plan_of(guidance=1.0), bands=False)
    return {"a.json.gz": found.to_record(), "b.json.gz": other.to_record()}


@pytest.fixture
def studies(tmp_path: File, monkeypatch: pytest.MonkeyPatch, records: dict[str, bytes]) -> None:
    """Two studies that came along, with guidance 3 and 1."""
    for name, record in records.items():
        (tmp_path / name).write_bytes(record)
    monkeypatch.setattr(shelf, "STUDIES", tmp_path)


def opened(**address: str) -> AppTest:
    return run(app("decisions", **address))


def shown(page: AppTest) -> dict[str, Any]:
    """What the component was sent."""
    (component,) = page.get("bidi_component")
    told: dict[str, Any] = json.loads(component.proto.json)
    return told


@pytest.mark.slow
def test_it_opens_with_the_nearest_study_under_its_own_words(studies: None) -> None:
    page = opened()
    assert [title.value for title in page.title] == ["When is it decided?"]
    assert [heading.value for heading in page.subheader] == ["“a monster”"]
    assert shown(page)["world"] == "In this world, with guidance 3, …"
    said = " ".join(element.value for element in page.markdown)
    assert "was not studied yet" in said
    assert "evaluations" in said
    assert [button.label for button in page.button if "Study" in button.label] == [
        "Study this prompt"
    ]
    names = [each.proto.label for each in page.get("download_button")]
    assert names == ["CSV", "JSON", "Picture"]


@pytest.mark.slow
def test_another_study_can_be_picked(studies: None) -> None:
    page = opened()
    (choice,) = [group for group in page.button_group if group.label == "Study"]
    assert [option.content for option in choice.proto.options] == [
        "guidance 1\\, 8 steps",
        "guidance 3\\, 8 steps",
    ]
    choice.set_value("b.json.gz")
    assert shown(run(page))["world"] == "In this world, with guidance 1, …"


def test_without_any_study_it_offers_one(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "STUDIES", tmp_path)
    page = opened()
    assert not page.get("bidi_component")
    assert [button.label for button in page.button if "Study" in button.label]


@pytest.mark.slow
def test_a_study_that_is_stored_is_shown_at_once(studies: None, store: TrajectoryStore) -> None:
    stored(store, plan_of(4, "a cat"), 4)
    page = opened(prompt="a cat", steps=str(STEPS))
    page.text_input(f"rows-{STEPS}").set_value(", ".join(map(str, ROWS)))
    page.number_input("columns").set_value(COLUMNS)
    page.button_group("trunks").set_value(4)
    page.run()
    next(each for each in page.button if each.label == "Study this prompt").click()
    run(page)
    for _ in range(100):
        if page.subheader[0].value == "“a cat”":
            break
        run(page)
    assert page.subheader[0].value == "“a cat”"
    assert "4 trunks, pooled" in shown(page)["panels"][0]["note"]
    assert "was not studied yet" not in " ".join(element.value for element in page.markdown)
    assert page.query_params["prompt"] == "a cat"


@pytest.mark.slow
def test_the_largest_study_that_an_earlier_visit_left_whole_is_taken_up(
    studies: None, store: TrajectoryStore
) -> None:
    spec = plan_of(4, "a cat").spec
    stored(store, Plan(spec, 16, study_rows(spec.loop), USUAL_COLUMNS), 9)
    page = opened(prompt="a cat", steps=str(STEPS))
    for _ in range(100):
        if page.subheader[0].value == "“a cat”":
            break
        run(page)
    assert "8 trunks, pooled" in shown(page)["panels"][0]["note"]
    assert any("Few trunks" in caption.value for caption in page.caption)


def test_rows_that_cannot_be_are_one_sentence(studies: None) -> None:
    page = opened(steps=str(STEPS))
    for rows, sentence in (("1, x", "give steps between commas"), ("7", "row 7 is not allowed")):
        page.text_input(f"rows-{STEPS}").set_value(rows)
        run(page)
        assert sentence in page.error[0].value
        assert shown(page)


def test_a_public_server_studies_few_trunks(studies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    page = opened()
    (choice,) = [group for group in page.button_group if group.label == "Trunks"]
    assert [option.content for option in choice.proto.options] == ["4", "8", "16"]
    mine = Studies(FakeEngine, "me")
    mine.start(plan_of(32))
    assert "use a whole number from 1 to 16" in str(mine.error)


def test_a_cache_that_cannot_be_named_is_one_sentence(
    studies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_CACHE", "~nobody-of-this-name/cache")
    page = opened()
    assert page.error
    assert shown(page)  # what came along needs no cache
