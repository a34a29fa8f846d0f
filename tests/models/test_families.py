"""A new family is one file: the one that ARCHITECTURE.md prints, with a pipeline that is not in
the box."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderDC,
    FlowMatchEulerDiscreteScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from transformers import Gemma2Config, Gemma2Model

from diffgrid.models.families import FAMILIES
from diffgrid.models.families.family import Family
from diffgrid.models.registry import find_model, specify
from diffgrid.sampling import pipelines, preparation
from diffgrid.sampling.decoding import Decoder
from tests import tiny
from tests.sampling.recorded import final, record, whole

DOCUMENT = Path(__file__).parents[2] / "ARCHITECTURE.md"
SIDE, STEPS, SEED, PROMPT = 32, 4, 3, "a red cat"


def sana() -> SanaPipeline:
    """A tiny one: (4, 16, 16) latents, 32 x 32 pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            sample_size=SIDE // 2,
        )
        vae = AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            scaling_factor=0.41407,
        )
        text_encoder = Gemma2Model(
            Gemma2Config(
                vocab_size=len(tiny.WORDS),
                hidden_size=8,
                intermediate_size=16,
                head_dim=4,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
            )
        )
    return SanaPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tiny._tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The family that the document prints."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    monkeypatch.setattr(Family, "kinds", [])
    exec(code, {"__name__": "printed"})
    (kind,) = Family.kinds
    monkeypatch.setitem(FAMILIES, kind.pipeline, kind())
    return FAMILIES[kind.pipeline]


def test_the_family_that_is_printed_makes_what_diffusers_makes(
    printed: Family, tmp_path: Path
) -> None:
    sana().save_pretrained(tmp_path / "sana")
    pipe = SanaPipeline.from_pretrained(tmp_path / "sana")
    pipe.set_progress_bar_config(disable=True)
    assert find_model(str(tmp_path / "sana")).side == SIDE
    spec = specify(model=str(tmp_path / "sana"), prompt=PROMPT, steps=STEPS, seed=SEED)
    loaded = pipelines.load(tmp_path / "sana", "float32", torch.device("cpu"))
    prepared = preparation.prepare(loaded, spec, pipelines.build_scheduler(spec))
    made, _ = record(spec, prepared, whole(spec, "trunk", "1.0"))
    latents, expected = (
        pipe(
            PROMPT,
            num_inference_steps=STEPS,
            generator=torch.Generator("cpu").manual_seed(SEED),
            output_type=kind,
            height=SIDE,
            width=SIDE,
            **printed.call,
        ).images[0]
        for kind in ("latent", "np")
    )
    np.testing.assert_allclose(final(made[()]), latents.numpy(), atol=1e-5)
    (picture,) = Decoder(loaded).final(final(made[()])[None])
    np.testing.assert_allclose(picture / 255, expected, atol=1 / 255)
