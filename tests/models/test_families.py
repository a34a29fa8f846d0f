"""What pipelines make of a folder, and a new family as one file: the one that ARCHITECTURE.md
prints, with a pipeline that is not in the box."""

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderDC,
    FlowMatchEulerDiscreteScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
    StableDiffusionPipeline,
)
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from transformers import Gemma2Config, Gemma2Model

from diffgrid.errors import BadInput
from diffgrid.models.families import FAMILIES, REFUSED, known
from diffgrid.models.families.family import Family
from diffgrid.models.folder import Model
from diffgrid.models.registry import choose_scheduler, find_model, specify
from diffgrid.sampling import pipelines, preparation
from diffgrid.sampling.decoding import Decoder
from diffgrid.spec.schedulers import SCHEDULERS
from tests import tiny
from tests.sampling.recorded import final, record, whole

DOCUMENT = Path(__file__).parents[2] / "ARCHITECTURE.md"
SIDE, STEPS, SEED, PROMPT = 32, 4, 3, "a red cat"


def sana() -> SanaPipeline:
    """A tiny one: (4, 16, 16) latents, 32 x 32 pictures."""
    with pipelines.LOADING, torch.random.fork_rng():
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


OLD = [
    ("DDIMScheduler", {**tiny.GENTLE, "steps_offset": 1}),
    ("DDIMScheduler", {**tiny.GENTLE, "clip_sample": False}),
    ("PNDMScheduler", {**tiny.STABLE_DIFFUSION, "skip_prk_steps": True}),
]


@pytest.mark.filterwarnings("ignore:The configuration file of")  # which is the point
@pytest.mark.parametrize(("scheduler", "config"), OLD)
def test_the_trunk_of_an_old_folder_is_what_the_library_makes(
    scheduler: str, config: dict[str, Any], tmp_path: Path
) -> None:
    folder = tiny.save(tmp_path / "old")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", scheduler]
    (folder / "model_index.json").write_text(json.dumps(index))
    config = {"_class_name": scheduler, "_diffusers_version": "0.6.0", **config}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    unet = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(
        json.dumps({**unet, "_diffusers_version": "0.6.0.dev0"})
    )
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert find_model(str(folder)).side == pipe.unet.config.sample_size * pipe.vae_scale_factor

    spec = specify(
        model=str(folder), prompt=PROMPT, steps=STEPS, seed=SEED, height=SIDE, width=SIDE
    )
    loaded = pipelines.load(folder, "float32", torch.device("cpu"))
    prepared = preparation.prepare(loaded, spec, pipelines.build_scheduler(spec))
    made, _ = record(spec, prepared, whole(spec, "trunk"))
    (latents,) = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
        guidance_scale=spec.guidance_scale,
        height=SIDE,
        width=SIDE,
    ).images
    np.testing.assert_array_equal(final(made[()]), latents.numpy())


def settings(config: Any) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


# What a folder says of the settings that some pipelines mend.
TOLD = [{}, {"steps_offset": 0, "clip_sample": True}, {"steps_offset": 1, "clip_sample": False}]
OTHERS = {"PNDMScheduler": "ddim", "DDIMScheduler": "heun", "EulerDiscreteScheduler": "lcm"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler")  # which is the point
@pytest.mark.parametrize("told", TOLD, ids=["silent", "old", "today's"])
@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if not name.startswith("turbo")])
def test_schedulers_are_what_the_pipeline_makes_of_them(
    family: str, told: dict[str, Any], tmp_path: Path
) -> None:
    """Each class as the folder's own; of some, another that is made of it."""
    pipe = tiny.FAMILIES[family].build()
    name = type(pipe).__name__
    (tmp_path / "scheduler").mkdir()
    index = {"_class_name": name, "scheduler": ["diffusers", "DDIMScheduler"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    goes = [kind.class_name for kind in SCHEDULERS if kind.flow == FAMILIES[name].flow]
    for own in dict.fromkeys(goes if FAMILIES[name].mends else goes[:3]):
        made = getattr(diffusers, own).from_config(told)
        theirs = type(pipe)(**{**pipe.components, "scheduler": made}).scheduler
        config = {"_class_name": own, "_diffusers_version": "0.6.0", **told}
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
        model = Model(own, tmp_path)
        kind, ours = choose_scheduler(model, None)
        assert kind.class_name == type(theirs).__name__
        assert settings(type(theirs).from_config(ours).config) == settings(theirs.config)
        if other := OTHERS.get(own):
            named, ours = choose_scheduler(model, other)
            build = getattr(diffusers, named.class_name).from_config
            expected = build(theirs.config, **named.adds).config
            assert settings(build(ours).config) == settings(expected)


def test_of_each_class_that_makes_pictures_of_words_it_is_known_whether_it_runs_and_why_not() -> (
    None
):
    every = {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    assert every <= {*known(), *REFUSED}
    assert not REFUSED.keys() & {*known()}
    assert len(known()) >= 45
    told = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text()
    for name, reason in REFUSED.items():
        (line,) = (each for each in told.splitlines() if f"`{name}`" in each)
        assert line.endswith(f": {reason}.")


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("KolorsPipeline", r"which is not supported \(it needs the package sentencepiece"),
        ("StableDiffusionXLImg2ImgPipeline", "use one of .* others, such as StableDiffusionXL"),
    ],
)
def test_a_class_that_cannot_run_is_one_sentence(pipeline: str, words: str, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": pipeline}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=words) as refused:
        find_model(str(folder))
    assert len(str(refused.value)) < 400
