"""Loading pipelines and building schedulers."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin

from diffgrid.errors import BadInput, ModelError
from diffgrid.models.families import FAMILIES
from diffgrid.models.memory import free_memory
from diffgrid.spec.run import RunSpec

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                torch_dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                variant=variant,
                **_left_out(folder),
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ModelError(f"model {folder.name} cannot be loaded: {reason}.") from error
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    vae = getattr(pipe, "vae", None)  # pixels are diffused without one
    if vae is not None and device.type == "cpu":
        # Convolutions are 1.1 to 1.3 times as fast so. Not the denoiser's: it then rounds otherwise
        # than plain diffusers', and LCM makes 6e-4 of that by its last step.
        vae.to(memory_format=torch.channels_last)
    if family := FAMILIES.get(type(pipe).__name__):
        family.after_load(pipe, dtype)
    return pipe


def _left_out(folder: Path) -> dict[str, Any]:
    """The parts to be loaded without: those never asked, and those that the folder has as null."""
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    parts = {name: part for name, part in index.items() if isinstance(part, list)}
    never = parts.keys() & {"safety_checker", "feature_extractor"}
    return dict.fromkeys(never | {name for name, part in parts.items() if not any(part)})


def build_scheduler(spec: RunSpec) -> SchedulerMixin:
    """The specification's scheduler, its configuration as it is.

    Raises:
        BadInput: the class does not take this configuration.
    """
    scheduler_class, config = getattr(diffusers, spec.scheduler), json.loads(spec.scheduler_config)
    try:
        return scheduler_class.from_config(config)
    # What a folder's configuration may be wrong about; the library does not check its types.
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise BadInput(
            f"scheduler {spec.scheduler} does not go with this model ({reason}): choose another."
        ) from error


def clips(scheduler: SchedulerMixin) -> bool:
    """Whether it clips x̂0 to -1 … 1, which is right for pixels and wrong for latents."""
    return bool(scheduler.config.get("clip_sample") or scheduler.config.get("thresholding"))
