"""Stable Diffusion 1.x and 2.x, SDXL, and what was distilled from them."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from diffgrid.models.families.family import Configs, Family


class StableDiffusion(Family):
    """1.x, 2.x, Turbo (with guidance 0). Its constructor mends what old folders lack."""

    pipeline = "StableDiffusionPipeline"
    mends: ClassVar[Mapping[str, Any]] = {"steps_offset": 1, "clip_sample": False}

    def side(self, configs: Configs) -> int | None:
        denoiser = dict(configs(self.denoiser))
        side, made_by = denoiser.get("sample_size"), str(denoiser.get("_diffusers_version", "1.0"))
        if isinstance(side, int) and [*map(int, re.findall(r"\d{1,9}", made_by))][:2] < [0, 9]:
            denoiser["sample_size"] = max(64, side)
        return super().side(lambda part: denoiser if part == self.denoiser else configs(part))


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
    pairs = False
    guidance = 8.5
    steps = 4
    schedulers = ("lcm",)
