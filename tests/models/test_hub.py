"""Fetching: only what is on the list, by its pinned revision, and never a pickle."""

import json
import re
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from diffgrid.errors import BadInput, ModelError
from diffgrid.models import hub
from diffgrid.models.families import FAMILIES
from diffgrid.models.hub_list import HUB_MODELS, HubModel, cache, find_hub_model
from diffgrid.models.listing import TO_FETCH, entries
from diffgrid.models.registry import find_model, models, specify
from tests import tiny

THREE_ENCODERS = next(model for model in HUB_MODELS if model.pipeline == "StableDiffusion3Pipeline")
TURBO = next(model for model in HUB_MODELS if model.id == "stabilityai/sd-turbo")


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the hub's library was asked for; it makes a tiny model of it."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(repo_id: str, **how: Any) -> str:
        asked.append({"repo_id": repo_id, **how})
        wanted = find_hub_model(repo_id)
        assert wanted is not None
        return str(_tiny(wanted))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def _tiny(wanted: HubModel) -> Path:
    tiny.stable_diffusion().save_pretrained(wanted.folder, variant=wanted.variant)
    return wanted.folder


def _fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def snapshot_download(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_every_model_is_pinned_and_of_a_known_family() -> None:
    assert len({model.id for model in HUB_MODELS}) == len(HUB_MODELS)
    for model in HUB_MODELS:
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.id)
        assert model.pipeline in FAMILIES
        assert model.variant in (None, "fp16")


def test_a_model_is_asked_for_by_its_pinned_revision(
    calls: list[dict[str, Any]], hub_cache: Path
) -> None:
    folder = hub.fetch(TURBO)
    (asked,) = calls
    assert (asked["repo_id"], asked["revision"]) == (TURBO.id, TURBO.revision)
    assert asked["cache_dir"] == hub_cache
    assert folder == TURBO.folder


REPOSITORY = {  # a file -> whether it is fetched for (fp16, None)
    "model_index.json": (True, True),
    "transformer/config.json": (True, True),
    "tokenizer_2/merges.txt": (True, True),
    "tokenizer_3/spiece.model": (True, True),
    "transformer/diffusion_pytorch_model.safetensors": (False, True),
    "transformer/diffusion_pytorch_model.fp16.safetensors": (True, False),
    "text_encoder_3/model.fp16-00001-of-00002.safetensors": (True, False),
    "text_encoder_3/model-00001-of-00002.safetensors": (False, True),
    "diffusion_pytorch_model.safetensors": (True, True),  # of a flat repository
    "transformer/diffusion_pytorch_model.non_ema.safetensors": (False, False),
    "transformer/diffusion_pytorch_model.bin": (False, False),
    "transformer/flax_model.msgpack": (False, False),
    "transformer/my_unet.py": (False, False),
    "pipeline.py": (False, False),
    "safety_checker/model.safetensors": (False, False),
    "v1-5-pruned-emaonly.safetensors": (False, False),
    "vae_1_0/diffusion_pytorch_model.safetensors": (False, False),
    "README.md": (False, False),
}


@pytest.mark.parametrize(("column", "variant"), [(0, "fp16"), (1, None)])
def test_only_tensors_configurations_and_vocabularies_are_fetched(
    column: int, variant: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(_: str, **how: Any) -> str:
        asked.update(how)
        return ""

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    hub.fetch(replace(THREE_ENCODERS, variant=variant))
    for file, fetched in REPOSITORY.items():
        allowed = any(fnmatch(file, pattern) for pattern in asked["allow_patterns"])
        ignored = any(fnmatch(file, pattern) for pattern in asked["ignore_patterns"])
        assert (allowed and not ignored) is fetched[column], file


def test_what_is_fetched_can_be_named_and_used(calls: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput, match=f"models --fetch {TURBO.id} brings 2.6 GB"):
        find_model(TURBO.id)
    hub.fetch(TURBO)
    found = find_model(TURBO.id)
    assert (found.place, found.variant) == ("on this machine", "fp16")
    assert TURBO.id in [model.name for model in models()]
    spec = specify(model=TURBO.id)
    assert (spec.num_inference_steps, spec.guidance_scale) == (4, 0.0)
    assert spec.prompt == TURBO.prompt


def test_a_fetch_that_was_interrupted_is_told_from_a_whole_one(hub_cache: Path) -> None:
    folder = _tiny(TURBO)
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    assert TURBO.id not in [model.name for model in models()]
    with pytest.raises(BadInput, match="lacks weights of its vae: fetch it again"):
        find_model(TURBO.id)
    (entry,) = (each for each in entries() if each.name == TURBO.id)
    assert entry.trouble is not None


def test_other_weights_beside_the_pinned_ones_do_not_count(hub_cache: Path) -> None:
    before = _tiny(TURBO)
    digest = find_model(TURBO.id).digest
    tiny.stable_diffusion().save_pretrained(before)  # the plain ones, for another program
    (before / "v1-5-pruned.safetensors").write_bytes(b"everything in one file")
    assert find_model(TURBO.id).digest == digest


def test_a_folder_of_ones_own_goes_before_the_hubs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tiny(TURBO)
    tiny.save(tmp_path / "own" / TURBO.id)
    monkeypatch.setenv("DIFFGRID_MODELS", str(tmp_path / "own"))
    assert find_model(TURBO.id).place == "in DIFFGRID_MODELS"
    assert [model.name for model in models()] == ["monsters", TURBO.id]


def test_a_public_server_knows_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    _tiny(TURBO)
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    assert [entry.name for entry in entries()] == ["monsters"]
    with pytest.raises(BadInput, match="is not known: use monsters"):
        find_model(TURBO.id)


def test_what_is_not_here_is_offered(hub_cache: Path) -> None:
    offered = [entry.name for entry in entries() if entry.place == TO_FETCH]
    assert offered == [model.id for model in HUB_MODELS]


def test_no_network_is_one_sentence_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails(monkeypatch, ConnectionError("Got: nobody answers.\nTraceback"))
    with pytest.raises(ModelError) as failed:
        hub.fetch(TURBO)
    assert str(failed.value) == (
        "model 'stabilityai/sd-turbo' cannot be fetched (nobody answers): try again, or bring its "
        "folder from elsewhere into one that DIFFGRID_MODELS names."
    )


def test_a_disk_that_is_too_small_is_said_before(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(ModelError, match=r"takes 2\.6 GB and 1\.0 GB are free in .*: make room"):
        hub.fetch(TURBO)
    assert not calls


def test_the_cache_is_where_the_hubs_library_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "/a/hub")
    assert cache() == Path("/a/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "~nobody-of-that-name/hub")
    assert cache() == Path("~nobody-of-that-name/hub")
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", "/b")
    assert cache() == Path("/b/hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache() == Path("/c/huggingface/hub")


def test_an_index_of_shards_must_be_whole(hub_cache: Path) -> None:
    folder = _tiny(TURBO)
    index = {"weight_map": {"a": "diffusion_pytorch_model.fp16-00002-of-00002.safetensors"}}
    name = "diffusion_pytorch_model.safetensors.index.fp16.json"
    (folder / "unet" / name).write_text(json.dumps(index))
    with pytest.raises(BadInput, match="lacks weights of its unet"):
        find_model(TURBO.id)
