"""PixArt-Σ: its transformer may predict a variance too, which its pipeline drops."""

from collections.abc import Mapping
from typing import Any, ClassVar

from diffgrid.models.families.family import Family


class PixArtSigma(Family):
    pipeline = "PixArtSigmaPipeline"
    denoiser = "transformer"
    guidance = 4.5
    steps = 20
    call: ClassVar[Mapping[str, Any]] = {"use_resolution_binning": False}  # the size asked for
    longest: ClassVar[Mapping[str, int]] = {"tokenizer": 300}

    def output(self, output: Any, latents: Any) -> Any:
        return output[:, : latents.shape[1]]
