"""Stable Diffusion 1.x and 2.x, SDXL, and what was distilled from them."""

from diffgrid.models.families.family import Family


class StableDiffusion(Family):
    """1.x, 2.x, Turbo (with guidance 0)."""

    pipeline = "StableDiffusionPipeline"


class StableDiffusionXL(Family):
    pipeline = "StableDiffusionXLPipeline"
    guidance = 5.0


class LatentConsistencyModel(Family):
    """Guidance goes in as an embedding: there is no unconditional half."""

    pipeline = "LatentConsistencyModelPipeline"
    negative = False
    guidance = 8.5
    steps = 4
    schedulers = ("lcm",)
