"""How good the bundled model is, by its own probe.

    python -m training.evaluate diffgrid/assets/monsters --count 500
    python -m training.evaluate OTHER_FOLDER --probe diffgrid/assets/monsters/probe

Prints the probe's accuracy on fresh clean renders, the autoencoder's PSNR on them, and how often
pictures come out as their prompt says: one attribute named, and all of them named. *Unclear* is
wrong.
"""

import argparse
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from diffgrid.models.folder import UNCLEAR
from diffgrid.sampling import classifiers
from training.render import FACTORS, Monster, batch, caption, random_monster
from training.train import DEVICE, psnr

TOGETHER = 20  # pictures a batch
FRESH = 987_654_321  # a seed that no training picture came from


@cache
def load(folder: Path) -> StableDiffusionPipeline:
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    return pipe


def pictures(folder: Path, first_seed: int, prompts: list[str]) -> np.ndarray:
    """(n, 128, 128, 3) uint8; picture i is that of seed first_seed + i."""
    seeds = range(first_seed, first_seed + len(prompts))
    settings = json.loads((folder / "diffgrid.json").read_text("utf-8"))  # those that it ships with
    made = load(folder)(
        prompts,
        guidance_scale=settings["guidance"],
        num_inference_steps=settings["steps"],
        eta=settings["eta"],
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        output_type="np",
    ).images
    return np.asarray((made * 255).round(), dtype=np.uint8)


def sample(folder: Path, prompts: list[str]) -> np.ndarray:
    """Pictures for the prompts, in one process a core."""
    starts = range(0, len(prompts), TOGETHER)
    chunks = [prompts[start : start + TOGETHER] for start in starts]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(partial(pictures, folder), starts, chunks)))


def one_attribute(factor: str, value: str) -> str:
    """A prompt that names this and nothing else."""
    if factor in ("eyes", "mouth", "head"):
        return f"a monster with {value}"
    if factor == "background":
        return f"a monster on a {value} background"
    return f"a {value} monster"


def named(monster: Monster) -> dict[str, str]:
    return {factor: FACTORS[factor][index] for factor, index in monster.items()}


def prompts_for_single(count: int) -> Iterator[tuple[str, dict[str, str]]]:
    """`count` prompts for each factor, its values in turn."""
    for factor, values in FACTORS.items():
        for i in range(count):
            value = values[i % len(values)]
            yield one_attribute(factor, value), {factor: value}


def prompts_for_full(count: int) -> Iterator[tuple[str, dict[str, str]]]:
    rng = random.Random(FRESH)
    for _ in range(count):
        monster = random_monster(rng)
        yield caption(monster, rng, keep=1.0), named(monster)


def shares(
    labels: list[dict[str, str]], wanted: list[dict[str, str]]
) -> dict[str, dict[str, float]]:
    """For each factor, the share of pictures that are as wanted, and of unclear ones."""
    found = {}
    for factor in FACTORS:
        pairs = [
            (seen[factor], want[factor])
            for seen, want in zip(labels, wanted, strict=True)
            if factor in want
        ]
        found[factor] = {
            "right": sum(label == want for label, want in pairs) / len(pairs),
            "unclear": sum(label == UNCLEAR for label, _ in pairs) / len(pairs),
        }
    return found


def sheet(made: np.ndarray, columns: int = 20) -> Image.Image:
    rows = -(-len(made) // columns)
    whole = Image.new("RGB", (columns * 128, rows * 128))
    for i, picture in enumerate(made):
        whole.paste(Image.fromarray(picture), (i % columns * 128, i // columns * 128))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--probe", type=Path, help="default: the folder's own")
    parser.add_argument("--count", type=int, default=500, help="renders, and full prompts")
    parser.add_argument("--single", type=int, default=500, help="samples for each factor alone")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--pictures", type=Path, help="write the full prompts' pictures there")
    options = parser.parse_args()
    probe = classifiers.load(options.probe or options.folder / "probe")
    renders, indices = batch(options.count, FRESH)
    truth = [named(dict(zip(FACTORS, row.tolist(), strict=True))) for row in indices]
    figures: dict[str, object] = {
        "psnr": psnr(load(options.folder).vae.to(DEVICE), renders),
        "probe on clean renders": shares(probe.label(renders), truth),
    }
    print(json.dumps(figures, indent=2), flush=True)
    for name, asked in (
        ("full prompts", list(prompts_for_full(options.count))),
        ("single attributes", list(prompts_for_single(options.single))),
    ):
        if not asked:
            continue
        made = sample(options.folder, [prompt for prompt, _ in asked])
        figures[name] = shares(probe.label(made), [wanted for _, wanted in asked])
        print(json.dumps({name: figures[name]}, indent=2), flush=True)
        if options.pictures and name == "full prompts":
            sheet(made[:200]).save(options.pictures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
