"""Probes: what a picture shows, factor by factor.

A model's folder may hold one under `probe/`: `config.json` with its factors and their values, and
`model.safetensors`. Each factor has one more class than values, *unclear*. Pictures of other models
are labelled by their colours.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffgrid.errors import ModelError
from diffgrid.models.folder import COLOURS, UNCLEAR
from diffgrid.models.json_file import read_json

PICTURE_SIDE = 128  # px, of the pictures it was trained on


class Probe(nn.Module):
    """Pictures (n, 3, 128, 128) in -1 … 1 -> for each factor logits (n, values + 1)."""

    def __init__(self, factors: Mapping[str, Sequence[str]], width: int = 32) -> None:
        super().__init__()
        self.factors = {name: tuple(values) for name, values in factors.items()}
        self.width = w = width
        self.features = nn.Sequential(
            *_reduce(3, w, 5),
            *_reduce(w, w, 3),
            *_reduce(w, 2 * w, 3),
            *_reduce(2 * w, 4 * w, 3),
            nn.Conv2d(4 * w, w, 1),
            nn.Flatten(),
            nn.Linear(w * 64, 4 * w),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Linear(4 * w, len(v) + 1) for v in self.factors.values())

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = self.features(pictures)
        return [head(features) for head in self.heads]

    @torch.inference_mode()
    def label(self, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
        """The value of each factor, or `unclear`, for pictures (n, H, W, 3)."""
        x = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        if x.shape[2:] != (PICTURE_SIDE, PICTURE_SIDE):
            x = nn.functional.interpolate(x, (PICTURE_SIDE, PICTURE_SIDE), mode="area")
        found = [logits.argmax(1).tolist() for logits in self(x)]
        names = [(*values, UNCLEAR) for values in self.factors.values()]
        return [
            {
                factor: names[i][classes[row]]
                for i, (factor, classes) in enumerate(zip(self.factors, found, strict=True))
            }
            for row in range(len(pictures))
        ]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"factors": self.factors, "width": self.width}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        save_file(self.state_dict(), folder / "model.safetensors")


class Colours:
    """Labels by mean colour, of the picture and of its middle: for models that bring no probe."""

    def __init__(self) -> None:
        self.named: dict[str, list[int]] = read_json(COLOURS)

    def label(self, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
        """The nearest of a few named colours, for pictures (n, H, W, 3)."""
        height, width = pictures.shape[1:3]
        top, left = height // 4, width // 4
        middles = pictures[:, top : height - top, left : width - left]
        return [
            {"colour": self._nearest(picture), "middle": self._nearest(middle)}
            for picture, middle in zip(pictures, middles, strict=True)
        ]

    def _nearest(self, picture: NDArray[np.uint8]) -> str:
        mean, named = picture.reshape(-1, 3).mean(0), self.named
        return min(named, key=lambda name: float(np.square(mean - named[name]).sum()))


class Labels(Protocol):
    """What a probe does."""

    def label(self, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
        """The value of each factor, for pictures (n, H, W, 3)."""


def find(folder: Path) -> Labels:
    """The model's own probe, or the one by colours."""
    own = folder / "probe"
    return load(own) if (own / "config.json").is_file() else Colours()


def looked_at_again(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pictures (n, H, W, 3), moved by one pixel: how far is a probe to be trusted?"""
    edges = np.pad(pictures, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="edge")
    return edges[:, :-1, :-1]


def load(folder: Path) -> Probe:
    """The probe saved in a folder.

    Raises:
        BadInput, ModelError: its configuration, or its weights, are not a probe's.
    """
    told = read_json(folder / "config.json", factors=dict[str, list[str]], width=int)
    try:
        probe = Probe(told["factors"], told["width"])
        probe.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # libraries raise what they like at damaged files
        raise ModelError(
            f"the probe in {folder} is damaged: fetch or copy its files again, or remove it."
        ) from error
    return probe


def _reduce(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    """A convolution that halves the side. Group norm: its training batches hold one sort of picture
    each, of which batch norm would remember the last few."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
    return convolution, nn.GroupNorm(8, outputs), nn.ReLU()
