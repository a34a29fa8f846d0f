"""Classes of which nothing need be known but what their call takes."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from diffgrid.errors import BadInput
from diffgrid.models.calls import call_of
from diffgrid.models.families.family import Configs, Family

# Those that `make matrix` holds for: trunk and branches are what the library makes.
CLASSES = (
    "AuraFlowPipeline",
    "BriaPipeline",
    "BriaFiboPipeline",
    "BriaFibo2Pipeline",
    "ChromaPipeline",
    "CogView3PlusPipeline",
    "CogView4Pipeline",
    "DreamLiteMobilePipeline",
    "ErnieImagePipeline",
    "Flux2Pipeline",
    "Flux2KleinPipeline",
    "Flux2KleinKVPipeline",
    "FluxKontextPipeline",
    "HunyuanDiTPipeline",
    "HunyuanDiTPAGPipeline",
    "Ideogram4Pipeline",
    "Kandinsky3Pipeline",
    "KandinskyCombinedPipeline",
    "KandinskyV22CombinedPipeline",
    "LongCatImagePipeline",
    "LuminaPipeline",
    "Lumina2Pipeline",
    "NucleusMoEImagePipeline",
    "OvisImagePipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPAGPipeline",
    "QwenImagePipeline",
    "QwenImage21Pipeline",
    "SanaPipeline",
    "SanaPAGPipeline",
    "SemanticStableDiffusionPipeline",
    "StableDiffusion3PAGPipeline",
    "StableDiffusionLDM3DPipeline",
    "StableDiffusionPAGPipeline",
    "StableDiffusionXLPAGPipeline",
    "StableUnCLIPPipeline",
    "ZImagePipeline",
    "ZImageOmniPipeline",
)


class Read(Family):
    """Of such a class, by the literals in its source."""

    call: ClassVar[Mapping[str, Any]] = {
        "use_resolution_binning": False,  # the size asked for
        "enable_prompt_rewrite": False,  # and the words: no language model puts them otherwise
        "use_pe": False,
        "use_kv_cache": False,  # each step by itself, so that a branch can begin at any
        "guidance_schedule": None,  # but the one scale, at all steps
    }

    def __init__(self, pipeline: str, flow: bool) -> None:
        takes = call_of(pipeline)
        self.pipeline, self.flow = pipeline, flow
        self.prompted = "prompt" in takes
        self.negative = "negative_prompt" in takes
        scale, schedule = takes.get("guidance_scale"), takes.get("guidance_schedule")
        if isinstance(schedule, tuple):
            scale = schedule[0]
        self.guided = isinstance(scale, int | float)
        self.guidance = float(scale) if isinstance(scale, int | float) else 1.0
        self.pairs = False  # or not: nothing is said of guidance that does nothing
        self.steps = takes.get("num_inference_steps") or super().steps
        # Those for flow matching give their steps no generator; noise that is drawn in packed
        # latents is not what is drawn for them unpacked.
        self.seeds_steps = self.draws_in_steps = not flow
        self._height = takes.get("height")

    def side(self, configs: Configs) -> int | None:
        if isinstance(self._height, int):
            return self._height
        for denoiser in ("transformer", "unet"):
            with suppress(BadInput):
                latent_side = configs(denoiser).get("sample_size")
                blocks = configs("vae").get(self.blocks)
                if isinstance(latent_side, int) and isinstance(blocks, list):
                    return int(latent_side * 2 ** (len(blocks) - 1))
        return None
