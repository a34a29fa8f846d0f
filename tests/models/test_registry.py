"""Names become specifications: models by their weights' digest, schedulers by class."""

import json
import os
import shutil
from pathlib import Path

import pytest

from diffgrid.errors import BadInput
from diffgrid.models import weights
from diffgrid.models.folder import Model, has_cuda
from diffgrid.models.listing import entries
from diffgrid.models.registry import find_model, models, scheduler_name, specify, trouble
from diffgrid.sharing.address import from_query
from diffgrid.spec.run import key
from diffgrid.spec.schedulers import SCHEDULERS, find_scheduler, loop

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": True,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "image_encoder": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a diffusers folder as the catalogue reads."""
    made = tmp_path / "model"
    _write(made / "model_index.json", INDEX)
    _write(made / "unet" / "config.json", {"sample_size": 8})
    _write(made / "vae" / "config.json", {"block_out_channels": [8, 8, 8]})
    _write(made / "scheduler" / "scheduler_config.json", {"_class_name": "DDIMScheduler"})
    (made / WEIGHTS).write_bytes(bytes(range(256)))
    (made / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
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
    "file",
    [
        "scheduler/scheduler_config.json",
        "diffgrid.json",
        "README.md",
        "probe/config.json",
        "probe/signs.json",
    ],
)
def test_the_digest_leaves_out_what_does_not_decide_the_numbers(folder: Path, file: str) -> None:
    before = find_model(str(folder)).digest
    _write(folder / file, {"_class_name": "EulerDiscreteScheduler"})
    assert find_model(str(folder)).digest == before


def test_every_value_that_the_bundled_probe_tells_has_a_sign() -> None:
    model = find_model("monsters")
    told = {factor: list(signs) for factor, signs in model.signs.items()}
    assert told == model.factors
    drawn = [sign for signs in model.signs.values() for sign in signs.values()]
    assert all(sign.keys() <= {"swatch", "lines", "fills"} and sign for sign in drawn)


