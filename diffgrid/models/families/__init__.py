"""The pipelines that can be sampled: a small file each, found by being here.

A file holds a `Family` of one diffusers pipeline class, with what differs from Stable Diffusion.
Tensors are only passed through, so nothing here imports torch.
"""

from importlib import import_module
from pkgutil import iter_modules

from diffgrid.models.families.family import Family

__all__ = ["FAMILIES", "Family"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

FAMILIES: dict[str, Family] = {kind.pipeline: kind() for kind in Family.kinds if kind.pipeline}
