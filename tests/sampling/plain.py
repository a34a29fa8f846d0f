"""A denoiser that is one function, in place of a pipeline's lanes; and what a lane's is given."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffgrid.sampling.batches import Call
from diffgrid.sampling.preparation import Denoise, Prepared, Standing
from diffgrid.spec.run import RunSpec


def in_batches(function: Callable[[Tensor, Tensor], Tensor]) -> Denoise:
    """function(scaled latents (n, C, H, W), timestep) -> outputs of that shape."""

    def denoise(standing: Sequence[Standing], rows: int) -> list[Tensor]:
        scheduler = standing[0].adapter.scheduler
        timestep = scheduler.timesteps[standing[0].step]
        inputs = [each.latents for each in standing]
        if hasattr(scheduler, "scale_model_input"):
            pairs = [(each.adapter.scheduler, each.latents) for each in standing]
            inputs = [own.scale_model_input(x, timestep) for own, x in pairs]
        batches = torch.cat(inputs).split(rows)
        return list(torch.cat([function(batch, timestep) for batch in batches]).split(1))

    return denoise


def first_call(prepared: Prepared, spec: RunSpec) -> Call:
    """What a prepared specification's pipeline gives its network first."""
    denoise: Any = prepared.denoise
    call: Call = denoise.lanes.begin(denoise.arguments(spec)).wants
    return call
