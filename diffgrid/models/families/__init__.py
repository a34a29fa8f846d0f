"""The pipelines that can be sampled: a small file each, found by being here.

A file holds a `Family` of one diffusers pipeline class, with what differs from Stable Diffusion;
`read.py` names those of which their source says enough.
Tensors are only passed through, so nothing here imports torch.
"""

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from diffgrid.errors import BadInput
from diffgrid.models.families import read
from diffgrid.models.families.family import Family
from diffgrid.models.families.image_to_image import IMAGE_TO_IMAGE
from diffgrid.models.families.refused import REFUSED

__all__ = [
    "FAMILIES",
    "IMAGE_TO_IMAGE",
    "REFUSED",
    "Family",
    "family_of",
    "image_to_image_of",
    "known",
    "why_not",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

FAMILIES: dict[str, Family] = {kind.pipeline: kind() for kind in Family.kinds if kind.pipeline}


def known() -> list[str]:
    """The diffusers classes that can be sampled."""
    return sorted({*FAMILIES, *read.CLASSES})


def why_not(pipeline: str) -> str:
    """Why a class cannot be sampled, and what can be, as the end of a sentence."""
    if reason := REFUSED.get(pipeline):
        return f"which is not supported ({reason})"
    near = get_close_matches(pipeline, known(), 3, cutoff=0.0)
    return f"which is not supported: use one of {len(known())} others, such as {', '.join(near)}"


def family_of(pipeline: str, flow: bool = False) -> Family:
    """What is special about a class that is known; whether its scheduler is for flow matching."""
    return FAMILIES.get(pipeline) or _read(pipeline, flow)


def image_to_image_of(pipeline: str) -> str:
    """The class that begins with a photo, of the same parts.

    Raises:
        BadInput: there is none, or none that was tried.
    """
    if pipeline not in IMAGE_TO_IMAGE:
        raise BadInput(
            f"image is not heeded by a {pipeline}, which begins with noise: leave it out, or use a "
            f"model of one of {', '.join(IMAGE_TO_IMAGE)}."
        )
    return IMAGE_TO_IMAGE[pipeline]


@cache
def _read(pipeline: str, flow: bool) -> Family:
    return read.Read(pipeline, flow)
