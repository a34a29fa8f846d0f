"""Latents to pictures: finished ones as the pipeline itself makes them, previews more cheaply.

The ways to make a preview, best first:

    vae     as finished pictures are made: in pixel space, or where the VAE is about as cheap as a
            tiny autoencoder
    tiny    by the tiny autoencoder in the model's folder, under `vae_tiny`
    linear  by a linear map from a latent to a colour, fitted to the VAE; a full decode of Stable
            Diffusion's size costs as much as several evaluations

The model's files alone decide, never a clock: pictures are kept by the name of their way.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from diffgrid.errors import ModelError, reason_of
from diffgrid.models.families import FAMILIES, Family
from diffgrid.sampling import cpu_parallel

BATCH = 8  # pictures decoded together; more are no cheaper a picture on a CPU, and take memory
# px a side, up to which so many are. Of 512 px SD's VAE takes 0.8 GB for one, 6.2 GB for eight.
BATCHED_SIDE = 128
LIGHT = 32  # channels at full resolution: with as many a VAE costs a sixteenth of SD's, with 128
NOISE_WEIGHT = 0.1  # of the noise in a fit; the rest is a finished picture's
TINY = "vae_tiny"

Way = Literal["vae", "tiny", "linear"]
Finished = tuple[NDArray[np.float32], NDArray[np.uint8]]  # latents (C, h, w), picture (H, W, 3)
_ToPixels = Callable[[Tensor], Tensor]  # latents (n, C, h, w) -> pixels (n, 3, H, W), -1 … 1


class Decoder:
    """Makes a pipeline's pictures; `way` says how it makes previews.

    Raises:
        ModelError: the tiny autoencoder beside the model cannot be used with it.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._pipe = pipe
        self.way: Way = _way(pipe)
        if self.way == "tiny":
            _tiny(pipe)  # a damaged one is said before sampling

    def final(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latents (n, C, h, w) -> finished pictures (n, H, W, 3)."""
        return decode(self._pipe, latents)

    def preview(
        self, latents: NDArray[np.float32], finished: Finished | None = None
    ) -> NDArray[np.uint8]:
        """Latents (n, C, h, w) -> pictures (n, H, W, 3) by `way`.

        A linear map takes its colours from a `finished` picture of the same run where there is one.
        """
        if self.way == "vae":
            return decode(self._pipe, latents)
        to_pixels = _tiny(self._pipe) if self.way == "tiny" else _linear(self._pipe, finished)
        return _pictures(to_pixels, latents, _factor(self._pipe))


def decode(pipe: DiffusionPipeline, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents (n, C, h, w) -> pictures (n, H, W, 3), as the pipeline itself makes them."""
    if getattr(pipe, "vae", None) is None:
        return _pictures(lambda pixels: pixels, latents, 1)
    return _pictures(partial(_decode, _family(pipe), pipe.vae), latents, _factor(pipe))


@torch.inference_mode()
def _pictures(to_pixels: _ToPixels, latents: NDArray[np.float32], factor: int) -> NDArray[np.uint8]:
    pictures = []
    rows = _rows(latents.shape[-2] * factor, latents.shape[-1] * factor)
    for start in range(0, len(latents), rows):
        pixels = to_pixels(torch.tensor(latents[start : start + rows]))
        colours = (pixels / 2 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)  # grey ones have one channel
        as_numpy = colours.permute(0, 2, 3, 1).float().cpu().numpy()
        pictures.append((as_numpy * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def _rows(height: int, width: int) -> int:
    """How many pictures of this size (px) are decoded together."""
    return min(BATCH, max(1, BATCH * BATCHED_SIDE**2 // (height * width)))


def _factor(pipe: DiffusionPipeline) -> int:
    """Pixels a latent, along one side."""
    return int(pipe.vae_scale_factor)


def _family(pipe: DiffusionPipeline) -> Family:
    return FAMILIES[type(pipe).__name__]


def _decode(family: Family, vae: Any, latents: Tensor) -> Tensor:
    """Latents (n, C, h, w) -> pixels (n, 3, H, W), -1 … 1."""
    return cpu_parallel.run(vae, partial(family.decode, vae), latents.to(vae.device, vae.dtype))


def _way(pipe: DiffusionPipeline) -> Way:
    vae = getattr(pipe, "vae", None)
    if vae is None or isinstance(vae, AutoencoderTiny):
        return "vae"
    if vae.config[_family(pipe).blocks][0] <= LIGHT:
        return "vae"
    return "tiny" if (_tiny_folder(pipe) / "config.json").is_file() else "linear"


# What was read or fitted for a VAE, as long as that is there.
_tinies: "WeakKeyDictionary[nn.Module, _ToPixels]" = WeakKeyDictionary()
_of_noise: "WeakKeyDictionary[nn.Module, tuple[Tensor, Tensor]]" = WeakKeyDictionary()


def _tiny_folder(pipe: DiffusionPipeline) -> Path:
    return Path(pipe.config.get("_name_or_path") or "") / TINY


def _tiny(pipe: DiffusionPipeline) -> _ToPixels:
    if pipe.vae not in _tinies:
        _tinies[pipe.vae] = partial(
            _decode, _family(pipe), _read_tiny(_tiny_folder(pipe), pipe.vae)
        )
    return _tinies[pipe.vae]


def _read_tiny(folder: Path, vae: Any) -> Any:
    where = f"the tiny autoencoder in {folder.parent.name}/{TINY}"
    try:
        tiny = AutoencoderTiny.from_pretrained(
            folder, dtype=vae.dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{where} cannot be loaded: {reason_of(error)}; mend or remove it."
        ) from error
    if tiny.config.latent_channels != vae.config.latent_channels:
        raise ModelError(
            f"{where} takes latents of {tiny.config.latent_channels} channels, the model's VAE "
            f"{vae.config.latent_channels}: use one that was made for this VAE, or remove it."
        )
    return tiny.to(vae.device)


def _linear(pipe: DiffusionPipeline, finished: Finished | None) -> _ToPixels:
    """A linear map from a latent's C channels to its colour, by least squares.

    It is fitted to what the VAE makes of noise, which is a quarter of the work of one picture of
    512 px, and more to a finished picture of the run, which costs nothing. Tried on six runs of
    the bundled model, against the true pictures at the latents' resolution, of 255: by the noise
    alone x̂0 was 36 off in the first steps and 40 later, with each run's own finished picture 27
    and 12 (correlations .90, .87 and .85 in red, green and blue). Encoded drawings did no better
    than noise.
    """
    if pipe.vae not in _of_noise:
        _of_noise[pipe.vae] = _fit_to_noise(pipe)
    gram, moments = _of_noise[pipe.vae]
    factor = _factor(pipe)
    if finished:
        latents, picture = (torch.tensor(values)[None].float() for values in finished)
        colours = avg_pool2d(picture.movedim(-1, 1) / 127.5 - 1, factor)
        own_gram, own_moments = _normal_equations(latents, colours)
        gram, moments = own_gram + NOISE_WEIGHT * gram, own_moments + NOISE_WEIGHT * moments
    solution = torch.linalg.solve(gram, moments).float()
    slopes, offsets = solution[:-1], solution[-1].view(1, 3, 1, 1)

    def to_pixels(latents: Tensor) -> Tensor:
        colours = torch.einsum("nchw,cd->ndhw", latents, slopes) + offsets
        return interpolate(colours, scale_factor=factor, mode="bilinear")

    return to_pixels


@torch.inference_mode()
def _fit_to_noise(pipe: DiffusionPipeline) -> tuple[Tensor, Tensor]:
    noise = _noise(pipe.vae.config.latent_channels)
    pixels = _decode(_family(pipe), pipe.vae, noise).float().clamp(-1, 1).cpu()
    return _normal_equations(noise, avg_pool2d(pixels, _factor(pipe)))


def _normal_equations(latents: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Of latents (n, C, h, w) and a constant: gram (C+1, C+1), moments with colours (C+1, 3)."""
    inputs, targets = (v.double().movedim(1, -1).flatten(0, 2) for v in (latents, colours))
    affine = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    return affine.T @ affine / len(affine), affine.T @ targets / len(affine)


def _noise(channels: int) -> Tensor:
    """Noise of every scale up to the whole patch, (16, channels, 8, 8), of unit variance; keyed.

    Pictures are as strong at every scale. Each patch comes with its negative: without, the few
    draws of the largest scale lean to one side, and the map depends on the seed.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    scales = []
    for side in (1, 2, 4, 8):
        white = torch.randn(8, channels, side, side, generator=generator)
        scales.append(interpolate(white, size=8, mode="bilinear"))
    patches = torch.stack(scales).sum(0)
    return torch.cat([patches, -patches]) / patches.std()
