"""Write what training made as the folder that ships: the pipeline, its probe, its settings.

python -m training.export --out diffgrid/assets/monsters
"""

import argparse
import json
from pathlib import Path

import torch

from training import parts
from training.train import WORK, Denoiser, scaling_factor

SETTINGS = {
    "prompt": "a monster with a hat on a blue background",
    "steps": 25,
    "guidance": 3.0,
    "eta": 1.0,
    "licence": "MIT",
    # How a prompt is put together of words for its factors, in the order of the captions.
    "sentence": {
        "adjectives": ["shape", "pattern", "body"],
        "noun": "monster",
        "parts": ["eyes", "mouth", "head"],
        "place": "background",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    vae, denoiser, probe = parts.autoencoder(), Denoiser(), parts.probe()
    for name, network in (("autoencoder", vae), ("denoiser", denoiser), ("probe", probe)):
        if (weights := options.work / f"{name}.pt").exists():
            network.load_state_dict(torch.load(weights, map_location="cpu"))
        else:
            raise SystemExit(f"{weights} is missing: run `python -m training.train` first.")
    latents, _ = torch.load(next(options.work.glob("latents-0-of-*.pt")))
    vae.register_to_config(scaling_factor=scaling_factor(latents))
    parts.save_pipeline(vae, denoiser.text_encoder, denoiser.unet, options.out)
    probe.save(options.out / "probe")
    (options.out / "diffgrid.json").write_text(json.dumps(SETTINGS, indent=2) + "\n", "utf-8")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
