"""Stable Diffusion 1.x and 2.x, SDXL, and what was distilled from them."""

from typing import Any

from diffgrid.models.families.family import Family


class StableDiffusion(Family):
    """1.x, 2.x, Turbo (with guidance 0)."""

    pipeline = "StableDiffusionPipeline"


class StableDiffusionXL(Family):
    pipeline = "StableDiffusionXLPipeline"
    parts = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae")
    guidance = 5.0

    def after_load(self, pipe: Any, dtype: str) -> None:
        """As its pipeline does for decoding: float16 overflows there."""
        if dtype == "float16" and pipe.vae.config.force_upcast:
            pipe.vae.float()


class LatentConsistencyModel(Family):
    """Guidance goes in as an embedding: there is no unconditional half."""

    pipeline = "LatentConsistencyModelPipeline"
    negative = False
    guidance = 8.5
    steps = 4
    schedulers = ("lcm",)
