"""Scheduler files as they are published with models: the trunk is what the library makes of them.

Written down from those files: what decides the numbers of a scheduler, and which pipeline it is
published with. A tiny pipeline of that kind takes its place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.sampling import pipelines, preparation
from tests import tiny
from tests.sampling.recorded import final, record

STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
DDPM = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02}
FLUX = {
    "num_train_timesteps": 1000,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "base_shift": 0.5,
    "max_shift": 1.15,
}
EDM = {"sigma_min": 0.002, "sigma_data": 0.5, "prediction_type": "epsilon"}


def published(kind: str, family: str, *sources: Mapping[str, Any], **settings: Any) -> Any:
    return kind, family, {key: v for each in (*sources, settings) for key, v in each.items()}


PUBLISHED = {
    "Stable Diffusion 1.4 and 1.5": published(
        "PNDMScheduler", "stable_diffusion", STABLE_DIFFUSION, skip_prk_steps=True
    ),
    "Stable Diffusion 2.1": published(
        "DDIMScheduler",
        "stable_diffusion",
        STABLE_DIFFUSION,
        prediction_type="v_prediction",
        skip_prk_steps=True,
    ),
    "SDXL": published(
        "EulerDiscreteScheduler",
        "stable_diffusion_xl",
        STABLE_DIFFUSION,
        interpolation_type="linear",
        prediction_type="epsilon",
        timestep_spacing="leading",
        use_karras_sigmas=False,
    ),
    "SDXL Turbo": published(
        "EulerAncestralDiscreteScheduler",
        "turbo_xl",
        STABLE_DIFFUSION,
        prediction_type="epsilon",
        timestep_spacing="trailing",
    ),
    "SDXL Lightning": published(
        "EulerDiscreteScheduler",
        "turbo_xl",
        STABLE_DIFFUSION,
        interpolation_type="linear",
        prediction_type="epsilon",
        timestep_spacing="trailing",
    ),
    "Hyper-SD": published(
        "DDIMScheduler", "stable_diffusion", STABLE_DIFFUSION, timestep_spacing="trailing"
    ),
    "Hyper-SD, one step": published(
        "TCDScheduler", "stable_diffusion", STABLE_DIFFUSION, original_inference_steps=50
    ),
    "Playground 2.5": published(
        "EDMDPMSolverMultistepScheduler",
        "turbo_xl",
        EDM,
        sigma_max=80.0,
        rho=7.0,
        solver_order=2,
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        lower_order_final=True,
        euler_at_final=False,
        final_sigmas_type="zero",
    ),
    "CosXL": published(
        "EDMEulerScheduler",
        "turbo_xl",
        EDM,
        sigma_data=1.0,
        sigma_max=120.0,
        sigma_schedule="exponential",
        prediction_type="v_prediction",
    ),
    "LCM": published(
        "LCMScheduler",
        "latent_consistency",
        STABLE_DIFFUSION,
        original_inference_steps=50,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_scaling=10.0,
        timestep_spacing="leading",
    ),
    "Stable Diffusion 3": published(
        "FlowMatchEulerDiscreteScheduler", "stable_diffusion_3", num_train_timesteps=1000, shift=3.0
    ),
    "Stable Diffusion 3, stochastic": published(
        "FlowMatchEulerDiscreteScheduler",
        "stable_diffusion_3",
        num_train_timesteps=1000,
        shift=3.0,
        stochastic_sampling=True,
    ),
    "Stable Diffusion 3, distilled": published(
        "FlowMatchLCMScheduler", "stable_diffusion_3", num_train_timesteps=1000, shift=3.0
    ),
    "Flux, guided": published(
        "FlowMatchEulerDiscreteScheduler", "flux", FLUX, shift=3.0, use_dynamic_shifting=True
    ),
    "Flux, quick": published(
        "FlowMatchEulerDiscreteScheduler", "flux", FLUX, shift=1.0, use_dynamic_shifting=False
    ),
    "PixArt": published(
        "DPMSolverMultistepScheduler",
        "pixart_sigma",
        DDPM,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
    ),
    "DDPM of faces": published(
        "DDPMScheduler",
        "ddpm",
        DDPM,
        beta_schedule="linear",
        clip_sample=True,
        variance_type="fixed_small",
    ),
}
STEPS, SEED, PROMPT = 7, 3, "a red cat"


def with_scheduler(kind: str, family: str, config: Mapping[str, Any], folder: Path) -> Path:
    """A tiny pipeline's folder that names this scheduler, and holds its file as it is."""
    tiny.save(folder, family=family)
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": kind, **config}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_trunk_is_what_the_library_makes(name: str, tmp_path: Path) -> None:
    kind, family, config = PUBLISHED[name]
    folder = with_scheduler(kind, family, config, tmp_path / "model")
    call = dict(tiny.FAMILIES[family].call)
    plain = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    if family != "ddpm":
        call |= {"prompt": PROMPT, "output_type": "latent"}
    else:
        call |= {"output_type": "pt"}
    torch.manual_seed(SEED)  # of which pipelines make use that hand no generator on
    generator = torch.Generator("cpu").manual_seed(SEED)
    made = plain(**call, num_inference_steps=STEPS, generator=generator).images
    if family == "flux":
        made = plain._unpack_latents(made, call["height"], call["width"], plain.vae_scale_factor)
    chosen: dict[str, Any] = {"prompt": PROMPT} if family != "ddpm" else {}
    chosen |= {key: call[key] for key in ("height", "width") if key in call}
    if "guidance_scale" in call:
        chosen["guidance"] = call["guidance_scale"]
    spec = specify(model=str(folder), steps=STEPS, seed=SEED, **chosen)
    pipe = pipelines.load(folder, "float32", torch.device("cpu"))
    prepared = preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
    trunk = final(record(spec, prepared, {(): spec.length})[0][()])
    if family == "ddpm":
        trunk = (trunk / 2 + 0.5).clip(0, 1)
    assert np.isfinite(trunk).all()
    assert np.array_equal(trunk, made[0].numpy())


def test_noise_that_is_drawn_in_patches_is_refused(tmp_path: Path) -> None:
    kind, family, config = PUBLISHED["Flux, quick"]
    config = {**config, "stochastic_sampling": True}
    folder = with_scheduler(kind, family, config, tmp_path / "model")
    side = tiny.FAMILIES[family].call["height"]
    spec = specify(
        model=str(folder), prompt=PROMPT, steps=STEPS, seed=SEED, height=side, width=side
    )
    pipe = pipelines.load(folder, "float32", torch.device("cpu"))
    with pytest.raises(BadInput, match=r"FlowMatchEuler.* draws noise .* choose another scheduler"):
        preparation.prepare(pipe, spec, pipelines.build_scheduler(spec))
