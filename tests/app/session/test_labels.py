"""What a probe sees in the grid on view."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from diffgrid.app.render_state import render_state
from diffgrid.app.session.actions import act
from diffgrid.app.session.session import Session
from diffgrid.decisions.study import Finding, Study
from diffgrid.errors import Busy, DiffgridError
from diffgrid.models.registry import find_model
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec, key
from tests.app.driver import header
from tests.fakes import FakeEngine


@pytest.fixture
def done(opened: Session, engine: FakeEngine) -> Session:
    """The first grid is done, and the first paint is over."""
    opened.labels.may_begin = True
    engine.jobs[0].finish()
    return opened


class NoModels:
    """All is there, or else it fails."""

    def pipeline(self, spec: RunSpec) -> Any:
        raise DiffgridError("out of memory")

    def classifier(self, spec: RunSpec) -> Any:
        raise DiffgridError("out of memory")


def looked(engine: FakeEngine, number: int = 0) -> Study:
    """The study that was begun, or the one after."""
    study = engine.works[number]
    assert isinstance(study, Study)
    return study


def finish(engine: FakeEngine) -> None:
    """Have the first study find a colour that alternates, and a hat."""
    study = looked(engine)
    probe = find_model(study.plan.spec.model).probe
    for path in study.plan.paths:
        labels = {"body": f"colour {path[-1].branch % 2 if path else 0}", "head": "a hat"}
        found = Finding(labels, labels, b"", levels=None if path else ((999.0, 0.01),))
        engine.store.add_labels(key(study.plan.spec, path), probe, *found.to_payload())
    study.run(NoModels(), lambda: False)
    assert study.snapshot.state == "done"


def seen(session: Session) -> list[Mapping[str, Any]]:
    return [each for row in header(render_state(session))["rows"] for each in row["seen"]]


def test_labels_are_waited_for_and_then_no_longer(done: Session, engine: FakeEngine) -> None:
    assert not seen(done)
    assert header(render_state(done))["labelling"]  # the browser asks again; the page does not
    assert not done.running
    assert done.grid is not None
    assert looked(engine).plan.paths == done.grid.paths
    finish(engine)
    told = header(render_state(done))
    assert not told["labelling"]
    assert len(engine.works) == 1
    body, head = told["rows"][0]["seen"]
    assert body == {
        "factor": "body",
        "fixed": False,
        "values": [["colour 0", 3, None], ["colour 1", 2, None]],
    }
    assert (head["factor"], head["fixed"]) == ("head", True)
    [(label, count, sign)] = head["values"]
    assert (label, count) == ("a hat", 5)
    assert sign  # how the model in the box has it drawn


def test_nothing_is_looked_at_while_a_job_runs(opened: Session, engine: FakeEngine) -> None:
    opened.labels.may_begin = True
    assert opened.seen() == {}
    assert not engine.works


def test_nothing_is_looked_at_before_the_first_paint_is_over(
    opened: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[threading.Timer] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: painted.append(timer))
    opened.warm()
    opened.warm()
    engine.jobs[0].finish()
    assert opened.seen() is None
    assert not engine.works
    assert not engine.warmed
    (timer,) = painted
    timer.function()
    assert opened.seen() is None
    assert len(engine.works) == len(engine.warmed) == 1


def test_another_view_forgets_the_labels(done: Session, engine: FakeEngine) -> None:
    assert done.seen() is None
    finish(engine)
    assert seen(done)
    act(done, {"do": "follow", "path": "5.2"})
    assert not seen(done)
    engine.jobs[1].finish()
    assert done.seen() is None
    assert looked(engine, 1).plan.paths[0] == parse_path("5.2")


def test_another_view_ends_the_study(done: Session, engine: FakeEngine) -> None:
    assert done.seen() is None
    act(done, {"do": "follow", "path": "5.2"})
    assert looked(engine).snapshot.state == "cancelled"


def test_a_busy_server_labels_the_grid_later(
    done: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise Busy("the server is busy with other work: try again later.")

    with monkeypatch.context() as crowded:
        crowded.setattr(engine, "background", busy)
        assert header(render_state(done))["labelling"]  # so that the browser asks again
    assert done.seen() is None
    finish(engine)
    assert seen(done)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_probe_that_fails_shows_nothing(state: str, done: Session, engine: FakeEngine) -> None:
    assert done.seen() is None
    if state == "failed":
        looked(engine).run(NoModels(), lambda: False)
    else:
        looked(engine).cancel()
    assert looked(engine).snapshot.state == state
    assert not header(render_state(done))["labelling"]
    assert not seen(done)
    assert done.error is None
