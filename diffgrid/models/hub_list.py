"""The models that may be fetched from the Hugging Face hub, each pinned to one revision.

A revision is a commit: its files never change, so nobody who fetches one gets other weights.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPT = "a lighthouse on a cliff at dawn, oil on canvas"


@dataclass(frozen=True)
class HubModel:
    """What can be said of a model before it is here."""

    id: str
    revision: str  # 40 hexadecimal digits
    pipeline: str  # its diffusers class
    side: int  # pixels
    size: int  # bytes to fetch, about
    parameters: int  # about
    licence: str
    variant: str | None = None  # fp16: weights of half the size, where its makers published them
    steps: int = 25
    guidance: float = 7.5
    prompt: str = PROMPT

    @property
    def settings(self) -> dict[str, Any]:
        """What a folder's diffgrid.json would say."""
        names = ("prompt", "steps", "guidance", "licence")
        return {name: getattr(self, name) for name in names}

    @property
    def folder(self) -> Path:
        """Where the hub's cache keeps it, fetched or not."""
        return (
            cache() / f"models--{self.id.replace('/', '--')}" / "snapshots" / self.revision
        ).absolute()


STABILITY = "Stability AI Community"

# Turbo models are distilled to run without guidance. Sizes leave out what is never loaded here:
# safety checkers, single-file copies, other precisions, other frameworks.
HUB_MODELS: tuple[HubModel, ...] = (
    HubModel(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "StableDiffusionPipeline",
        side=512,
        size=2_134_000_000,
        parameters=1_066_000_000,
        licence="CreativeML OpenRAIL-M",
        variant="fp16",
    ),
    HubModel(
        "stabilityai/sd-turbo",
        "b261bac6fd2cf515557d5d0707481eafa0485ec2",
        "StableDiffusionPipeline",
        side=512,
        size=2_581_000_000,
        parameters=1_290_000_000,
        licence=STABILITY,
        variant="fp16",
        steps=4,
        guidance=0.0,
    ),
    HubModel(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "462165984030d82259a11f4367a4eed129e94a7b",
        "StableDiffusionXLPipeline",
        side=1024,
        size=6_941_000_000,
        parameters=3_469_000_000,
        licence="CreativeML OpenRAIL++-M",
        variant="fp16",
        guidance=5.0,
    ),
    HubModel(
        "stabilityai/sdxl-turbo",
        "71153311d3dbb46851df1931d3ca6e939de83304",
        "StableDiffusionXLPipeline",
        side=512,
        size=6_941_000_000,
        parameters=3_469_000_000,
        licence=STABILITY,
        variant="fp16",
        steps=4,
        guidance=0.0,
    ),
    HubModel(
        "SimianLuo/LCM_Dreamshaper_v7",
        "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
        "LatentConsistencyModelPipeline",
        side=768,
        size=4_267_000_000,
        parameters=1_066_000_000,
        licence="MIT",
        steps=4,
        guidance=8.5,
    ),
    HubModel(
        "google/ddpm-cat-256",
        "82ca0d5db4a5ec6ff0e9be8d86852490bc18a3d9",
        "DDPMPipeline",
        side=256,
        size=455_000_000,
        parameters=114_000_000,
        licence="Apache 2.0",
        steps=50,
        guidance=1.0,
        prompt="",
    ),
    HubModel(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "ea42f8cef0f178587cf766dc8129abd379c90671",
        "StableDiffusion3Pipeline",
        side=1024,
        size=15_500_000_000,
        parameters=7_750_000_000,
        licence=STABILITY,
        steps=28,
        guidance=7.0,
    ),
    HubModel(
        "black-forest-labs/FLUX.1-schnell",
        "741f7c3ce8b383c54771c7003378a50191e9efe9",
        "FluxPipeline",
        side=1024,
        size=33_730_000_000,
        parameters=16_870_000_000,
        licence="Apache 2.0",
        steps=4,
        guidance=0.0,
    ),
)


def find_hub_model(name: str) -> HubModel | None:
    """The model of this id, if it may be fetched."""
    return next((model for model in HUB_MODELS if model.id == name), None)


def cache() -> Path:
    """The hub's cache on this machine, as its own library finds it."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    return Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or f"{home}/hub"))


def fetching(hub: HubModel) -> str:
    """What to do to have it."""
    return f"python -m diffgrid models --fetch {hub.id} brings {hub.size / 1e9:.1f} GB"
