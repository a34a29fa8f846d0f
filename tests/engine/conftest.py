"""An engine on a cache of its own, in memory, a small model, and a hold on the worker."""

from collections.abc import Callable, Iterator
from pathlib import Path as Folder
from typing import Any

import pytest

from diffgrid.engine.job import Computation
from diffgrid.engine.local import LocalEngine
from diffgrid.engine.model_holder import ModelHolder
from diffgrid.engine.protocol import Models
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny
from tests.engine.running import SECONDS, Gate, OnWave, conducted, specification
from tests.store.made import store_in_memory


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def spec(folder: Folder) -> RunSpec:
    return specification(folder)


@pytest.fixture
def store() -> TrajectoryStore:
    return store_in_memory()


@pytest.fixture(scope="session")
def models() -> ModelHolder:
    """Each test has an engine of its own; to read the model took half of what a job took."""
    return ModelHolder("cpu")


@pytest.fixture
def engine(
    store: TrajectoryStore, models: ModelHolder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalEngine]:
    engine = LocalEngine(store, "cpu")
    monkeypatch.setattr(engine, "_models", models)
    yield engine
    with engine._change:
        under_way = [*engine._queue._askers]
    for computation in under_way:  # or it would go on in the next test
        computation.progress.stop()
        assert computation.progress.wait(SECONDS)


@pytest.fixture
def conduct(monkeypatch: pytest.MonkeyPatch) -> Callable[[OnWave], None]:
    """Have a function called with each wave's number and the computation about to get it."""
    from diffgrid.sampling import sampler

    sample, run = sampler.sample, Computation.run
    running: list[Computation] = []

    def noted(job: Computation, models: Models, interrupted: Callable[[], bool]) -> None:
        running.append(job)
        run(job, models, interrupted)

    monkeypatch.setattr(Computation, "run", noted)
    return lambda on_wave: monkeypatch.setattr(
        sampler, "sample", conducted(sample, lambda number: on_wave(number, running[-1]))
    )


@pytest.fixture
def gate(conduct: Callable[[OnWave], None]) -> Iterator[Gate]:
    gate = Gate()
    conduct(gate)
    yield gate
    gate.opened.set()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many latents were decoded, call by call."""
    from diffgrid.sampling import decoding

    counts: list[int] = []
    decode = decoding.Decoder.final

    def counting(decoder: decoding.Decoder, latents: Any) -> Any:
        counts.append(len(latents))
        return decode(decoder, latents)

    monkeypatch.setattr(decoding.Decoder, "final", counting)
    return counts
