"""Fetching a model of the allow-list from the Hugging Face hub.

Only ever by the pinned revision, and only what is loaded: tensors, configurations and
vocabularies, never a pickle and never code.
"""

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from diffgrid.errors import ModelError, reason_of
from diffgrid.models.families import family_of
from diffgrid.models.hub_list import HubModel, cache

# Unconditional models lie flat, with no folder a part.
ROOT = ("model_index.json", "config.json", "scheduler_config.json")


def fetch(model: HubModel, *, show: bool = False) -> Path:
    """Bring the model into the hub's cache, and give its folder. What is there is kept.

    A fetch that was interrupted goes on where it was. `show` draws bars on stderr.

    Raises:
        ModelError: it cannot be had, or the disk is too small.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    _check_disk(model)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what fails is told below
    if not show:
        disable_progress_bars()
    try:
        return Path(
            snapshot_download(
                model.id,
                revision=model.revision,
                cache_dir=cache(),
                allow_patterns=patterns(model),
                ignore_patterns=["*.non_ema*"] if model.variant else ["*.non_ema*", "*.fp16*"],
            )
        )
    except GatedRepoError as error:
        raise ModelError(
            f"model {model.id!r} is given out by its makers on request: accept their terms on "
            f"https://huggingface.co/{model.id}, log in with `hf auth login`, and fetch it again."
        ) from error
    except Exception as error:  # of the library, of HTTP or of the disk: each has its own tree
        reason = reason_of(error).removeprefix("Got:").strip()
        raise ModelError(
            f"model {model.id!r} cannot be fetched ({reason}): try again, or bring its folder "
            "from elsewhere into one that DIFFGRID_MODELS names."
        ) from error


def patterns(model: HubModel) -> list[str]:
    """The files of its repository that are loaded, as the hub's library matches them."""
    family = family_of(model.pipeline)
    tensors = f"*.{model.variant}*.safetensors" if model.variant else "*.safetensors"
    names = (tensors, "*.json", "*.txt", "*.model")
    parts = ("scheduler", family.denoiser, *family.parts)
    of_parts = [f"{part}/{name}" for part in parts for name in names]
    return [*ROOT, "diffusion_pytorch_model.safetensors", *of_parts]


def _check_disk(model: HubModel) -> None:
    folder = cache()
    with suppress(StopIteration, OSError):
        here = next(f for f in (folder, *folder.absolute().parents) if f.exists())
        free = shutil.disk_usage(here).free
        there = sum(file.stat().st_size for file in model.folder.rglob("*") if file.is_file())
        if model.size - there > free:
            raise ModelError(
                f"model {model.id!r} takes {model.size / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                f"free in {here}: make room, or let HF_HOME name a folder on another disk."
            )
