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

    def side(self, configs: Configs) -> int | None:
        blocks = configs("vae").get(self.blocks)
        return 128 * 2 ** (len(blocks) - 1) if isinstance(blocks, list) else None

    def pack(self, latents: Any, like: Any) -> Any:
        n, channels, height, width = latents.shape
        patches = latents.view(n, channels, height // 2, 2, width // 2, 2)
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * 4)

    def unpack(self, latents: Any, height: int, width: int, pipe: Any) -> Any:
        """(n, h/2 · w/2, 4 C) -> (n, C, h, w)"""
        n, _, channels = latents.shape
        rows, columns = height // pipe.vae_scale_factor, width // pipe.vae_scale_factor
        patches = latents.view(n, rows // 2, columns // 2, channels // 4, 2, 2)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(n, channels // 4, rows, columns)
