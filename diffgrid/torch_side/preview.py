"""Latents to pictures, as the pipeline itself does it."""

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from diffgrid.torch_side import cores

ROWS = 8  # pictures decoded together; more are no cheaper a picture on a CPU, and take memory


@torch.inference_mode()
def decode(pipe: DiffusionPipeline, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents (n, C, h, w) -> pictures (n, H, W, 3)."""
    config = pipe.vae.config
    shift = getattr(config, "shift_factor", None) or 0.0

    def decoded(z: Tensor) -> Tensor:
        pixels: Tensor = pipe.vae.decode(z / config.scaling_factor + shift, return_dict=False)[0]
        return pixels.float()

    pictures = []
    for start in range(0, len(latents), ROWS):
        z = torch.tensor(latents[start : start + ROWS]).to(pipe.vae.device, pipe.vae.dtype)
        pixels = cores.run(pipe.vae, decoded, z)
        as_numpy = pipe.image_processor.postprocess(pixels, output_type="np")
        pictures.append((as_numpy * 255).round().astype(np.uint8))
    return np.concatenate(pictures)