def test_signs_are_no_part_of_what_labels_are_kept_under(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    shutil.copytree(find_model("monsters").folder / "probe", probe)
    before = Model("mine", tmp_path).probe
    assert before == find_model("monsters").probe
    (probe / "signs.json").unlink()
    assert Model("mine", tmp_path).probe == before
    assert Model("mine", tmp_path).signs == {}


def test_a_model_without_a_probe_shows_the_colours_it_is_labelled_by(folder: Path) -> None:
    signs = find_model(str(folder)).signs
    assert signs["colour"]["red"] == signs["middle"]["red"] == {"swatch": [200, 60, 50]}


def test_weights_that_were_replaced_are_seen_though_size_and_date_are_the_same(
    folder: Path,
) -> None:
    weights, before = folder / WEIGHTS, find_model(str(folder)).digest
    status = weights.stat()
    other = folder / "other"
    other.write_bytes(weights.read_bytes()[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(weights)
    assert find_model(str(folder)).digest != before


def test_large_weights_are_hashed_once_and_noted_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
    with (folder / WEIGHTS).open("r+b") as stream:
        stream.truncate(2**26)  # sparse: takes no room
    digest = find_model(str(folder)).digest
    (note,) = (tmp_path / "notes").rglob("*/*")
    weights.file_digest.cache_clear()
    note.write_text("0" * 64)  # believed: it is only ours to write
    assert find_model(str(folder)).digest != digest
    weights.file_digest.cache_clear()
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


OWN_CODE = ["my_pipeline", "MyPipeline"]  # as an index names a file of Python beside it


@pytest.mark.parametrize("family", ["KandinskyPipeline", None, OWN_CODE])
def test_a_pipeline_of_another_family_is_refused(folder: Path, family: object) -> None:
    _write(folder / "model_index.json", INDEX | {"_class_name": family})
    with pytest.raises(BadInput, match="not supported: use one of .*Pipeline"):
        find_model(str(folder))


def test_a_part_with_code_of_its_own_is_refused(folder: Path) -> None:
    _write(folder / "model_index.json", INDEX | {"unet": ["my_unet", "MyUNet"]})
    with pytest.raises(BadInput, match="brings code of its own for its unet, which is never run"):
        find_model(str(folder))


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(BadInput, match="has its unet as a pickle, .*: save it as safetensors"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("lost", "said"), [(WEIGHTS, "lacks weights of its unet"), ("vae", "lacks its vae")]
)
def test_a_folder_that_is_not_whole_is_refused(folder: Path, lost: str, said: str) -> None:
    (folder / lost).rename(folder.parent / "lost")
    with pytest.raises(BadInput, match=f"{said}: give a whole folder"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model_index.json", INDEX | {"": ["diffusers", "UNet2DConditionModel"]}),
        ("model_index.json", INDEX | {"../vae": ["diffusers", "AutoencoderKL"]}),
        ("model_index.json", INDEX | {"a" * 10_000: ["diffusers", "AutoencoderKL"]}),
        ("model_index.json", INDEX | {"unet": ["diffusers"]}),
        ("model_index.json", INDEX | {"unet": [[], {}]}),
        ("model_index.json", INDEX | {"_class_name": {}}),
        ("scheduler/scheduler_config.json", {"_class_name": ["DDIMScheduler"]}),
        ("scheduler/scheduler_config.json", []),
        ("diffgrid.json", {"prompt": None}),
        ("diffgrid.json", {"steps": "9"}),
        ("diffgrid.json", {"sentence": {"noun": "cat"}}),
        ("probe/config.json", {"factors": {"colour": [1]}}),
        ("probe/signs.json", {"colour": {"red": {"swatch": 7}}}),
        ("probe/signs.json", {"colour": {"red": {"swatch": [1, 2, "3); color: blue"]}}}),
        ("probe/signs.json", {"colour": {"red": {"lines": ["M0 0"]}}}),
        ("unet/config.json", [8]),
        ("unet/diffusion_pytorch_model.safetensors.index.json", {"weight_map": ["a"]}),
        ("unet/diffusion_pytorch_model.safetensors.index.json", {"weight_map": {"a": []}}),
        ("unet/diffusion_pytorch_model.safetensors.index.json", {"weight_map": {"a": "../b"}}),
    ],
)
def test_what_is_wrongly_typed_in_a_folder_is_its_trouble(
    own: Path, file: str, content: object
) -> None:
    (own / "b").write_text("weights that are none of the model's")
    _write(own / "model" / "probe/config.json", {"factors": {"colour": ["red"]}})
    (own / "model" / "probe/model.safetensors").touch()
    _write(own / "model" / file, content)
    (told,) = (entry.trouble for entry in entries() if entry.name == "model")
    assert str(told).startswith("model")


def test_a_scheduler_of_no_class_is_refused_where_none_is_named(folder: Path) -> None:
    _write(folder / "scheduler/scheduler_config.json", {"num_train_timesteps": 1000})
    with pytest.raises(BadInput, match="scheduler '' is not known: use one of"):
        specify(model=str(folder))
    assert specify(model=str(folder), scheduler="ddim").scheduler == "DDIMScheduler"


def test_a_sentence_is_made_of_the_probes_factors(folder: Path) -> None:
    _write(folder / "probe" / "config.json", {"factors": {"colour": ["red"]}})
    sentence = {"adjectives": ["colour"], "noun": "cat", "parts": [], "place": "ground"}
    _write(folder / "diffgrid.json", {"sentence": sentence})
    with pytest.raises(BadInput, match="sentence of other factors than colour: use those"):
        find_model(str(folder))


@pytest.mark.parametrize("order", ["two", [2], 0, -1, 10**9])
def test_a_schedulers_order_that_makes_no_loop_is_refused(folder: Path, order: object) -> None:
    config = {"_class_name": "DPMSolverSinglestepScheduler", "solver_order": order}
    _write(folder / "scheduler" / "scheduler_config.json", config)
    with pytest.raises(BadInput, match="solver_order .* is not allowed: use a whole number"):
        _ = specify(model=str(folder)).length


@pytest.mark.parametrize("vocab", [["a", "cat"], {"cat": "1"}, None])
def test_a_tokenizer_of_another_kind_leaves_all_words_open(folder: Path, vocab: object) -> None:
    _write(folder / "tokenizer/tokenizer.json", {"model": {"type": "WordLevel", "vocab": vocab}})
    assert find_model(str(folder)).words is None


@pytest.fixture
def own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that DIFFGRID_MODELS names, with `model` in it and `shelf/second`."""
    shutil.copytree(folder, folder.parent / "shelf" / "second")
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    return folder.parent


def test_models_of_ones_own_go_by_their_folders_names(own: Path) -> None:
    assert [model.name for model in models()][:3] == ["monsters", "model", "shelf/second"]
    found = find_model("shelf/second")
    assert (found.folder, found.place) == (own / "shelf" / "second", "in DIFFGRID_MODELS")
    assert specify(model="model").digest == specify(model=str(own / "model")).digest


def test_an_address_takes_their_names_and_no_paths(own: Path) -> None:
    assert from_query({"model": "shelf/second"}).model == "shelf/second"
    for path in (str(own / "model"), "../model", "."):
        with pytest.raises(BadInput, match="is not known here: use monsters, model, shelf/second"):
            from_query({"model": path})


def test_a_folder_cannot_take_the_bundled_models_name(own: Path) -> None:
    bundled = find_model("monsters").digest
    (own / "model").rename(own / "monsters")
    assert find_model("monsters").digest == bundled
    assert [model.name for model in models()].count("monsters") == 1
    box, other = (entry.trouble for entry in entries() if entry.name == "monsters")
    assert box is None
    assert "has the bundled model's name: rename" in str(other)


def test_a_broken_model_is_listed_with_its_trouble_and_not_offered(own: Path) -> None:
    (own / "model" / WEIGHTS).unlink()
    (own / "shelf" / "second" / "model_index.json").write_text("{")
    assert {"model", "shelf/second"}.isdisjoint(model.name for model in models())
    told = {entry.name: entry.trouble for entry in entries()}
    assert "lacks weights of its unet" in str(told["model"])
    assert "cannot be read" in str(told["shelf/second"])


@pytest.mark.parametrize("named", ["", "/nowhere", "~nobody-of-that-name/models"])
def test_no_folder_of_ones_own_is_no_trouble(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_MODELS", named)
    assert trouble(find_model("monsters")) is None
    assert models()[0].name == "monsters"


@pytest.fixture
def large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of half-precision weights that counts as large, on a machine with a GPU."""
    monkeypatch.setattr("diffgrid.models.folder.has_cuda", lambda: True)
    monkeypatch.setattr("diffgrid.models.folder.LARGE", 100)
    _write_header(folder / WEIGHTS, "F16")
    return folder


def _write_header(file: Path, kind: str) -> None:
    header = json.dumps({"a": {"dtype": kind, "shape": [3, 5], "data_offsets": [0, 30]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(30))


def test_large_models_run_in_half_the_precision_where_a_gpu_is(large: Path) -> None:
    assert specify(model=str(large)).dtype == "float16"
    assert find_model(str(large)).weights("float16") == 30
    _write_header(large / WEIGHTS, "BF16")
    assert specify(model=str(large)).dtype == "bfloat16"
    assert specify(model=str(large), dtype="float32").dtype == "float32"
    assert specify().dtype == "float32"  # which its shipped grid was made in


def test_the_environment_chooses_a_dtype_for_all_but_the_bundled_model(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_DTYPE", "bfloat16")
    assert specify(model=str(large)).dtype == "bfloat16"
    assert specify().dtype == "float32"
    monkeypatch.setenv("DIFFGRID_DTYPE", "float8")
    with pytest.raises(BadInput, match="dtype 'float8' is not allowed"):
        specify(model=str(large))


def test_a_gpu_does_not_count_where_runs_are_sent_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    assert has_cuda()
    monkeypatch.setenv("DIFFGRID_DEVICE", "cuda:1")
    assert has_cuda()
    monkeypatch.setenv("DIFFGRID_DEVICE", "cpu")
    assert not has_cuda()


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
    own = {"beta_end": 0.02, "clip_sample": False, "steps_offset": 1}
    file = folder / "scheduler" / "scheduler_config.json"
    _write(file, {"_class_name": "DDIMScheduler", "_diffusers_version": "0", **own})
    spec = specify(model=str(folder))
    assert json.loads(spec.scheduler_config) == own


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


NAMES = [scheduler.name for scheduler in SCHEDULERS if not scheduler.flow]


@pytest.mark.parametrize("name", NAMES)
def test_captions_call_a_scheduler_by_its_short_name(name: str) -> None:
    assert scheduler_name(specify(scheduler=name)) == name


@pytest.mark.parametrize("name", ["", "plms", "DDIM", "ddim\n", "__class__"])
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

    for scheduler in map(find_scheduler, NAMES):
        spec = specify(scheduler=scheduler.name, steps=4)
        made = getattr(diffusers, spec.scheduler).from_config(json.loads(spec.scheduler_config))
        assert scheduler.adds.items() <= dict(made.config).items()
        if scheduler.most_steps:
            setting, most = scheduler.most_steps
            assert made.config[setting] == most
            with pytest.raises(ValueError):
                made.set_timesteps(most + 1)
        made.set_timesteps(4)
        length = loop(spec.scheduler, spec.scheduler_config, 4).length
        assert len(made.timesteps) == length
