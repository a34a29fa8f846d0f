"""Latents to pictures: finished ones are the pipeline's own, previews the best cheap ones."""

from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from diffgrid.engine.job import LocalJob
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import Busy, ModelError
from diffgrid.limits import Limits
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
from diffgrid.store.pictures import stored_exact, stored_frames
from tests import tiny

SECONDS = 120
PIXELS = ("ddpm", "ddim")


def tiny_vae(latent_channels: int = 4) -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 0),
        latent_channels=latent_channels,
    )


@pytest.fixture
def heavy(tmp_path: Folder) -> Folder:
    """A model's folder whose VAE is too dear for previews."""
    tiny.heavy().save_pretrained(tmp_path / "heavy")
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
    pixels = np.full((2, 1, 16, 16), -1, np.float32)
    assert_array_equal(Decoder(tiny.ddpm(1)).final(pixels), np.zeros((2, 16, 16, 3), np.uint8))


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
        (tiny.heavy, "linear"),
    ],
)
def test_the_model_decides_how_it_is_previewed(
    build: Callable[[], DiffusionPipeline], way: str
) -> None:
    assert Decoder(build()).way == way


@pytest.mark.parametrize("family", ["stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_every_familys_latents_have_linear_previews(family: str) -> None:
    pipe = tiny.FAMILIES[family].build()
    decoder = Decoder(pipe)
    decoder.way = "linear"  # which its VAE is too small for
    latents = np.random.default_rng(0).standard_normal((2, pipe.vae.config.latent_channels, 6, 10))
    assert decoder.error is not None
    finals = decoder.final(latents.astype(np.float32))
    assert decoder.preview(latents.astype(np.float32)).shape == finals.shape
    assert off(decoder, latents.astype(np.float32)) < finals.std()  # of which nothing were known


def test_a_tiny_autoencoder_beside_the_model_makes_the_previews(heavy: Folder) -> None:
    tiny_vae().save_pretrained(heavy / TINY)
    latents, decoder = random_latents(2), Decoder(load(heavy))
    assert decoder.way == "tiny"
    alone = tiny.stable_diffusion()
    alone.vae = AutoencoderTiny.from_pretrained(heavy / TINY)
    assert_array_equal(decoder.preview(latents), Decoder(alone).final(latents))
    assert off(decoder, latents) == pytest.approx(decoder.error, rel=0.3)


def test_a_tiny_autoencoder_that_does_not_fit_is_an_error(heavy: Folder) -> None:
    tiny_vae(latent_channels=16).save_pretrained(heavy / TINY)
    with pytest.raises(ModelError, match="takes latents of 16 channels, the model's VAE 4"):
        Decoder(load(heavy))
    for weights in (heavy / TINY).glob("*.safetensors"):
        weights.write_bytes(b"cut")
    with pytest.raises(ModelError, match=f"heavy/{TINY} cannot be loaded"):
        Decoder(load(heavy))


def linear_monsters() -> Decoder:
    decoder = Decoder(load(ASSETS / "monsters"))
    decoder.way = "linear"  # which this model is too small for
    return decoder


def off(decoder: Decoder, latents: NDArray[np.float32]) -> float:
    """How far previews are from the pipeline's own pictures, RMS of 255."""
    difference = decoder.preview(latents).astype(float) - decoder.final(latents)
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.slow
def test_linear_previews_of_a_trained_model_are_as_far_off_as_they_say() -> None:
    decoder, run = linear_monsters(), Bundled().get(key(specify(), ()))
    assert run is not None
    assert decoder.error is not None
    x0 = run.pred_original_sample
    assert decoder.error < 41
    for some in (x0[:5], x0[5::5], run.latents[-1:]):
        assert off(decoder, some) == pytest.approx(decoder.error, rel=0.2)
    again = linear_monsters()
    assert again.error == pytest.approx(decoder.error, rel=1e-3)
    assert_allclose(again.preview(x0[::4]).astype(int), decoder.preview(x0[::4]), atol=1)


@pytest.mark.parametrize("build", [linear_monsters, lambda: Decoder(tiny.heavy())])
def test_equal_latents_have_equal_previews_whatever_is_decoded_with_them(
    build: Callable[[], Decoder],
) -> None:
    decoder = build()
    channels = decoder._pipe.vae.config.latent_channels
    latents = np.random.default_rng(0).standard_normal((9, channels, 16, 16)).astype(np.float32)
    together = decoder.preview(latents)
    for one, picture in zip(latents, together, strict=True):
        assert_array_equal(decoder.preview(one[None])[0], picture)


@pytest.mark.parametrize(("side", "rows"), [(8, 8), (16, 8), (32, 2), (64, 1), (72, 1)])
def test_fewer_large_pictures_are_decoded_together(
    side: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, seen = tiny.pixart_sigma(), []  # eight pixels a latent, as Stable Diffusion

    def decode(latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        seen.append(len(latents))
        return (torch.zeros(len(latents), 3, 8 * side, 8 * side),)

    monkeypatch.setattr(pipe.vae, "decode", decode)
    monkeypatch.setattr(cpu_parallel, "run", lambda _, function, batch, __: function(batch))
    assert Decoder(pipe).final(random_latents(9, side)).shape == (9, 8 * side, 8 * side, 3)
    assert max(seen) == rows
    assert sum(seen) == 9


def finish(job: LocalJob) -> LocalJob:
    assert job.wait(SECONDS)
    assert job.snapshot().state == "done", job.snapshot().error
    return job


@pytest.mark.slow
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


@pytest.mark.slow
def test_equal_latents_have_equal_pictures_at_every_step_of_trunks_and_branches(
    heavy: Folder, cache_directory: Folder
) -> None:
    engine = LocalEngine(TrajectoryStore(cache_directory), "cpu")
    branches = [parse_path(text) for text in ("1.0", "1.1", "2.0")]
    drawn: dict[bytes, set[bytes]] = {}
    for seed in range(3):
        spec = specify(model=str(heavy), prompt="a red cat", steps=4, seed=seed)
        for paths in ([()], [*branches, ()]):  # what is stored, and what is sampled beside it
            job = finish(engine.submit(spec, paths))
        for path in paths:
            run, frames = job.result(path)
            assert frames.decoding.way == "linear"
            for x0, picture in zip(run.pred_original_sample, frames.x0, strict=True):
                drawn.setdefault(x0.tobytes(), set()).add(picture)
    assert len(drawn) == 3 * (4 + 2 * 2 + 1)  # a branch shares x̂0 up to its fork
    assert all(len(pictures) == 1 for pictures in drawn.values())


def exact_pictures(folder: Folder, latents: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """What the model's full VAE makes of these, one by one."""
    decoder = Decoder(load(folder))
    return [decoder.final(each[None])[0] for each in latents]


@pytest.mark.slow
def test_what_is_called_exact_are_the_full_vaes_pictures_and_is_made_once(
    heavy: Folder, cache_directory: Folder
) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=3, seed=3)
    store = TrajectoryStore(cache_directory)
    engine = LocalEngine(store, "cpu")
    rough = finish(engine.submit(spec, [()])).frames(())
    with pytest.raises(Busy):  # a picture counts as an evaluation
        engine.submit(spec, [()], exact=True, limits=Limits(max_evaluations=2))
    job = finish(engine.submit(spec, [()], exact=True))
    run, frames = job.result(())
    assert (job.snapshot().decoded, job.snapshot().to_decode, job.snapshot().sampled) == (3, 3, 0)
    assert frames.decoding.way == "exact"
    assert not frames.decoding.note
    assert frames.final == rough.final
    for picture, true in zip(
        frames.x0, exact_pictures(heavy, run.pred_original_sample), strict=True
    ):
        # Another number of threads rounds otherwise.
        assert_allclose(np.asarray(picture_of(picture), int), true, atol=1)
    fresh = LocalEngine(store, "cpu")
    assert fresh.submit(spec, [()], exact=True).snapshot().state == "done"
    assert fresh.submit(spec, [()], exact=True).frames(()) == frames
    assert fresh.submit(spec, [()]).frames(()) == rough  # beside siblings in previews
    assert not fresh._models.loaded


@pytest.mark.slow
def test_exact_pictures_that_were_made_are_kept_when_the_rest_is_cancelled_and_shared(
    heavy: Folder, cache_directory: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=4, seed=3)
    store = TrajectoryStore(cache_directory)
    engine = LocalEngine(store, "cpu")
    branch = parse_path("2.0")
    finish(engine.submit(spec, [(), branch]))
    made: list[int] = []
    final = Decoder.final

    def counted(decoder: Decoder, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        made.append(len(latents))
        if len(made) == 2:
            jobs[0].cancel()
        return final(decoder, latents)

    with engine._change:  # the worker waits until the job is here
        jobs = [engine.submit(spec, [()], exact=True)]
        monkeypatch.setattr(Decoder, "final", counted)
    assert jobs[0].wait(SECONDS)
    assert jobs[0].snapshot().state == "cancelled"
    assert made == [1, 1]
    assert sorted(stored_exact(store, key(spec, ()), 4)) == [0, 1]
    finish(engine.submit(spec, [()], exact=True))
    assert made == [1] * 4
    finish(engine.submit(spec, [branch], exact=True))
    assert made == [1] * 5  # up to its fork it has its parent's
    assert len(stored_exact(store, key(spec, branch), 4)) == 4


def test_what_was_never_in_previews_is_not_decoded_again(cache_directory: Folder) -> None:
    engine = LocalEngine(TrajectoryStore(cache_directory, bundled=Bundled()), "cpu")
    job = engine.submit(specify(), [()], exact=True)
    assert job.snapshot().state == "done"
    assert job.frames(()).decoding.way == "vae"


@pytest.mark.slow
def test_the_error_that_is_shown_is_the_measured_one(
    heavy: Folder, cache_directory: Folder
) -> None:
    store = TrajectoryStore(cache_directory)
    spec = specify(model=str(heavy), prompt="a red cat", steps=3, seed=3)
    job, decoder = finish(LocalEngine(store, "cpu").submit(spec, [()])), Decoder(load(heavy))
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 4, 8, 8)) * np.linspace(0.7, 2, 8)[:, None, None, None]
    assert decoder.error is not None
    assert off(decoder, noise.astype(np.float32)) == pytest.approx(decoder.error, rel=0.3)
    found = stored_frames(store, key(spec, ()))
    assert found is not None
    for decoding in (found.decoding, job.frames(()).decoding):
        assert decoding.error == pytest.approx(decoder.error, rel=1e-3)
        assert f"about {decoder.error:.0f} of 255 off" in decoding.note
        assert decoding.seconds is not None
    assert job.snapshot().decoding.note == found.decoding.note


@pytest.mark.slow
def test_an_older_versions_previews_are_shown_as_such_until_a_model_draws_them_anew(
    heavy: Folder, cache_directory: Folder
) -> None:
    spec = specify(model=str(heavy), prompt="a red cat", steps=3, seed=3)
    store, paths = TrajectoryStore(cache_directory), [(), parse_path("1.0")]
    made = finish(LocalEngine(store, "cpu").submit(spec, paths))
    for path in paths:
        name, (header, payload) = key(spec, path), made.frames(path).to_payload()
        store._runs.delete(f"{name}/frames/{DIGESTS['linear']}")
        lengths = {"x0": header["x0"][::-1], "final": header["final"]}
        older = b"".join([*made.frames(path).x0[::-1], made.frames(path).final])
        store.add_frames(name, "linear-1", lengths, older)
        assert len(older) == len(payload)
        found = stored_frames(store, name)
        assert found is not None
        assert found.decoding.outdated
        assert "older version" in found.decoding.note
    assert all(info.has_frames for info in store.runs())
    heavy.rename(heavy.with_name("gone"))
    engine = LocalEngine(store, "cpu")
    job = engine.submit(spec, paths, trust=True)
    assert job.wait(SECONDS)
    assert job.snapshot().state == "failed"
    assert all(view.done for view in job.snapshot().paths.values())
    assert job.result(paths[1])[1].decoding.outdated
    heavy.with_name("gone").rename(heavy)
    job = finish(engine.submit(spec, paths, trust=True))
    assert job.snapshot().to_sample == 0
    for path in paths:
        assert job.frames(path).x0 == made.frames(path).x0
        assert stored_frames(store, key(spec, path)) == job.frames(path)


@pytest.mark.slow
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


@pytest.mark.slow
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
