"""Which models are loaded, how often, and what is said where one cannot be."""

import shutil
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

import pytest

from diffgrid.engine.local import LocalEngine
from diffgrid.engine.model_holder import ModelHolder
from diffgrid.errors import BadInput, ModelError
from diffgrid.spec.run import RunSpec
from diffgrid.store.forgiving import TrajectoryStore
from tests.engine.running import STEPS, finish, grid, make, specification


@pytest.fixture
def models() -> ModelHolder:
    """Nothing is loaded yet."""
    return ModelHolder("cpu")


def test_other_weights_are_not_passed_off_as_the_runs_own(
    engine: LocalEngine, spec: RunSpec
) -> None:
    job = engine.submit(replace(spec, digest="0" * 64), [()])
    assert finish(job).state == "failed"
    with pytest.raises(ModelError, match="has other weights than this run was made with"):
        job.result(())


@pytest.mark.parametrize("name", ["", "gpu", "cpu:x", "cuda:", "cpu\n"])
def test_a_device_nobody_knows_is_refused_before_anything_is_loaded(
    store: TrajectoryStore, name: str
) -> None:
    with pytest.raises(BadInput, match="device .* is not known: use cpu, cuda or mps"):
        LocalEngine(store, name)


def test_a_model_whose_file_is_damaged_is_one_sentence_and_the_worker_lives_on(
    engine: LocalEngine, spec: RunSpec, folder: Folder, tmp_path: Folder
) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"junk")
    job = engine.submit(specification(broken), [()])
    failed = finish(job)
    assert failed.state == "failed"
    assert isinstance(failed.error, ModelError)
    assert "damaged" in str(failed.error)
    assert "\n" not in str(failed.error)
    assert make(engine, spec, ((),)).sampled == STEPS


def test_a_warm_engine_loads_once_and_survives_a_model_that_cannot_be_loaded(
    engine: LocalEngine, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffgrid.sampling import pipelines

    loads = []
    load = pipelines.load

    def counting(*args: Any) -> Any:
        loads.append(args)
        return load(*args)

    monkeypatch.setattr(pipelines, "load", counting)
    engine.warm(replace(spec, digest="0" * 64))
    engine.warm(spec)
    assert make(engine, spec, ((),)).sampled == STEPS
    engine.warm(spec)
    assert make(engine, spec, grid(spec)).state == "done"
    assert len(loads) == 1
