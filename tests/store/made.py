"""Trajectories of numbers that only a seed decides, a store in memory, and other versions of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffgrid.errors import BadInput
from diffgrid.records import codec
from diffgrid.records.trajectories import Trajectory, to_bytes
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import scheduler_of
from diffgrid.store.bundled import Bundled
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.memory import MemoryShelf
from diffgrid.store.shelf import Shelves

SPEC = RunSpec(
    model="monsters",
    digest="ab" * 32,
    prompt="a spotted green monster",
    negative_prompt="",
    guidance_scale=3.0,
    scheduler="DDIMScheduler",
    scheduler_config="{}",
    num_inference_steps=6,
    eta=1.0,
    seed=7,
    height=64,
    width=64,
)


def trajectory(seed: int = 7, path: str = "trunk", steps: int = 6, side: int = 32) -> Trajectory:
    """At side 32 it takes 213 kB, a file; at 4, a row."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((7, 4, side, side)).astype(np.float32)
    return Trajectory(
        spec=replace(SPEC, seed=seed),
        path=parse_path(path),
        latents=latents[: steps + 1],
        model_outputs=-latents[:steps],
        timesteps=np.linspace(999, 0, 6),
        alphas=np.linspace(0.1, 1, 7),
        sigmas=np.linspace(1, 0, 7),
        prediction_type="epsilon",
    )


def same(one: Trajectory | None, other: Trajectory | None) -> bool:
    return one is not None and other is not None and to_bytes(one) == to_bytes(other)


def flipped(value: bytes, place: int = -1) -> bytes:
    """The value with one bit of one byte changed."""
    changed = bytearray(value)
    changed[place] ^= 1
    return bytes(changed)


def shelves_in_memory(
    directory: Path, limit: int, saved_limit: int, imported_limit: int, doubtful: bool = False
) -> Shelves:
    kept = MemoryShelf(saved_limit, evict=False), MemoryShelf(imported_limit, evict=False)
    return Shelves(MemoryShelf(limit), *kept, leave=lambda: None)


def store_in_memory(bundled: Bundled | None = None) -> TrajectoryStore:
    """A store that touches no disk, for whoever tests something else."""
    shelves = shelves_in_memory(Path("memory"), 10**9, 10**9, 10**9)
    return TrajectoryStore(Path("memory"), bundled=bundled, shelves=lambda *_: shelves)


# Until the patch is undone, diffgrid is another version of itself.


def with_another_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = scheduler_of(SPEC.scheduler)
    monkeypatch.setattr("diffgrid.spec.run.scheduler_of", lambda _: replace(ours, version=7))


def with_another_field(monkeypatch: pytest.MonkeyPatch) -> None:
    from_dict = RunSpec.from_dict

    def needs_another(values: Mapping[str, Any]) -> RunSpec:
        if "clip_skip" not in values:
            raise BadInput("a run specification lacks clip_skip.")
        return from_dict(values)

    monkeypatch.setattr(RunSpec, "from_dict", needs_another)


def with_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "LAYOUT", 2)


OTHER_VERSIONS: list[Callable[[pytest.MonkeyPatch], None]] = [
    with_another_sampler,
    with_another_field,
    with_another_layout,
]
