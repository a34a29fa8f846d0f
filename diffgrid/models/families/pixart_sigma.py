"""PixArt-Σ: one T5, and sizes that are not binned."""

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
