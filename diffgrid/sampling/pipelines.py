"""Loading pipelines and building schedulers."""

import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin

from diffgrid.errors import BadInput, ModelError, reason_of
from diffgrid.models.families import FAMILIES
from diffgrid.models.folder import NEVER_ASKED
from diffgrid.models.json_file import read_json
from diffgrid.models.memory import free_memory
from diffgrid.models.weights import files_in, read_header, variant_of
from diffgrid.sampling import cpu_parallel
from diffgrid.spec.checks import shown
from diffgrid.spec.run import RunSpec

# While it loads, transformers takes torch's functions that initialise away from the whole process:
# what is built elsewhere in the meantime holds whatever was in memory.
LOADING = threading.RLock()
ENCODING = ("encoder", "quant_conv")  # what of a VAE makes latents

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def find_device(name: str | None = None) -> torch.device:
    """The device of this name, or of DIFFGRID_DEVICE, or the fastest there is.

    Raises:
        BadInput: there is no such device here.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    name = name or os.environ.get("DIFFGRID_DEVICE")
    if not name:
        return torch.device(next(kind for kind, here in available.items() if here))
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    known = not number or (number.isdecimal() and int(number) < count)
    if not (available.get(kind, False) and known):
        here = ", ".join(kind for kind, there in available.items() if there)
        raise BadInput(f"device {name!r} is not available here: use {here}, or leave it out.")
    return torch.device(name)


def where(pipe: DiffusionPipeline) -> str:
    """Where a pipeline computes, and by what: numbers are the same only where all of it is."""
    by = torch.cuda.get_device_name(pipe.device) if pipe.device.type == "cuda" else ""
    threads = f"{cpu_parallel.COUNT} threads" if pipe.device.type == "cpu" else ""
    libraries = [f"{each.__name__} {each.__version__}" for each in (torch, diffusers)]
    return ", ".join(filter(None, [str(pipe.device), by, threads, *libraries]))


def check_fits(name: str, weights: int, working: int, dtype: str, device: torch.device) -> None:
    """See before loading that a model fits; sizes are bytes.

    Only weights that cannot fit are refused: what sampling takes beside them is an estimate.

    Raises:
        ModelError: they are larger than the memory that is free.
    """
    free = {"memory": free_memory()}  # which they pass through on their way to a GPU
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free = {str(device): torch.cuda.mem_get_info(device)[0], **free}
    for where, left in free.items():
        if left is not None and weights > left:
            advice = "" if dtype != "float32" else "choose dtype float16 or bfloat16, or "
            raise ModelError(
                f"model {name!r} needs about {(weights + working) / 1e9:.1f} GB in {dtype} and "
                f"{left / 1e9:.1f} GB of {where} are free: {advice}choose a smaller model."
            )


def load(
    folder: Path, dtype: str, device: torch.device, variant: str | None = None
) -> DiffusionPipeline:
    """A pipeline from a local diffusers folder: no network, no pickles, no code but the library's.

    A safety checker is left out: pictures are decoded without asking it.

    Raises:
        ModelError: the folder cannot be loaded.
    """
    index = read_json(folder / "model_index.json")
    parts = {name: part for name, part in index.items() if isinstance(part, list)}
    left_out = {name: None for name, part in parts.items() if name in NEVER_ASKED or not any(part)}
    try:
        with LOADING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            networks = {
                name: network
                for name, (library, kind) in parts.items()
                if name not in left_out
                and (network := _load_network(folder, name, library, kind, dtype, variant))
            }
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                **networks,
                **left_out,
            )
    except (AttributeError, OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"model {folder.name} cannot be loaded: {reason_of(error)}.") from error
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    vae: Any = getattr(pipe, "vae", None)  # pixels are diffused without one
    on_cpu = vae is not None and device.type == "cpu"
    if on_cpu and all(each.ndim <= 4 for each in vae.parameters()):
        # Convolutions are 1.1 to 1.3 times as fast so. Not the denoiser's: it then rounds otherwise
        # than plain diffusers', and LCM makes 6e-4 of that by its last step. Nor what encodes a
        # photo, for the same reason.
        for name, part in vae.named_children():
            if name not in ENCODING:
                part.to(memory_format=torch.channels_last)
    encoder = getattr(pipe, "text_encoder", None)
    if isinstance(encoder, transformers.CLIPTextModel) and not hasattr(encoder, "text_model"):
        # clip_skip asks for it, a level that transformers has left out since.
        vars(encoder)["text_model"] = encoder
    if family := FAMILIES.get(type(pipe).__name__):
        family.after_load(pipe, dtype)
    return pipe


def _load_network(
    folder: Path, name: str, library: str, kind: str, dtype: str, variant: str | None
) -> torch.nn.Module | None:
    """One part with all of its tensors; None of a tokenizer or a scheduler, which have none.

    Both libraries fill with random numbers what a file lacks: that would be another model.
    """
    libraries = {"diffusers": diffusers, "transformers": transformers}
    own = libraries.get(library) or getattr(diffusers.pipelines, library)
    network = getattr(own, kind)
    if not issubclass(network, diffusers.ModelMixin | transformers.PreTrainedModel):
        return None
    part = folder / name if (folder / name).is_dir() else folder
    files = [file for file in files_in(part) if file.suffix == ".safetensors"]
    kept = variant if variant in map(variant_of, files) else None
    files = [file for file in files if variant_of(file) == kept]
    for file in files:
        read_header(file)  # which says that it is cut, and the libraries do not
    model, told = network.from_pretrained(
        part,
        dtype=getattr(torch, dtype),
        variant=kept,
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    lacking = sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
    if lacking:
        where = files[0] if len(files) == 1 else part
        raise ModelError(
            f"model file {where} is damaged (tensors that it lacks, or has in another shape: "
            f"{shown(', '.join(lacking))}): delete it, then fetch or copy it again."
        )
    loaded: torch.nn.Module = model
    return loaded


def build_scheduler(spec: RunSpec) -> SchedulerMixin:
    """The specification's scheduler, its configuration as it is.

    Raises:
        BadInput: the class does not take this configuration.
    """
    scheduler_class, config = getattr(diffusers, spec.scheduler), json.loads(spec.scheduler_config)
    try:
        return scheduler_class.from_config(config)
    except Exception as error:  # the library checks neither types nor ranges
        raise BadInput(
            f"scheduler {spec.scheduler} does not go with this model ({reason_of(error)}): choose "
            "another."
        ) from error
