"""Classes of which nothing is known but what their call takes: held against the library's own."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffgrid.errors import BadInput
from diffgrid.models.calls import call_of
from diffgrid.models.families import known
from diffgrid.models.families.read import CLASSES
from diffgrid.models.registry import find_model, specify
from diffgrid.sampling.decoding import Decoder
from diffgrid.spec.path import parse_path
from tests import zoo
from tests.sampling import matrix

pytestmark = [
    pytest.mark.slow,
    # The library's own: its networks still make it.
    pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.callback_steps. is deprecated:FutureWarning"),
]


# Guided by perturbed attention, packed, in lists, in five dimensions, with two patches a token,
# with a decoder of another shape, without a VAE's name, with a variance beside its output,
# with a loop of its own for the words.
KINDS = [
    "StableDiffusionPAGPipeline", "ChromaPipeline", "ZImagePipeline", "QwenImagePipeline",
    "Flux2KleinPipeline", "SanaPipeline", "Kandinsky3Pipeline", "HunyuanDiTPAGPipeline",
    "KandinskyV22CombinedPipeline",
]  # fmt: skip


@pytest.fixture(scope="module", params=zoo.CLASSES)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    name: str = request.param
    return name, matrix.save(tmp_path_factory.mktemp("zoo") / name, name)


def test_each_class_that_is_only_read_is_tried() -> None:
    assert sorted(zoo.CLASSES) == sorted(CLASSES)
    assert {*CLASSES} <= {*known()}


@pytest.mark.parametrize("name", KINDS)
def test_trunk_and_branches_are_what_the_library_makes(name: str, tmp_path: Path) -> None:
    """One of each kind: `make matrix` tries all."""
    folder = matrix.save(tmp_path / "model", name)
    assert matrix.check(name, matrix.OWN, folder).failures == []


def test_a_finished_picture_is_the_pipelines_own(built: tuple[str, Path]) -> None:
    name, folder = built
    pipe = matrix.load(folder)
    matrix.options(name, matrix.OWN, folder)  # and what no option of a run names
    call = {"prompt": "a red cat", "num_inference_steps": 2, **zoo.CLASSES[name].call}
    after: list[torch.Tensor] = []
    call |= matrix.noted(call_of(name), after)

    def made(kind: str) -> Any:
        generator = torch.Generator().manual_seed(0)
        whole = pipe(**call, output_type=kind, generator=generator)[0]
        return whole[0] if isinstance(whole, tuple) else whole  # which has a depth beside it

    expected = made("np")
    latents = after[-1] if after else made("latent")
    family = find_model(str(folder)).family
    unpacked = family.unpack(torch.as_tensor(latents), call["height"], call["width"], pipe)
    picture = Decoder(pipe).final(unpacked.numpy())
    if expected.shape[-1] == 4:  # as it is seen on white
        expected = 1 - (1 - expected[..., :3]) * expected[..., 3:]
    np.testing.assert_allclose(picture / 255, expected, atol=1 / 255)


def test_what_goes_back_to_the_start_begins_there(built: tuple[str, Path]) -> None:
    """Its first latents are not those that the call would draw."""
    name, folder = built
    spec = specify(**matrix.options(name, matrix.OWN, folder))
    path = parse_path("1.0-1")
    made, _ = matrix.sample(spec, matrix.least(path, 1))
    first, other = (made[each].model_outputs[0] for each in ((), path))
    assert matrix.distance(first, other) >= matrix.DIFFERS


def test_previews_are_fitted_to_patches_too(tmp_path: Path) -> None:
    name = "QwenImagePipeline"
    folder = matrix.save(tmp_path / "model", name)
    matrix.options(name, matrix.OWN, folder)
    decoder = Decoder(matrix.load(folder))
    assert decoder.way == "linear"
    assert decoder.error is not None
    latents = np.random.default_rng(0).standard_normal((2, 16, 6, 10)).astype(np.float32)
    off = decoder.preview(latents).astype(float) - (finals := decoder.final(latents))
    assert np.sqrt((off**2).mean()) < finals.std()  # of which nothing were known


def test_a_variance_of_the_networks_own_is_refused(tmp_path: Path) -> None:
    name, pipe = "KandinskyV22CombinedPipeline", zoo.kandinsky_2_2()
    pipe.scheduler.register_to_config(variance_type="learned_range")
    pipe.save_pretrained(tmp_path)
    spec = specify(**matrix.options(name, matrix.OWN, tmp_path))
    with pytest.raises(BadInput, match="a variance"):
        matrix.prepare(spec)


def test_what_a_call_takes_is_read_as_python_reads_it(built: tuple[str, Path]) -> None:
    name, folder = built
    every = inspect.signature(matrix.load(folder).__call__).parameters.values()
    parameters = [each for each in every if each.kind != each.VAR_KEYWORD]
    taken = call_of(name)
    assert list(taken) == [each.name for each in parameters]
    plain = {
        each.name: each.default for each in parameters if isinstance(each.default, int | float)
    }
    read = {key for key in plain if taken[key] is not None}  # not those of a constant with a name
    assert {*plain} & {"guidance_scale", "num_inference_steps", "height"} <= read
    assert {key: taken[key] for key in read} == {key: plain[key] for key in read}


def test_a_class_that_is_not_there_takes_nothing() -> None:
    assert call_of("NoSuchPipeline") == {}
    assert call_of("no/such") == {}
