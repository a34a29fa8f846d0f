"""A pipeline with LoRA weights in it.

W becomes W + w · (alpha / r) · B A (Hu et al. 2021, arXiv:2106.09685, section 4.1), once and for
all: a pipeline of other weights is another one.
"""

import inspect
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from diffgrid.errors import BadInput
from diffgrid.models.loras import Lora
from diffgrid.spec.checks import shown


def fuse(pipe: DiffusionPipeline, loras: Sequence[Lora]) -> None:
    """Add these to the weights of a loaded pipeline.

    Raises:
        BadInput: one is for another model, or of a kind that is not known.
    """
    for lora in loras:
        try:
            changes = _changes(pipe, lora)
        except BadInput:
            raise
        except Exception as error:  # the library raises what it likes at names it does not know
            raise _refused(lora, pipe, shown(error)) from error
        layers = {}
        for name, (down, up, _) in changes.items():
            layer = _layer(pipe, name)
            if layer is None or not _fits(layer, down, up):
                raise _refused(lora, pipe, f"its layer {shown(name)} is none of the model's")
            layers[name] = layer
        with torch.no_grad():
            for name, layer in layers.items():
                down, up, alpha = changes[name]
                scale = lora.weight * (1 if alpha is None else alpha / len(down))
                change = scale * (up.flatten(1).float() @ down.flatten(1).float())
                layer.copy_(layer.float() + change.view_as(layer).to(layer.device))


# A layer's name -> A (r, in …), B (out, r …), and alpha, which is r where none is told.
_Changes = dict[str, tuple[Tensor, Tensor, float | None]]


def _fits(layer: Tensor, down: Tensor, up: Tensor) -> bool:
    """Whether B A is of a layer's shape."""
    if min(layer.ndim, down.ndim, up.ndim) < 2 or not 0 < len(down) == up.flatten(1).shape[1]:
        return False
    return len(up) == len(layer) and down[0].numel() == layer[0].numel()


def _changes(pipe: DiffusionPipeline, lora: Lora) -> _Changes:
    """By the library's own reading of the names that other programs give."""
    kind: Any = type(pipe)
    if not hasattr(kind, "lora_state_dict"):
        raise BadInput(f"lora {shown(lora.file.stem)} is not taken by a {kind.__name__}.")
    options: dict[str, Any] = {"unet_config": pipe.unet.config} if hasattr(pipe, "unet") else {}
    if "return_alphas" in inspect.signature(kind.lora_state_dict).parameters:
        options["return_alphas"] = True
    read = kind.lora_state_dict(load_file(lora.file), **options)
    found, alphas = read if isinstance(read, tuple) else (read, None)
    weights, told = _named(found), _named(alphas or {})
    names = {name.rpartition(".lora_")[0] for name in weights}
    if strange := sorted(each for each in weights if not each.endswith((_A, _B))):
        raise BadInput(
            f"lora {shown(lora.file.stem)} is of a kind that is not known here: it holds "
            f"{shown(strange[0])}."
        )
    of_parts = lora.alphas

    def alpha(name: str) -> float | None:
        said = told.get(f"{name}{_A}.alpha", told.get(f"{name}.alpha"))
        return of_parts.get(name.partition(".")[0]) if said is None else float(said)

    return {name: (weights[name + _A], weights[name + _B], alpha(name)) for name in names}


_A, _B = ".lora_A.weight", ".lora_B.weight"


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """The same under one kind of name: `PART.LAYER.lora_A.weight`."""
    return {_name(name): value for name, value in values.items()}


def _name(told: str) -> str:
    text = told.startswith("text_encoder")
    layer, out = (r".\2_proj", ".out_proj") if text else (r".to_\2", ".to_out.0")
    name = re.sub(r"(\.processor)?\.to_([qkv])_lora", layer, told)
    name = re.sub(r"(\.processor)?\.to_out_lora", out, name)
    name = re.sub(r"(\.lora|\.lora_linear_layer)?[._]down(?=\.weight)", ".lora_A", name)
    return re.sub(r"(\.lora|\.lora_linear_layer)?[._]up(?=\.weight)", ".lora_B", name)


def _layer(pipe: DiffusionPipeline, name: str) -> Tensor | None:
    """The weight of a layer of one of the pipeline's parts."""
    part, _, path = name.partition(".")
    network: Any = getattr(pipe, part, None)
    for each in (path, path.removeprefix("text_model.")):
        with suppress(AttributeError):
            weight: Tensor = network.get_submodule(each).weight
            return weight
    return None


def _refused(lora: Lora, pipe: DiffusionPipeline, why: str) -> BadInput:
    return BadInput(
        f"lora {shown(lora.file.stem)} does not fit a {type(pipe).__name__} with this model's "
        f"layers ({why}): use one that was trained on it."
    )
