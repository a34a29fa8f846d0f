"""Options that only a pipeline knows: what is made under them is what the library makes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import diffgrid
from diffgrid.errors import BadInput
from diffgrid.models.calls import options_of, read_options
from diffgrid.models.registry import specify
from diffgrid.sampling import pipelines
from diffgrid.spec.run import RunSpec, key
from tests import tiny
from tests.sampling import matrix
from tests.sampling.recorded import final

# Guidance rescaled; by attention whose strength falls with the
# timestep; guidance that ends on the way, so that a later step is another evaluation.
HEEDED: list[tuple[str, dict[str, Any]]] = [
    ("stable_diffusion", {"guidance_rescale": 0.7}),
    ("StableDiffusionPAGPipeline", {"pag_scale": 5.0, "pag_adaptive_scale": 0.004}),
    ("Lumina2Pipeline", {"cfg_trunc_ratio": 0.5, "cfg_normalization": False}),
    ("ZImagePipeline", {"cfg_truncation": 0.5}),
    ("stable_diffusion_xl", {"prompt_2": "a blue dog", "clip_skip": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "option"), HEEDED)
def test_trunk_and_branches_are_the_librarys_with_the_same_options(
    family: str, option: dict[str, Any], tmp_path: Path
) -> None:
    folder = matrix.save(tmp_path / "model", family)
    assert matrix.check(family, matrix.OWN, folder, option=option).failures == []
    chosen = matrix.options(family, matrix.OWN, folder)
    with_it, without = specify(**chosen, option=option), specify(**chosen)
    ends = [final(matrix.sample(spec, {(): spec.length})[0][()]) for spec in (with_it, without)]
    assert matrix.distance(*ends) > matrix.DIFFERS  # or nothing was heeded


def test_layers_of_the_text_encoder_are_left_out(tmp_path: Path) -> None:
    """The library's own call fails with them: transformers' encoder has other levels by now."""
    folder = tiny.save(tmp_path / "model")
    spec = specify(model=str(folder), steps=4, prompt="a red cat", option={"clip_skip": 1})
    ours = final(matrix.sample(spec, {(): spec.length})[0][()])
    pipe = matrix.plain_pipeline(folder)
    tokens = pipe.tokenizer(
        ["a red cat", ""], padding="max_length", truncation=True, return_tensors="pt",
        max_length=pipe.tokenizer.model_max_length,
    ).input_ids  # fmt: skip
    with torch.no_grad():
        layers = pipe.text_encoder(tokens, output_hidden_states=True).hidden_states
        words = pipe.text_encoder.final_layer_norm(layers[-2])[:1]
        none = pipe.text_encoder(tokens).last_hidden_state[1:]
    pipe.scheduler = pipelines.build_scheduler(spec)
    [made] = pipe(
        prompt_embeds=words, negative_prompt_embeds=none, num_inference_steps=4, eta=spec.eta,
        guidance_scale=spec.guidance_scale, height=spec.height, width=spec.width,
        generator=torch.Generator("cpu").manual_seed(spec.seed), output_type="latent",
    ).images.numpy()  # fmt: skip
    assert matrix.distance(ours, made) <= matrix.TRUNK


def test_an_option_is_part_of_the_key_unless_it_is_the_pipelines_default() -> None:
    plain = specify()
    assert key(specify(option="guidance_rescale=0.0"), ()) == key(plain, ())
    one, other = specify(option="guidance_rescale = .70"), specify(option={"guidance_rescale": 0.7})
    assert key(one, ()) == key(other, ()) != key(plain, ())
    assert one.added_words == {"guidance rescale": "0.7"}
    assert RunSpec.from_dict(one.to_dict()) == one
    assert key(specify(option="clip_skip=0"), ()) == key(plain, ())
    assert key(specify(option="clip_skip=1;guidance_rescale=0.7"), ()) == key(
        specify(option={"guidance_rescale": 0.7, "clip_skip": 1}), ()
    )


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("pag_scale=3", "option 'pag_scale' is not taken by StableDiffusionPipeline: use guidance"),
        ("prompt=a cat", "option 'prompt' is not taken by StableDiffusionPipeline"),
        ("latents=0", "option 'latents' is not taken by StableDiffusionPipeline"),
        ("clip_skip=1.5", "option clip_skip '1.5' is not allowed: use a whole number"),
        ("guidance_rescale=high", "option guidance_rescale 'high' is not allowed: use a number"),
        ("guidance_rescale=nan", "option guidance_rescale 'nan' is not allowed: use a number"),
        ("guidance_rescale", "is not allowed: write name=value"),
        ("=1", "is not allowed: write name=value"),
        ("a" * 61 + "=1", "is not allowed: write name=value"),
        ("clip_skip=\x00", "is not allowed: write name=value"),
        (f"clip_skip={'1' * 201}", "is not allowed: write name=value"),
        (";".join(f"a{i}=1" for i in range(21)), "21 options are too many"),
        ({"clip_skip": [1]}, r"option 'clip_skip' \[1\] is not allowed: use a number"),
        ({"clip_skip": "1;guidance_rescale=1"}, "without semicolons"),
        ({"guidance_rescale": f"{'1' * 100};clip_skip=1"}, "without semicolons"),
        ({"clip_skip": 10**5000}, "is not allowed"),
        (5, "option 5 is not allowed: use name=value, or a mapping"),
        (b"clip_skip=1", "use name=value, or a mapping"),
    ],
)
def test_what_a_pipeline_does_not_take_is_refused_before_anything_is_loaded(
    option: Any, words: str
) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        specify(option=option)
    assert str(refused.value).count("\n") == 0
    assert len(str(refused.value)) < 500


def test_what_only_the_pipeline_finds_wrong_is_a_sentence(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    with pytest.raises(BadInput, match=r"option 'clip_skip=99' is not allowed with this model"):
        diffgrid.trajectory(model=str(folder), steps=2, option="clip_skip=99")


def test_what_a_call_takes_is_read_from_its_source() -> None:
    names = {name: each.kinds for name, each in options_of("StableDiffusionXLPipeline").items()}
    assert names["prompt_2"] == ("str",)  # of a text and a list of texts
    assert names["clip_skip"] == ("int",)
    assert {*options_of("SanaPipeline")} == {"clean_caption", "max_sequence_length"}
    assert "skip_layer_guidance_scale" not in options_of("StableDiffusion3Pipeline")
    assert "true_cfg_scale" not in options_of("FluxPipeline")
    assert not [name for name in options_of("Flux2KleinPipeline") if "embeds" in name]
    assert read_options("StableDiffusionXLPipeline", "prompt_2=True; clip_skip=1") == {
        "prompt_2": "True",
        "clip_skip": 1,
    }
    assert not {"sigmas", "ip_adapter_image", "callback_on_step_end", "original_size"} & {*names}
    assert options_of("NoSuchPipeline") == {}
    assert read_options("Lumina2Pipeline", "cfg_normalization=True; cfg_trunc_ratio=0.5") == {
        "cfg_trunc_ratio": 0.5
    }
