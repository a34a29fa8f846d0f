"""Latents to pictures: finished ones are the pipeline's own, previews the best cheap ones."""

from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from diffgrid.engine.job import LocalJob
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import ModelError
from diffgrid.models.folder import ASSETS
from diffgrid.models.registry import specify
from diffgrid.records.frames import DIGESTS, FRAMES
from diffgrid.records.frames import decode as picture_of
from diffgrid.sampling import cpu_parallel
from diffgrid.sampling.decoding import TINY, Decoder
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from diffgrid.store.bundled import Bundled
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames
from tests import tiny

SECONDS = 120
PIXELS = ("ddpm", "ddim")


def heavy_vae() -> AutoencoderKL:
    """A VAE too dear for previews, for (4, 8, 8) latents and 32 x 32 pictures."""
    torch.manual_seed(1)
    levels = 3
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=(64,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).eval()


def tiny_vae(latent_channels: int = 4) -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 0),
        latent_channels=latent_channels,
    )


def with_heavy_vae() -> DiffusionPipeline:
    pipe = tiny.stable_diffusion()
    pipe.vae = heavy_vae()
    return pipe


@pytest.fixture
def heavy(tmp_path: Folder) -> Folder:
    """A model's folder whose VAE is too dear for previews."""
    with_heavy_vae().save_pretrained(tmp_path / "heavy")
    return tmp_path / "heavy"


def load(folder: Folder) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True)


def random_latents(rows: int, side: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, 4, side, side)).astype(np.float32)


def images(pipe: DiffusionPipeline, call: dict[str, Any], output_type: str) -> Any:
    prompt = {"prompt": "a red cat"} if hasattr(pipe, "vae") else {}
    generator = torch.Generator("cpu").manual_seed(0)
    made = pipe(
        **prompt,
        **call,
        generator=generator,
        num_inference_steps=2,
        output_type=output_type,
    )
    return made.images


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name not in PIXELS])
def test_a_finished_picture_is_the_pipelines_own(family: str) -> None:
    pipe, call = tiny.FAMILIES[family].build(), dict(tiny.FAMILIES[family].call)
    latents = images(pipe, call, "latent")
    if family == "flux":
        latents = pipe._unpack_latents(
            latents, call["height"], call["width"], pipe.vae_scale_factor
        )
    expected = images(pipe, call, "np")
    assert_allclose(Decoder(pipe).final(latents.numpy()) / 255, expected, atol=1 / 255)


def test_latents_with_a_mean_and_a_deviation_of_their_own_are_decoded_so() -> None:
    pipe, call = tiny.stable_diffusion_xl(), dict(tiny.FAMILIES["stable_diffusion_xl"].call)
    plain = Decoder(pipe).final(images(pipe, call, "latent").numpy())
    pipe.vae.register_to_config(
        latents_mean=[1.0, -1.0, 0.5, 0.0], latents_std=[2.0, 1.0, 3.0, 1.0]
    )
    made = Decoder(pipe).final(images(pipe, call, "latent").numpy())
    assert_allclose(made / 255, images(pipe, call, "np"), atol=1 / 255)
    assert not np.array_equal(made, plain)


@pytest.mark.parametrize("family", PIXELS)
def test_without_a_vae_the_latents_are_the_picture(family: str) -> None:
    pipe = tiny.FAMILIES[family].build()
    expected = images(pipe, {}, "np")
    pixels = np.moveaxis(expected, -1, 1) * 2 - 1
    for make in (Decoder(pipe).final, Decoder(pipe).preview):
        assert_allclose(make(pixels) / 255, expected, atol=0.51 / 255)


def test_grey_pixels_make_a_picture_too() -> None:
    pixels = np.full((2, 1, 4, 6), -1, np.float32)
    assert_array_equal(Decoder(tiny.ddpm()).final(pixels), np.zeros((2, 4, 6, 3), np.uint8))


def test_the_bundled_model_is_previewed_as_it_is_finished() -> None:
    pipe = load(ASSETS / "monsters")
    latents = np.random.default_rng(0).standard_normal((2, 8, 16, 16)).astype(np.float32)
    decoder = Decoder(pipe)
    assert DIGESTS[decoder.way] == FRAMES == "vae-1"
    difference = decoder.preview(latents).astype(int) - decoder.final(latents)
    assert np.abs(difference).max() <= 1  # another number of threads rounds otherwise


@pytest.mark.parametrize(
    ("build", "way"),
    [
        (tiny.ddpm, "vae"),
        (tiny.stable_diffusion, "vae"),  # an AutoencoderTiny
        (tiny.stable_diffusion_xl, "vae"),  # a light one
        (with_heavy_vae, "linear"),
    ],
)
def test_the_model_decides_how_it_is_previewed(
    build: Callable[[], DiffusionPipeline], way: str
) -> None:
    assert Decoder(build()).way == way


