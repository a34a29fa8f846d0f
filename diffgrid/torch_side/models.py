"""Loading pipelines and building schedulers."""

import json
import warnings
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin

from diffgrid.errors import BadInput, ModelError
from diffgrid.spec import RunSpec

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def find_device(name: str | None = None) -> torch.device:
    """The device of this name, or the fastest there is.

    Raises:
        BadInput: there is no such device here.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name is None:
        return torch.device(next(kind for kind, here in available.items() if here))
    if not available.get(name.split(":")[0], False):
        here = ", ".join(kind for kind, there in available.items() if there)
        raise BadInput(f"device {name!r} is not available here: use {here}, or leave it out.")
    return torch.device(name)


def load(folder: Path, dtype: str, device: torch.device) -> DiffusionPipeline:
    """A pipeline from a local diffusers folder: no network, no pickles, no code but the library's.

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
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ModelError(f"model {folder.name} cannot be loaded: {reason}.") from error
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    if device.type == "cpu":
        # Convolutions are 1.1 to 1.3 times as fast so. Not the denoiser's: it then rounds otherwise
        # than plain diffusers', and LCM makes 6e-4 of that by its last step.
        pipe.vae.to(memory_format=torch.channels_last)
    return pipe


def build_scheduler(spec: RunSpec) -> SchedulerMixin:
    """The specification's scheduler, its configuration as it is.

    Raises:
        BadInput: the class does not take this configuration.
    """
    scheduler_class = getattr(diffusers, spec.scheduler)
    try:
        return scheduler_class.from_config(json.loads(spec.scheduler_config))
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise BadInput(
            f"scheduler {spec.scheduler} does not go with this model ({reason}): choose another."
        ) from error


def clips(scheduler: SchedulerMixin) -> bool:
    """Whether it clips x̂0 to -1 … 1, which is right for pixels and wrong for latents."""
    return bool(scheduler.config.get("clip_sample") or scheduler.config.get("thresholding"))
