"""Flux: a transformer over 2 x 2 patches of latents, with the guidance as an embedding."""

from typing import Any, ClassVar

from diffgrid.models.families.family import Configs, Family


class Flux(Family):
    pipeline = "FluxPipeline"
    denoiser = "transformer"
    parts = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae")
    negative = False
    pairs = False
    guidance = 3.5
    steps = 28
    flow = True
    draws_in_steps = False  # its pipeline would, in patches
    schedulers = ("flow_match_euler",)  # the only one that takes its pipeline's shifted sigmas
    longest: ClassVar = {"tokenizer_2": 512}
    shared = ("img_ids", "txt_ids")

    def side(self, configs: Configs) -> int | None:
        blocks = configs("vae").get(self.blocks)
        return 128 * 2 ** (len(blocks) - 1) if isinstance(blocks, list) else None

    def timestep(self, timestep: Any) -> Any:
        return timestep / 1000

    def pack(self, latents: Any) -> Any:
        n, channels, height, width = latents.shape
        patches = latents.view(n, channels, height // 2, 2, width // 2, 2)
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * 4)

    def unpack(self, latents: Any, height: int, width: int, pipe: Any) -> Any:
        scale = pipe.vae_scale_factor
        return _unpatched(latents, height // scale, width // scale)

    def output(self, output: Any, latents: Any) -> Any:
        return _unpatched(output, *latents.shape[-2:])


def _unpatched(patches: Any, height: int, width: int) -> Any:
    """(n, h/2 · w/2, 4 C) -> (n, C, h, w)"""
    n, _, channels = patches.shape
    latents = patches.view(n, height // 2, width // 2, channels // 4, 2, 2)
    return latents.permute(0, 3, 1, 4, 2, 5).reshape(n, channels // 4, height, width)
