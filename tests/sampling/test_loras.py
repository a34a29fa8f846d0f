"""LoRA files beside a model: what they add to its weights, and which are refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

import diffgrid
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput
from diffgrid.models.loras import Lora
from diffgrid.models.registry import specify
from diffgrid.sampling.loras import fuse
from diffgrid.spec.run import RunSpec, key
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny
from tests.sampling import matrix
from tests.sampling.recorded import final

pytestmark = pytest.mark.slow

RANK, ALPHA, WEIGHT = 2, 1.0, 0.8
SETTINGS = {"lora_alpha": ALPHA, "r": RANK, "use_rslora": False, "alpha_pattern": {}}
LAYERS = {"unet": (".to_q", ".to_v", ".conv1"), "text_encoder": (".q_proj", ".out_proj")}
Pairs = dict[str, tuple[Tensor, Tensor]]  # PART.LAYER -> A, B


@pytest.fixture(scope="module")
def pipe() -> DiffusionPipeline:
    return tiny.FAMILIES["stable_diffusion"].build()


@pytest.fixture
def folder(pipe: DiffusionPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def engine(tmp_path: Path) -> LocalEngine:
    return LocalEngine(TrajectoryStore(tmp_path / "cache"), device="cpu")


@pytest.fixture(scope="module")
def pairs(pipe: DiffusionPipeline) -> Pairs:
    generator, found = torch.Generator().manual_seed(0), {}
    for part, ends in LAYERS.items():
        for name, layer in getattr(pipe, part).named_modules():
            if name.endswith(ends):
                out, *inside = layer.weight.shape
                down = torch.randn(RANK, *inside, generator=generator) * 0.3
                up = torch.randn(out, RANK, *[1] * (len(inside) - 1), generator=generator)
                found[f"{part}.{name}"] = down, up
    assert {name.rpartition(".")[2] for name in found} == {
        "to_q", "to_v", "conv1", "q_proj", "out_proj",
    }  # fmt: skip
    return found


def as_diffusers(pairs: Pairs) -> dict[str, Tensor]:
    """As diffusers and PEFT name them; alpha is the rank there."""
    return {
        f"{name}.lora_{letter}.weight": tensor.contiguous()
        for name, pair in pairs.items()
        for letter, tensor in zip("AB", pair, strict=True)
    }


def as_kohya(pairs: Pairs) -> dict[str, Tensor]:
    """As the trainers of the web's LoRAs name them."""
    found: dict[str, Tensor] = {}
    for name, (down, up) in pairs.items():
        part, _, layer = name.partition(".")
        flat = f"lora_{'unet' if part == 'unet' else 'te'}_{layer.replace('.', '_')}"
        found |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        found[f"{flat}.alpha"] = torch.tensor(ALPHA)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def expected(folder: Path, pairs: Pairs, scale: float, spec: RunSpec) -> NDArray[np.float32]:
    """What the library makes of weights that were changed by hand."""
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    for name, (down, up) in pairs.items():
        part, _, layer = name.partition(".")
        weight = getattr(pipe, part).get_submodule(layer).weight
        with torch.no_grad():
            weight += scale * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    [made] = pipe(
        spec.prompt, num_inference_steps=spec.num_inference_steps, eta=spec.eta,
        guidance_scale=spec.guidance_scale, height=spec.height, width=spec.width,
        generator=torch.Generator("cpu").manual_seed(spec.seed), output_type="latent",
    ).images.numpy()  # fmt: skip
    latents: NDArray[np.float32] = made
    return latents


@pytest.mark.parametrize(
    ("names", "scale"), [(as_diffusers, WEIGHT), (as_kohya, WEIGHT * ALPHA / RANK)]
)
def test_a_trunk_is_the_librarys_with_such_weights(
    names: Callable[[Pairs], dict[str, Tensor]],
    scale: float,
    folder: Path,
    pairs: Pairs,
    engine: LocalEngine,
) -> None:
    (folder.parent / "crayon").mkdir()
    save_file(names(pairs), folder.parent / "crayon" / "weights.safetensors")
    chosen: dict[str, Any] = {
        "model": str(folder), "prompt": "a red cat", "steps": 4, "eta": 0.5,
    }  # fmt: skip
    spec = specify(**chosen, lora=f"crayon:{WEIGHT}")
    made = diffgrid.trajectory(**chosen, lora=f"crayon:{WEIGHT}", engine=engine)
    assert matrix.distance(final(made), expected(folder, pairs, scale, spec)) <= matrix.TRUNK
    plain = diffgrid.trajectory(**chosen, engine=engine)  # whose weights are as they were
    assert matrix.distance(final(plain), expected(folder, {}, 1, spec)) <= matrix.TRUNK
    assert matrix.distance(final(plain), final(made)) > matrix.DIFFERS


