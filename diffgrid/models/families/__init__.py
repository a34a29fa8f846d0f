"""The pipelines that can be sampled: a small file each, found by being here.

A file holds a `Family` of one diffusers pipeline class, with what differs from Stable Diffusion;
`read.py` names those of which their source says enough.
Tensors are only passed through, so nothing here imports torch.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from diffgrid.models.families import read
from diffgrid.models.families.family import Family

__all__ = ["FAMILIES", "Family", "family_of", "known"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

FAMILIES: dict[str, Family] = {kind.pipeline: kind() for kind in Family.kinds if kind.pipeline}


def known() -> list[str]:
    """The diffusers classes that can be sampled."""
    return sorted({*FAMILIES, *read.CLASSES})


def family_of(pipeline: str, flow: bool = False) -> Family:
    """What is special about a class that is known; whether its scheduler is for flow matching."""
    return FAMILIES.get(pipeline) or _read(pipeline, flow)


@cache
def _read(pipeline: str, flow: bool) -> Family:
    return read.Read(pipeline, flow)
