"""Latents to pictures: finished ones as the pipeline itself makes them, previews more cheaply.

The ways to make a preview, best first:

    vae     as finished pictures are made: in pixel space, or where the VAE is about as cheap as a
            tiny autoencoder
    tiny    by the tiny autoencoder in the model's folder, under `vae_tiny`
    linear  by a map from a latent and its neighbours to pixels that is fitted to the VAE once; a
            full decode of Stable Diffusion's size costs as much as several evaluations

The model's files alone decide, never a clock: pictures are kept by the name of their way. Equal
latents have equal previews, whatever run they are of.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, pixel_shuffle, pixel_unshuffle, unfold

from diffgrid.errors import ModelError, reason_of
from diffgrid.sampling.batches import Call, by_rows
from diffgrid.sampling.lanes import Lane, Lanes, Taken, zeros
from diffgrid.sampling.preparation import family_of_pipe

BATCH = 8  # pictures decoded together; more are no cheaper a picture on a CPU, and take memory
# px a side, up to which so many are. Of 512 px SD's VAE takes 0.8 GB for one, 6.2 GB for eight.
BATCHED_SIDE = 128
LIGHT = 32  # channels at full resolution: with as many a VAE costs a sixteenth of SD's, with 128
CHANNELS = ("block_out_channels", "decoder_block_out_channels")  # of each level, in the VAE
FITTED, MEASURED = 64, 16  # patches of noise, each of 64 px: 51 are as much as a picture of 512 px
FEATURES = 256
RIDGE = 0.03
STRENGTHS = (0.7, 2.0)  # of the noise; with guidance x̂0 overshoots in the first steps
TINY = "vae_tiny"
STEPS = 2  # of a call that only ends

Way = Literal["vae", "tiny", "linear"]
_ToColours = Callable[[Tensor], Tensor]  # latents (n, C, h, w) -> colours (n, 3, H, W), 0 … 1


class Decoder:
    """Makes a pipeline's pictures; `way` says how it makes previews.

    Raises:
        ModelError: the tiny autoencoder beside the model cannot be used with it.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._pipe = pipe
        self.way: Way = _way(pipe)
        if self.way == "tiny":
            _ = self._preview  # a damaged one is said before sampling

    @property
    def error(self) -> float | None:
        """How far previews are from the pipeline's own pictures: RMS of 255, on noise."""
        return None if self.way == "vae" else self._preview.error

    def final(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latents (n, C, h, w) -> finished pictures (n, H, W, 3)."""
        return _pictures(self._ending, latents, _factor(self._pipe))

    def preview(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latents (n, C, h, w) -> pictures (n, H, W, 3) by `way`."""
        if self.way == "vae":
            return self.final(latents)
        return _pictures(self._preview.to_colours, latents, _factor(self._pipe))

    @cached_property
    def _ending(self) -> _ToColours:
        return _ending(self._pipe)

    @cached_property
    def _preview(self) -> "_Preview":
        return (_tiny if self.way == "tiny" else _linear)(self._pipe)


@torch.inference_mode()
def _pictures(
    to_colours: _ToColours, latents: NDArray[np.float32], factor: int
) -> NDArray[np.uint8]:
    pictures = []
    rows = _rows(latents.shape[-2] * factor, latents.shape[-1] * factor)
    for start in range(0, len(latents), rows):
        colours = to_colours(torch.tensor(latents[start : start + rows])).clamp(0, 1)
        as_numpy = colours.movedim(1, -1).float().cpu().numpy()
        pictures.append((as_numpy * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def _rows(height: int, width: int) -> int:
    """How many pictures of this size (px) are decoded together."""
    return min(BATCH, max(1, BATCH * BATCHED_SIDE**2 // (height * width)))


def _factor(pipe: DiffusionPipeline) -> int:
    """Pixels a latent, along one side."""
    return int(getattr(pipe, "vae_scale_factor", 1))


def _begun(pipe: DiffusionPipeline, lanes: Lanes, count: int, side: tuple[int, int]) -> Lane:
    """A call for so many pictures of some height and width, at its first step."""
    family = family_of_pipe(pipe)
    every = {
        "prompt": "",
        **({"guidance_scale": family.guidance} if family.guided else {}),
        "num_inference_steps": STEPS,
        "height": side[0],
        "width": side[1],
        "max_area": side[0] * side[1],
        "generator": torch.Generator("cpu"),
        "output_type": "np",
        **family.call,
    }
    lane = lanes.begin(lanes.arguments(every) | lanes.pictures(count))
    while isinstance(lane.wants, Call):
        lane.send(zeros(lane.wants))
    return lane


def _channels(pipe: DiffusionPipeline) -> int:
    """Of latents as they are kept: all of a patch, where a token is one."""
    side = 16 * _factor(pipe)
    sample = _begun(pipe, Lanes(pipe, pipe.scheduler), 1, (side, side)).taken.sample
    return int(family_of_pipe(pipe).unpack(sample, side, side, pipe).shape[1])


def _ending(pipe: DiffusionPipeline) -> _ToColours:
    """How a pipeline ends: what a call of it makes, whose last step leads to the latents."""
    lanes, family = Lanes(pipe, pipe.scheduler), family_of_pipe(pipe)

    fits: list[int] = []  # pixels a latent; where a token is a patch, its side counts too

    def begun(latents: Tensor) -> Lane:
        for factor in fits or [_factor(pipe) << doubled for doubled in range(4)]:
            height, width = (factor * side for side in latents.shape[-2:])
            lane = _begun(pipe, lanes, len(latents), (height, width))
            drawn = family.unpack(lane.taken.sample, height, width, pipe)
            if drawn.shape[2:] == latents.shape[2:]:
                fits[:] = [factor]
                break
        return lane

    def to_colours(latents: Tensor) -> Tensor:
        lane = begun(latents)
        left = len(lane.scheduler.timesteps)
        while lane.wants:
            if isinstance(lane.wants, Taken):
                left -= 1
                sample = lane.wants.sample
                lane.send(sample if left else family.pack(latents, sample).to(sample))
            else:
                lane.send(by_rows(lane.wants) if left == 0 else zeros(lane.wants))
        made = lane.result[0]
        pictures = made[0] if isinstance(made, tuple) else made  # and how deep they are
        colours = torch.tensor(pictures).movedim(-1, 1)
        if colours.shape[1] == 4:  # what can be seen through is seen on white
            colours, opacity = colours.split([3, 1], 1)
            colours = colours * opacity + (1 - opacity)
        return colours.expand(-1, 3, -1, -1)  # grey ones have one channel

    return to_colours


def _way(pipe: DiffusionPipeline) -> Way:
    vae = getattr(pipe, "vae", None)
    if vae is None or isinstance(vae, AutoencoderTiny):
        return "vae"
    channels = next((vae.config[name] for name in CHANNELS if name in vae.config), [LIGHT + 1])
    if channels[0] <= LIGHT:
        return "vae"
    return "tiny" if (_tiny_folder(pipe) / "config.json").is_file() else "linear"


@dataclass(frozen=True)
class _Preview:
    """A cheap decoder of one VAE's latents, and its error against the VAE, RMS of 255."""

    to_colours: _ToColours
    error: float | None


# What was read or fitted for a VAE, as long as that is there.
_tinies: "WeakKeyDictionary[nn.Module, _Preview]" = WeakKeyDictionary()
_linears: "WeakKeyDictionary[nn.Module, _Preview]" = WeakKeyDictionary()


def _tiny_folder(pipe: DiffusionPipeline) -> Path:
    return Path(pipe.config.get("_name_or_path") or "") / TINY


def _tiny(pipe: DiffusionPipeline) -> _Preview:
    if pipe.vae not in _tinies:
        own = copy.copy(pipe)
        vars(own)["vae"] = _read_tiny(_tiny_folder(pipe), pipe.vae)
        _tinies[pipe.vae] = _measured(pipe, _ending(own))
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


def _linear(pipe: DiffusionPipeline) -> _Preview:
    if pipe.vae not in _linears:
        _linears[pipe.vae] = _measured(pipe, _fit(pipe))
    return _linears[pipe.vae]


@torch.inference_mode()
def _measured(pipe: DiffusionPipeline, to_colours: _ToColours) -> _Preview:
    """Such a decoder with its error, on noise that it was not fitted to."""
    noise = _noise(MEASURED, _channels(pipe), seed=1)
    true = _ending(pipe)(noise)
    off = to_colours(noise).float().cpu().clamp(0, 1) - true
    error = float(off.square().mean().sqrt()) * 255
    return _Preview(to_colours, error if isfinite(error) else None)


@torch.inference_mode()
def _fit(pipe: DiffusionPipeline) -> _ToColours:
    """A map from each latent, with its neighbours, to its pixels: least squares on what the VAE
    makes of noise.

    It is linear in the latents and in random features of them (Rahimi & Recht 2007): in the latents
    alone it is worse by half where a VAE is far from linear. Tried on six runs of the bundled
    model, x̂0 against the true pictures, RMS of 255: 36 off in the first five steps, 39 in the last
    half, 39 on noise; of pictures unlike the rest, up to 45. Encoded drawings do no better.
    """
    channels = _channels(pipe)
    generator = torch.Generator("cpu").manual_seed(2)
    near = torch.tensor([0.2, 0.45, 0.2, 0.45, 1.0, 0.45, 0.2, 0.45, 0.2])
    weights = (torch.randn(FEATURES, channels, 9, generator=generator) * near).flatten(1)
    weights = (weights / weights.norm(dim=1, keepdim=True)).double()
    biases = torch.randn(FEATURES, generator=generator).double()

    def features(latents: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, h·w, 9C + FEATURES + 1)"""
        patches = unfold(pad(latents.double(), (1, 1, 1, 1), "replicate"), 3).movedim(1, -1)
        random = (patches @ weights.T + biases).relu()
        return torch.cat([patches, random, torch.ones_like(patches[..., :1])], -1)

    noise = _noise(FITTED, channels, seed=0)
    pixels = _ending(pipe)(noise) * 2 - 1
    inputs = features(noise).flatten(0, 1)
    factor = pixels.shape[-1] // noise.shape[-1]
    targets = pixel_unshuffle(pixels, factor).flatten(2).movedim(1, -1).flatten(0, 1).double()
    gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(inputs.shape[1]).double()
    solution = torch.linalg.solve(gram, inputs.T @ targets / len(inputs))

    def to_colours(latents: Tensor) -> Tensor:
        blocks = (features(latents) @ solution).movedim(1, -1)
        return pixel_shuffle(blocks.unflatten(-1, latents.shape[-2:]), factor) / 2 + 0.5

    return to_colours


def _noise(count: int, channels: int, seed: int) -> Tensor:
    """Noise of every scale up to the whole patch, (count, channels, 8, 8), of `STRENGTHS`; keyed.

    Pictures are as strong at every scale. Each patch comes with its negative: without, the few
    draws of the largest scale lean to one side, and the map depends on the seed.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    scales = []
    for side in (1, 2, 4, 8):
        white = torch.randn(count // 2, channels, side, side, generator=generator)
        scales.append(interpolate(white, size=8, mode="bilinear"))
    patches = torch.stack(scales).sum(0)
    patches *= torch.linspace(*STRENGTHS, len(patches)).view(-1, 1, 1, 1) / patches.std()
    return torch.cat([patches, -patches])