def test_it_is_part_of_the_key_by_its_content_and_its_weight(folder: Path, pairs: Pairs) -> None:
    def named(lora: str) -> str:
        return key(specify(model=str(folder), lora=lora), ())

    file = folder.parent / "crayon.safetensors"
    save_file(as_diffusers(pairs), file)
    plain, first = named(""), named("crayon:0.8")
    assert named(" crayon : 0.80 ") == first
    assert named("crayon:0") == plain
    (file.parent / "copied.safetensors").write_bytes(file.read_bytes())
    assert named("copied:0.8") == first  # a name may be another elsewhere
    assert named("crayon:0.00001") not in (plain, first)
    assert len({plain, first, named("crayon"), named("crayon:-0.8")}) == 4
    save_file(as_diffusers(dict(list(pairs.items())[:3])), file)
    assert named("crayon:0.8") != first


def test_what_is_no_lora_is_refused_before_anything_is_loaded(folder: Path, pairs: Pairs) -> None:
    beside = folder.parent
    save_file({"conv.weight": torch.zeros(1)}, beside / "other.safetensors")
    (beside / "cut.safetensors").write_bytes(b"\x10\x00")
    adapter = {"lora_adapter_metadata": json.dumps({"unet.use_rslora": True})}
    save_file(as_diffusers(pairs), beside / "rslora.safetensors", metadata=adapter)
    (beside / "pickle").mkdir()
    (beside / "pickle" / "lora.bin").write_bytes(b"")
    (beside / "two").mkdir()
    for name in "ab":
        save_file(as_diffusers(pairs), beside / "two" / f"{name}.safetensors")
    for lora, words in {
        "missing": "lora 'missing' is not here: put its safetensors file",
        "other": "holds no LoRA, but tensors such as 'conv.weight'",
        "cut": "lora 'cut' cannot be used: model file .* is damaged",
        "pickle": r"0 safetensors files \(pickles can run code and are never read\)",
        "two": "is a folder with 2 safetensors files",
        "../model": "lora '../model' is not allowed: write the name of its folder",
        "crayon:much": "is not allowed: write the name of its folder, and a weight",
        "crayon:100": "is not allowed: write the name of its folder, and a weight",
        "𐍈" * 100: "is not here",
        "rslora": r"is of a kind that is not known here \('unet.use_rslora'\)",
    }.items():
        with pytest.raises(BadInput, match=words):
            specify(model=str(folder), lora=lora)


def test_alpha_counts_wherever_it_is_written(
    folder: Path, pairs: Pairs, pipe: DiffusionPipeline
) -> None:
    file, untold = folder.parent / "crayon.safetensors", as_diffusers(pairs)

    def fused() -> dict[str, Tensor]:
        unet, text_encoder = copy.deepcopy(pipe.unet), copy.deepcopy(pipe.text_encoder)
        parts = {**pipe.components, "unet": unet, "text_encoder": text_encoder}
        fuse(type(pipe)(**parts, requires_safety_checker=False), [Lora(file, WEIGHT)])
        return {**unet.state_dict(), **text_encoder.state_dict()}

    told = {f"{part}.{name}": value for part in LAYERS for name, value in SETTINGS.items()}
    save_file(untold, file, metadata={"lora_adapter_metadata": json.dumps(told)})
    beside = fused()
    save_file(as_kohya(pairs), file)
    assert all(torch.equal(beside[name], tensor) for name, tensor in fused().items())


def test_alpha_counts_where_the_library_gives_it_back_only_when_asked(tmp_path: Path) -> None:
    flux, file = tiny.FAMILIES["flux"].build(), tmp_path / "a.safetensors"
    name = next(n for n, _ in flux.transformer.named_modules() if n.endswith("attn.to_q"))
    layer = flux.transformer.get_submodule(name)
    down, up = torch.ones(4, layer.in_features), torch.ones(layer.out_features, 4)
    tensors = {f"transformer.{name}.lora_{x}.weight": w for x, w in (("A", down), ("B", up))}
    save_file(tensors | {f"transformer.{name}.alpha": torch.tensor(1.0)}, file)
    before = layer.weight.detach().clone()
    fuse(flux, [Lora(file, 1.0)])
    assert torch.allclose(layer.weight, before + 1.0)  # 4 ones, by alpha / rank


@pytest.mark.parametrize("kind", ["another layer", "another size", "turned", "another kind"])
def test_a_lora_for_another_model_is_refused_by_its_layers(
    kind: str, folder: Path, pairs: Pairs, engine: LocalEngine
) -> None:
    name, (down, up) = next(iter(pairs.items()))
    tensors = {
        "another layer": as_diffusers({"unet.no.such.to_q": (down, up)}),
        "another size": as_diffusers({name: (torch.cat([down, down], 1), up)}),
        "turned": as_diffusers({"unet.mid_block.attentions.0.proj_in": (down.flatten(1), up)}),
        "another kind": as_diffusers({name: (down, up)}) | {f"{name}.dora_scale": up.clone()},
    }[kind]
    save_file(tensors, folder.parent / "crayon.safetensors")
    with pytest.raises(BadInput, match=r"^lora .*crayon.* (does not fit|is of a kind)"):
        diffgrid.trajectory(model=str(folder), steps=2, lora="crayon", engine=engine)
