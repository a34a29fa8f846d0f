"""Probes: what a picture shows, factor by factor.

A model's folder may hold one under `probe/`: `config.json` with its factors and their values, and
`model.safetensors`. Each factor has one more class than values, *unclear*.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

UNCLEAR = "unclear"


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
        """The value of each factor, or `unclear`, for pictures (n, 128, 128, 3)."""
        x = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
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


def load(folder: Path) -> Probe:
    """The probe saved in a folder."""
    probe = Probe(**json.loads((folder / "config.json").read_text("utf-8")))
    probe.load_state_dict(load_file(folder / "model.safetensors"))
    return probe


def _reduce(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    """A convolution that halves the side. Group norm: its training batches hold one sort of picture
    each, of which batch norm would remember the last few."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
    return convolution, nn.GroupNorm(8, outputs), nn.ReLU()
