"""Names become specifications: models by their weights' digest, schedulers by class."""

import json
import os
import shutil
from pathlib import Path

import pytest

from diffgrid import catalogue
from diffgrid.catalogue import SCHEDULERS, find_model, find_scheduler, scheduler_name, specify
from diffgrid.errors import BadInput
from diffgrid.spec import key

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a diffusers folder as the catalogue reads."""
    made = tmp_path / "model"
    _write(made / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    _write(made / "unet" / "config.json", {"sample_size": 8})
    _write(made / "vae" / "config.json", {"block_out_channels": [8, 8, 8]})
    _write(made / "scheduler" / "scheduler_config.json", {"_class_name": "DDIMScheduler"})
    (made / WEIGHTS).write_bytes(bytes(range(256)))
    return made


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_the_digest_is_the_same_for_a_copy_in_a_folder_of_another_name(folder: Path) -> None:
    copy = shutil.copytree(folder, folder.parent / "another name")
    assert find_model(str(copy)).digest == find_model(str(folder)).digest


def test_the_digest_changes_with_any_byte_of_the_weights(folder: Path) -> None:
    before = find_model(str(folder)).digest
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[100] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    os.utime(folder / WEIGHTS, (1, 1))  # a clock may be too coarse to tell the two writes apart
    assert find_model(str(folder)).digest != before


def test_the_digest_changes_when_a_file_is_renamed(folder: Path) -> None:
    before = find_model(str(folder)).digest
    (folder / WEIGHTS).rename(folder / "unet" / "model.safetensors")
    assert find_model(str(folder)).digest != before


@pytest.mark.parametrize(
    "file", ["scheduler/scheduler_config.json", "diffgrid.json", "README.md", "probe/config.json"]
)
def test_the_digest_leaves_out_what_does_not_decide_the_numbers(folder: Path, file: str) -> None:
    before = find_model(str(folder)).digest
    _write(folder / file, {"_class_name": "EulerDiscreteScheduler"})
    assert find_model(str(folder)).digest == before


def test_large_weights_are_hashed_once_and_noted_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
    with (folder / WEIGHTS).open("r+b") as stream:
        stream.truncate(2**26)  # sparse: takes no room
    digest = find_model(str(folder)).digest
    (note,) = (tmp_path / "notes").rglob("*/*")
    catalogue._file_digest.cache_clear()
    note.write_text("0" * 64)  # believed: it is only ours to write
    assert find_model(str(folder)).digest != digest
    catalogue._file_digest.cache_clear()
    note.write_text("0" * 10)  # its writer was interrupted
    assert find_model(str(folder)).digest == digest


def test_the_bundled_model_is_found_by_name() -> None:
    model = find_model("monsters")
    assert model.name == "monsters"
    assert model.side == 128
    assert len(model.digest) == 64
    assert 0 < model.size <= 40e6


@pytest.mark.parametrize(
    "name", ["", "dragons", "/nowhere", "~nobody-here/model", "a" * 5000, "\0"]
)
def test_a_model_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="model .* is not known: use monsters, or the path of a"):
        find_model(name)


def test_a_folder_that_is_no_diffusers_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"one that holds model_index\.json"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "\udc80"])
def test_a_broken_index_is_refused(folder: Path, content: str) -> None:
    (folder / "model_index.json").write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(BadInput, match="model_index.json .* give a whole diffusers folder"):
        find_model(str(folder))


@pytest.mark.parametrize("family", ["FluxPipeline", None, ["StableDiffusionPipeline"]])
def test_a_pipeline_of_another_family_is_refused(folder: Path, family: object) -> None:
    _write(folder / "model_index.json", {"_class_name": family})
    with pytest.raises(BadInput, match="not supported: use a StableDiffusionPipeline"):
        find_model(str(folder))


def test_a_model_that_does_not_say_its_size_needs_one(folder: Path) -> None:
    _write(folder / "unet" / "config.json", {"sample_size": None})
    with pytest.raises(BadInput, match="give height and width"):
        specify(model=str(folder))
    assert specify(model=str(folder), height=32, width=64).width == 64


def test_defaults_are_the_models_own(folder: Path) -> None:
    settings = {"prompt": "a cat", "steps": 9, "guidance": 2.5, "eta": 0.5}
    _write(folder / "diffgrid.json", settings)
    spec = specify(model=str(folder))
    assert (spec.prompt, spec.num_inference_steps) == ("a cat", 9)
    assert (spec.guidance_scale, spec.eta) == (2.5, 0.5)
    assert (spec.height, spec.width, spec.dtype) == (32, 32, "float32")
    assert (spec.scheduler, spec.negative_prompt) == ("DDIMScheduler", "")


def test_a_model_without_settings_gets_the_librarys(folder: Path) -> None:
    spec = specify(model=str(folder))
    assert (spec.prompt, spec.num_inference_steps) == ("", 25)
    assert (spec.guidance_scale, spec.eta) == (7.5, 0.0)


def test_what_is_given_goes_before_the_models_own_even_when_empty_or_zero() -> None:
    spec = specify(prompt="", guidance=0, eta=0, steps=1)
    assert (spec.prompt, spec.guidance_scale, spec.eta, spec.num_inference_steps) == ("", 0, 0, 1)


def test_no_scheduler_means_the_folders_configuration_as_it_is(folder: Path) -> None:
    own = {"_class_name": "DDIMScheduler", "_diffusers_version": "0", "beta_end": 0.02}
    _write(folder / "scheduler" / "scheduler_config.json", own)
    spec = specify(model=str(folder))
    assert json.loads(spec.scheduler_config) == {"beta_end": 0.02}


def test_naming_a_scheduler_keeps_the_configuration_and_adds_its_form() -> None:
    own = json.loads(specify().scheduler_config)
    spec = specify(scheduler="dpmsolver_sde")
    assert spec.scheduler == "DPMSolverMultistepScheduler"
    assert json.loads(spec.scheduler_config) == own | {"algorithm_type": "sde-dpmsolver++"}
    assert spec.eta is None


def test_a_class_name_and_its_short_name_are_one_run() -> None:
    assert find_scheduler("DDIMScheduler") == find_scheduler("ddim")
    short, long = specify(scheduler="euler"), specify(scheduler="EulerDiscreteScheduler")
    assert key(short, ()) == key(long, ())


@pytest.mark.parametrize("name", [scheduler.name for scheduler in SCHEDULERS])
def test_captions_call_a_scheduler_by_its_short_name(name: str) -> None:
    assert scheduler_name(specify(scheduler=name)) == name


@pytest.mark.parametrize("name", ["", "pndm", "DDIM", "ddim\n", "__class__"])
def test_an_unknown_scheduler_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="scheduler .* is not known: use one of ddpm, ddim, euler"):
        specify(scheduler=name)


def test_eta_is_refused_where_the_scheduler_takes_none() -> None:
    with pytest.raises(BadInput, match=r"eta 1\.0 is not allowed with euler: .* choose ddim"):
        specify(scheduler="euler", eta=1.0)


def test_more_steps_than_lcm_was_distilled_for_are_refused() -> None:
    assert specify(scheduler="lcm", steps=50).length == 50
    with pytest.raises(BadInput, match="steps 51 is not allowed with lcm: use 1 to 50"):
        specify(scheduler="lcm", steps=51)


def test_every_scheduler_is_a_class_of_diffusers_that_takes_its_settings() -> None:
    import diffusers

    for scheduler in SCHEDULERS:
        spec = specify(scheduler=scheduler.name, steps=4)
        made = getattr(diffusers, spec.scheduler).from_config(json.loads(spec.scheduler_config))
        assert scheduler.adds.items() <= dict(made.config).items()
        if scheduler.most_steps:
            setting, most = scheduler.most_steps
            assert made.config[setting] == most
            with pytest.raises(ValueError):
                made.set_timesteps(most + 1)
        made.set_timesteps(4)
        assert len(made.timesteps) == 4