def test_a_tiny_autoencoder_beside_the_model_makes_the_previews(heavy: Folder) -> None:
    tiny_vae().save_pretrained(heavy / TINY)
    latents, decoder = random_latents(2), Decoder(load(heavy))
    assert decoder.way == "tiny"
    alone = tiny.stable_diffusion()
    alone.vae = AutoencoderTiny.from_pretrained(heavy / TINY)
    assert_array_equal(decoder.preview(latents), Decoder(alone).final(latents))
    assert not np.array_equal(decoder.preview(latents), decoder.final(latents))


def test_a_tiny_autoencoder_that_does_not_fit_is_an_error(heavy: Folder) -> None:
    tiny_vae(latent_channels=16).save_pretrained(heavy / TINY)
    with pytest.raises(ModelError, match="takes latents of 16 channels, the model's VAE 4"):
        Decoder(load(heavy))
    for weights in (heavy / TINY).glob("*.safetensors"):
        weights.write_bytes(b"cut")
    with pytest.raises(ModelError, match=f"heavy/{TINY} cannot be loaded"):
        Decoder(load(heavy))


def test_linear_previews_of_a_trained_model_have_its_colours_once_a_picture_is_finished() -> None:
    decoder, run = Decoder(load(ASSETS / "monsters")), Bundled().get(key(specify(), ()))
    assert run is not None
    (finished,) = decoder.final(run.latents[-1:])
    late = run.pred_original_sample[run.steps // 4 :: 4]
    true = coarse(decoder.final(late))
    decoder.way = "linear"  # which this model is too small for

    def error(previews: NDArray[np.uint8]) -> float:
        return float(np.abs(coarse(previews) - true).mean())

    learned = decoder.preview(late, (run.latents[-1], finished))
    assert error(learned) < 16
    assert error(learned) < error(decoder.preview(late)) / 2
    again = Decoder(load(ASSETS / "monsters"))
    again.way = "linear"
    assert_allclose(again.preview(late).astype(int), decoder.preview(late).astype(int), atol=1)


def coarse(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """At a latent's resolution: (n, 16, 16, 3)."""
    cut = pictures.reshape(-1, 16, 8, 16, 8, 3)
    return np.asarray(cut.mean(axis=(2, 4)))


@pytest.mark.parametrize(("side", "rows"), [(8, 8), (16, 8), (32, 2), (64, 1), (72, 1)])
def test_fewer_large_pictures_are_decoded_together(
    side: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, seen = tiny.pixart_sigma(), []  # eight pixels a latent, as Stable Diffusion

    def decode(latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.append(len(latents))
        return (torch.zeros(len(latents), 3, 8 * side, 8 * side),)

    monkeypatch.setattr(pipe.vae, "decode", decode)
    monkeypatch.setattr(cpu_parallel, "run", lambda _, function, batch: function(batch))
    assert Decoder(pipe).final(random_latents(9, side)).shape == (9, 8 * side, 8 * side, 3)
    assert max(seen) == rows
    assert sum(seen) == 9


def finish(job: LocalJob) -> LocalJob:
    assert job.wait(SECONDS)
    assert job.snapshot().state == "done", job.snapshot().error
    return job


def test_linear_frames_are_found_by_their_own_name_and_need_no_model(
    heavy: Folder, cache_directory: Folder
) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=4, seed=3)
    store, paths = TrajectoryStore(cache_directory), [(), parse_path("1.0")]
    job = finish(LocalEngine(store, "cpu").submit(spec, paths, noisy=True))
    for path in paths:
        name = key(spec, path)
        assert store.get_frames(name, FRAMES) is None
        assert store.get_frames(name, DIGESTS["linear"]) is not None
        assert stored_frames(store, name) == job.frames(path)
    fresh = LocalEngine(store, "cpu")
    again = fresh.submit(spec, paths, noisy=True)
    assert again.snapshot().state == "done"
    assert again.noisy(paths[1]) == job.noisy(paths[1])
    assert not fresh._models.loaded


def test_a_finished_runs_linear_frames_do_not_depend_on_what_was_sampled_with_it(
    heavy: Folder, tmp_path: Folder
) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=4, seed=3)
    path = parse_path("1.0")
    made = [
        finish(LocalEngine(TrajectoryStore(tmp_path / name), "cpu").submit(spec, paths)).frames(
            path
        )
        for name, paths in {"alone": [path], "later": [(), parse_path("0.1"), path]}.items()
    ]
    for one, other in zip(made[0].x0, made[1].x0, strict=True):
        here, there = (np.asarray(picture_of(data), np.int16) for data in (one, other))
        assert_allclose(here, there, atol=4)  # of 255: rows in a batch round otherwise


def test_the_best_stored_frames_are_found(heavy: Folder, cache_directory: Folder) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=3, seed=3)
    store = TrajectoryStore(cache_directory)
    frames = finish(LocalEngine(store, "cpu").submit(spec, [()])).frames(())
    header, payload = frames.to_payload()
    better = payload[::-1]  # another decoder's; never opened here
    store.add_frames(key(spec, ()), DIGESTS["tiny"], header, better)
    found = stored_frames(store, key(spec, ()))
    assert found is not None
    assert b"".join((*found.x0, found.final)) == better
