"""Loading: what is refused before and while a model is loaded, and what is left out."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput, ModelError
from diffgrid.models import memory
from diffgrid.models.registry import find_model, specify
from diffgrid.sampling import pipelines
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("models") / "tiny")


def _free(monkeypatch: pytest.MonkeyPatch, size: int | None) -> None:
    monkeypatch.setattr(pipelines, "free_memory", lambda: size)


def test_weights_that_do_not_fit_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _free(monkeypatch, 9_100_000_000)
    with pytest.raises(ModelError) as refused:
        pipelines.check_fits("flux", 12_600_000_000, 1_000_000_000, "float32", CPU)
    assert str(refused.value) == (
        "model 'flux' needs about 13.6 GB in float32 and 9.1 GB of memory are free: "
        "choose dtype float16 or bfloat16, or choose a smaller model."
    )
    with pytest.raises(ModelError, match="are free: choose a smaller model"):
        pipelines.check_fits("flux", 12_600_000_000, 1_000_000_000, "float16", CPU)


@pytest.mark.parametrize("free", [4_000_000_000, None])
def test_what_may_fit_is_let_through(free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, free)
    pipelines.check_fits("sd", 4_000_000_000, 9_000_000_000, "float32", CPU)


def test_the_engine_asks_before_it_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it was loaded")

    _free(monkeypatch, find_model(str(folder)).weights("float32") - 1)
    monkeypatch.setattr(pipelines, "load", fail)
    job = LocalEngine(TrajectoryStore.default(), "cpu").submit(
        specify(model=str(folder), steps=2), [()]
    )
    job.wait()
    assert "GB of memory are free" in str(job.snapshot().error)


def test_weights_are_counted_from_the_files_headers(folder: Path) -> None:
    pipe = pipelines.load(folder, "float32", CPU)
    parts = (pipe.unet, pipe.vae, pipe.text_encoder)
    count = sum(tensor.numel() for part in parts for tensor in part.state_dict().values())
    found = find_model(str(folder))
    assert found.numbers.total() == count
    assert found.weights("float16") * 2 == found.weights("float32") == count * 4


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _lose_five(file: Path) -> None:
    tensors = load_file(file)
    save_file({name: tensors[name].clone() for name in sorted(tensors)[5:]}, file)


def _reshape_one(file: Path) -> None:
    tensors = load_file(file)
    save_file(tensors | {min(tensors): torch.zeros(3, 5)}, file)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", [_cut, _empty, _lose_five, _reshape_one])
def test_damaged_weights_are_named_and_never_filled_up_at_random(
    folder: Path, tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (file,) = (copy / part).glob("*.safetensors")
    damage(file)
    with pytest.raises(
        ModelError, match="damaged .*: delete it, then fetch or copy it again"
    ) as told:
        pipelines.load(copy, "float32", CPU)
    assert str(file) in str(told.value)
    assert str(told.value).count("\n") == 0


@pytest.mark.parametrize("library", ["diffusers", "transformers", "kandinsky", "deprecated"])
def test_a_part_of_a_class_that_is_not_there_is_said(library: str, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "odd")
    index = json.loads((folder / "model_index.json").read_text())
    written = json.dumps({**index, "vae": [library, "NoSuchModel"]})
    (folder / "model_index.json").write_text(written)
    with pytest.raises(ModelError, match=r"cannot be loaded: .*NoSuchModel"):
        pipelines.load(folder, "float32", CPU)


def test_a_model_without_an_autoencoder_is_loaded(tmp_path: Path) -> None:
    pipe = pipelines.load(tiny.save(tmp_path / "pixels", family="ddpm"), "float32", CPU)
    assert not hasattr(pipe, "vae")


def test_a_flat_folder_is_loaded(tmp_path: Path) -> None:
    flat = tiny.save(tmp_path / "flat", family="ddpm")
    for part in ("unet", "scheduler"):
        for file in (flat / part).iterdir():
            file.rename(flat / file.name)
        (flat / part).rmdir()
    found = find_model(str(flat))
    assert found.side == 16
    assert "num_train_timesteps" in found.scheduler_config
    assert [file.name for file in found.files] == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "model_index.json",
    ]
    assert pipelines.load(flat, "float32", CPU).unet.config.sample_size == 16


def test_weights_of_a_variant_are_loaded_and_widened(tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny.stable_diffusion().to(torch.float16).save_pretrained(half, variant="fp16")
    found = find_model(str(half))
    assert found.variant == "fp16"
    assert set(found.numbers) <= {"F16", "I64"}
    pipe = pipelines.load(half, "float32", CPU, found.variant)
    assert pipe.unet.dtype == torch.float32


def test_sdxl_decodes_in_full_precision_where_float16_would_overflow(tmp_path: Path) -> None:
    pipe = pipelines.load(tiny.save(tmp_path / "xl", family="stable_diffusion_xl"), "float16", CPU)
    assert (pipe.unet.dtype, pipe.vae.dtype) == (torch.float16, torch.float32)


def test_a_safety_checker_is_neither_needed_nor_loaded(tmp_path: Path) -> None:
    made = tiny.save(tmp_path / "checked")
    index = (made / "model_index.json").read_text()
    for part, kind in (
        ("safety_checker", '["stable_diffusion", "StableDiffusionSafetyChecker"]'),
        ("feature_extractor", '["transformers", "CLIPImageProcessor"]'),
    ):
        before, _, after = index.partition(f'"{part}": [')
        index = f'{before}"{part}": {kind}{after[after.index("]") + 1 :]}'
    (made / "model_index.json").write_text(index)
    assert find_model(str(made)).parts == ("text_encoder", "tokenizer", "unet", "vae")
    assert pipelines.load(made, "float32", CPU).safety_checker is None


def test_the_environment_names_a_device_and_an_argument_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIFFGRID_DEVICE", "cpu")
    assert pipelines.find_device() == CPU
    monkeypatch.setenv("DIFFGRID_DEVICE", "abacus")
    assert pipelines.find_device("cpu") == CPU
    with pytest.raises(BadInput, match="device 'abacus' is not available here: use .*cpu"):
        pipelines.find_device()


@pytest.mark.parametrize("name", ["cuda:99", "cpu:x", "cpu:1"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="is not available here"):
        pipelines.find_device(name)


def _system(root: Path, **files: str) -> Path:
    for name, content in files.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


MEMINFO = "MemTotal:  9000 kB\nMemAvailable:  5000 kB\nHugePages_Free:  0\n"


def test_free_memory_is_what_the_system_says_is_available(tmp_path: Path) -> None:
    assert memory.free_memory(_system(tmp_path, proc__meminfo=MEMINFO)) == 5000 * 1024
    assert memory.free_memory(tmp_path / "elsewhere") is None


def test_a_containers_limit_counts_and_its_page_cache_does_not(tmp_path: Path) -> None:
    group = "sys__fs__cgroup__app__memory_dot_"
    files = {
        "proc__meminfo": MEMINFO,
        "proc__self__cgroup": "0::/app/inner\n",
        f"{group}max": "3000000",
        f"{group}current": "2000000",
        f"{group}stat": "anon 1500000\ninactive_file 500000\n",
        "sys__fs__cgroup__app__inner__memory_dot_max": "max",
        "sys__fs__cgroup__app__inner__memory_dot_current": "2000000",
    }
    assert memory.free_memory(_system(tmp_path, **files)) == 1_500_000


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    group = "sys__fs__cgroup__memory__memory_dot_"
    files = {
        "proc__meminfo": MEMINFO,
        "proc__self__cgroup": "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n",
        f"{group}limit_in_bytes": "2000000",
        f"{group}usage_in_bytes": "1900000",
        f"{group}stat": "total_inactive_file 100000\n",
    }
    assert memory.free_memory(_system(tmp_path, **files)) == 200_000


def test_parts_that_a_folder_has_as_null_are_left_out(tmp_path: Path) -> None:
    pipe = tiny.FAMILIES["stable_diffusion_3"].build()
    pipe.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipe.save_pretrained(tmp_path / "model")
    loaded = pipelines.load(find_model(str(tmp_path / "model")).folder, "float32", CPU)
    assert loaded.text_encoder_3 is None
    assert loaded.text_encoder_2 is not None


def test_what_is_built_while_another_thread_loads_a_model_is_whole(tmp_path: Path) -> None:
    folder, whole = tiny.save(tmp_path / "model"), tiny.stable_diffusion().text_encoder.state_dict()
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            pipelines.load(folder, "float32", torch.device("cpu"))

    loading = threading.Thread(target=load)
    loading.start()
    try:
        for _ in range(10):
            built = tiny.stable_diffusion().text_encoder.state_dict()
            assert all(torch.equal(built[name], whole[name]) for name in whole)
    finally:
        over.set()
        loading.join()
