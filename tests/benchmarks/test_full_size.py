"""The benchmark's architectures are the published ones, and its folders are whole."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffgrid
from benchmarks import full_size
from benchmarks.full_size import ARCHITECTURES, IDS, Architecture
from diffgrid.engine.local import LocalEngine
from diffgrid.store.forgiving import TrajectoryStore

pytestmark = pytest.mark.slow

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"block_out_channels": [64] * 4, "cross_attention_dim": 32},
    "vae": {"block_out_channels": [32] * 4},
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    },
}


def shrunk(architecture: Architecture) -> Architecture:
    """The same with narrow networks."""
    networks = {
        name: replace(part, config={**part.config, **SMALL[name]})
        for name, part in architecture.networks.items()
    }
    return replace(architecture, networks=networks)


@pytest.mark.parametrize(
    ("name", "network"),
    [(name, network) for name, each in ARCHITECTURES.items() for network in each.networks],
)
def test_a_network_has_the_published_number_of_parameters(name: str, network: str) -> None:
    part = ARCHITECTURES[name].networks[network]
    assert full_size.count(full_size.on_meta(part)) == part.parameters


def test_the_tokenizer_has_clips_ids() -> None:
    tokenizer = full_size.tokenizer("!")
    ids = tokenizer("A red lighthouse, 灯台!", padding="max_length", truncation=True).input_ids
    assert len(tokenizer) == IDS
    assert len(ids) == full_size.TOKENS
    assert (ids[0], max(ids), ids[-1]) == (IDS - 2, IDS - 1, tokenizer.convert_tokens_to_ids("!"))
    assert len(set(ids)) > 10


def test_a_folder_is_written_and_sampled(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    full_size.write(folder, shrunk(ARCHITECTURES["sd15"]), "float32")
    assert json.loads((folder / "model_index.json").read_text())["unet"][0] == "diffusers"
    made = diffgrid.trajectory(
        model=str(folder),
        prompt="a lighthouse",
        steps=2,
        height=64,
        width=64,
        scheduler="ddim",
        engine=LocalEngine(TrajectoryStore(tmp_path / "cache"), "cpu"),
    )
    assert np.isfinite(made.latents).all()
    assert made.image.size == (64, 64)
