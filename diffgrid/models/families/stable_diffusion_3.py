"""Stable Diffusion 3 and 3.5: a transformer, trained for flow matching."""

from typing import ClassVar

from diffgrid.models.families.family import Family


class StableDiffusion3(Family):
    pipeline = "StableDiffusion3Pipeline"
    denoiser = "transformer"
    parts = (
        *(f"{part}{which}" for part in ("text_encoder", "tokenizer") for which in ("", "_2", "_3")),
        "vae",
    )
    guidance = 7.0
    steps = 28
    flow = True
    seeds_steps = False
    longest: ClassVar = {"tokenizer_3": 256}
