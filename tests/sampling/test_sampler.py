"""The sampler against plain diffusers, against itself, and against exact Gaussian data."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path as Folder

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from diffgrid.models.folder import ASSETS
from diffgrid.models.registry import scheduler_name, specify
from diffgrid.sampling import decoding, noise, pipelines, preparation
from diffgrid.sampling.adapters import adapt
from diffgrid.sampling.preparation import Prepared, Standing
from diffgrid.spec import options
from diffgrid.spec.options import Option
from diffgrid.spec.path import Fork, Path, minimum, parse_path
from diffgrid.spec.run import RunSpec
from diffgrid.spec.schedulers import SCHEDULERS
from tests import tiny
from tests.sampling.plain import first_call, in_batches
from tests.sampling.recorded import final, record, whole

pytestmark = pytest.mark.slow

EVERY_SCHEDULER = [
    "ddpm", "ddim", "euler", "euler_ancestral", "dpmsolver", "dpmsolver_sde", "unipc", "lcm"
]  # fmt: skip
DETERMINISTIC = ["ddim", "euler", "dpmsolver", "unipc"]
STOCHASTIC = ["ddpm", "ddim", "euler_ancestral", "dpmsolver_sde", "lcm"]
STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


@lru_cache(maxsize=4)
def load(folder: Folder) -> DiffusionPipeline:
    return pipelines.load(folder, "float32", torch.device("cpu"))


def spec_for(folder: Folder | str, **chosen: object) -> RunSpec:
    values: dict[str, object] = {"prompt": "a red cat", "steps": STEPS, "seed": 3} | chosen
    return specify(model=str(folder), **values)  # type: ignore[arg-type]


def prepare(spec: RunSpec, folder: Folder) -> Prepared:
    return preparation.prepare(load(folder), spec, pipelines.build_scheduler(spec))


@lru_cache(maxsize=4)
def plain_pipeline(folder: Folder) -> DiffusionPipeline:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def plain_diffusers(
    spec: RunSpec, folder: Folder, eta: float, output_type: str = "latent"
) -> torch.Tensor:
    """What the library makes by itself, as its documentation says to change schedulers."""
    pipe = plain_pipeline(folder)
    own = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    kind = next(s for s in SCHEDULERS if s.name == scheduler_name(spec))
    pipe.scheduler = getattr(diffusers, kind.class_name).from_config(own, **kind.adds)
    made: torch.Tensor = pipe(
        spec.prompt,
        negative_prompt=spec.negative_prompt or None,
        guidance_scale=spec.guidance_scale,
        num_inference_steps=spec.num_inference_steps,
        eta=eta,
        generator=torch.Generator("cpu").manual_seed(spec.seed),
        output_type=output_type,
    ).images
    return made


# --- the trunk is the picture that plain diffusers makes
# -------------------------------------------


@pytest.mark.parametrize("scheduler", ["euler_ancestral", "dpmsolver"])
@pytest.mark.parametrize(("seed", "guidance"), [(0, 1.0), (2**40 + 5, 7.5)])
def test_the_trunk_is_what_diffusers_makes_of_any_seed_and_guidance(
    folder: Folder, scheduler: str, seed: int, guidance: float
) -> None:
    """With every scheduler: test_matrix.py."""
    spec = spec_for(folder, scheduler=scheduler, seed=seed, guidance=guidance)
    trunk = record(spec, prepare(spec, folder), whole(spec, "trunk"))[0][()]
    expected = plain_diffusers(spec, folder, 0.0)[0].numpy()
    np.testing.assert_allclose(final(trunk), expected, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.3])
def test_the_trunk_is_what_diffusers_makes_with_less_eta(folder: Folder, eta: float) -> None:
    spec = spec_for(folder, scheduler="ddim", eta=eta, negative_prompt="a blue dog")
    trunk = record(spec, prepare(spec, folder), whole(spec, "trunk"))[0][()]
    expected = plain_diffusers(spec, folder, eta)[0].numpy()
    np.testing.assert_allclose(final(trunk), expected, atol=1e-4)


MONSTERS = ASSETS / "monsters"


@pytest.mark.parametrize("scheduler", EVERY_SCHEDULER)
def test_the_bundled_models_trunk_is_what_diffusers_makes(scheduler: str) -> None:
    spec = specify(seed=12, steps=4, guidance=7.5, scheduler=scheduler)
    trunk = record(spec, prepare(spec, MONSTERS), whole(spec, "trunk"))[0][()]
    expected = plain_diffusers(spec, MONSTERS, spec.eta or 0.0)[0].numpy()
    np.testing.assert_allclose(final(trunk), expected, atol=1e-4)


def test_the_trunks_picture_is_what_diffusers_makes() -> None:
    spec = specify(seed=7, steps=4)
    trunk = record(spec, prepare(spec, MONSTERS), whole(spec, "trunk"))[0][()]
    picture = decoding.Decoder(load(MONSTERS)).final(final(trunk)[None])[0]
    expected = np.asarray(plain_diffusers(spec, MONSTERS, spec.eta or 0.0, "pil")[0])
    assert np.abs(picture.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "euler"])
def test_pred_original_sample_is_the_schedulers_own(folder: Folder, scheduler: str) -> None:
    spec = spec_for(folder, scheduler=scheduler, eta=1.0 if scheduler == "ddim" else None)
    prepared = prepare(spec, folder)
    trunk = record(spec, prepared, whole(spec, "trunk"))[0][()]
    own = copy.deepcopy(prepared.adapter.scheduler)
    for i, timestep in enumerate(own.timesteps):
        x, output = (torch.tensor(a[i])[None] for a in (trunk.latents, trunk.model_outputs))
        own.scale_model_input(x, timestep)
        expected = own.step(output, timestep, x).pred_original_sample[0].numpy()
        np.testing.assert_allclose(trunk.pred_original_sample[i], expected, atol=1e-3, rtol=1e-4)


# --- branches
# ----------------------------------------------------------------------------------------

CELLS = ("trunk", "1.0", "1.1", "4.0", "4.0/5.2")


@pytest.mark.parametrize("scheduler", STOCHASTIC)
def test_a_fork_with_its_parents_noise_is_its_parent(
    folder: Folder, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for(folder, scheduler=scheduler, eta=1.0 if scheduler == "ddim" else None)
    keyed = noise.keyed_generator

    def of_the_parent(seed: int, path: Path, step: int) -> torch.Generator:
        return keyed(seed, tuple(fork for fork in path if fork != Fork(4, 0)), step)

    monkeypatch.setattr(noise, "keyed_generator", of_the_parent)
    made, _ = record(spec, prepare(spec, folder), whole(spec, "trunk", "1.0", "1.0/4.0"))
    parent, child = made[parse_path("1.0")], made[parse_path("1.0/4.0")]
    np.testing.assert_allclose(child.latents, parent.latents, atol=1e-5)


@pytest.mark.parametrize("scheduler", DETERMINISTIC)
def test_a_kick_of_no_noise_is_the_schedulers_own_step(
    folder: Folder, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With η = 0 the kernel is DDIM's step; multistep schedulers only take that at their first."""
    spec = spec_for(folder, scheduler=scheduler, eta=0.0 if scheduler == "ddim" else None)
    without_noise = partial(noise.eta_kernel, eta=0.0)
    monkeypatch.setattr(noise, "eta_kernel", without_noise)
    made, _ = record(spec, prepare(spec, folder), whole(spec, "trunk", "0.0"))
    trunk, child = made[()], made[parse_path("0.0")]
    np.testing.assert_allclose(child.latents[1], trunk.latents[1], atol=1e-4, rtol=1e-4)


def test_history_is_replayed_and_not_evaluated(folder: Folder) -> None:
    spec = spec_for(folder, scheduler="unipc")
    made, cold = record(spec, prepare(spec, folder), whole(spec, *CELLS))
    again, warm = record(spec, prepare(spec, folder), whole(spec, *CELLS), made)
    _, one_more = record(spec, prepare(spec, folder), whole(spec, *CELLS, "4.1"), made)
    assert cold == minimum([parse_path(cell) for cell in CELLS], STEPS)
    assert warm == 0
    assert one_more == STEPS - 4 - 1
    for path in made:
        np.testing.assert_array_equal(again[path].latents, made[path].latents)


def test_the_trunk_comes_first_and_branches_in_one_wavefront(folder: Folder) -> None:
    spec = spec_for(folder)
    prepared, sizes = prepare(spec, folder), []
    inner = prepared.denoise

    def counting(standing: Sequence[Standing], rows: int) -> list[torch.Tensor]:
        sizes.append(len(standing))
        return inner(standing, rows)

    counted = replace(prepared, denoise=counting)
    record(spec, counted, whole(spec, "trunk", "1.0", "1.1", "4.0", "4.1"))
    assert sizes == [1] * STEPS + [2] * 3 + [4] * 3


def test_sampling_leaves_the_pipeline_as_it_was(folder: Folder) -> None:
    spec = spec_for(folder)
    pipe = load(folder)
    before = [dict(vars(each)) for each in (pipe, pipe.unet, pipe.scheduler)]
    record(spec, prepare(spec, folder), whole(spec, "trunk", "1.0"))
    assert [vars(each) for each in (pipe, pipe.unet, pipe.scheduler)] == before


# --- keyed noise
# ---------------------------------------------------------------------------------------

# First numbers of torch.randn for (seed, path, step): whoever reimplements the keys can check
# theirs.
NOISE_VECTORS = {
    (7, "5.2", 5): [-0.17898, 1.156464, -0.494412],
    (7, "5.2", 6): [0.776306, -1.296751, 0.864256],
    (0, "8.2/14.0", 14): [1.116336, -1.429642, 0.434369],
}


@pytest.mark.parametrize(("named", "expected"), NOISE_VECTORS.items())
def test_keyed_noise_is_what_was_published(
    named: tuple[int, str, int], expected: list[float]
) -> None:
    seed, path, step = named
    drawn = torch.randn(3, generator=noise.keyed_generator(seed, parse_path(path), step))
    np.testing.assert_allclose(drawn.numpy(), expected, atol=1e-6)


def test_later_forks_do_not_change_earlier_noise() -> None:
    shared = [noise.keyed_generator(7, parse_path(p), 9) for p in ("8.2", "8.2/14.0")]
    others = [noise.keyed_generator(7, parse_path(p), 9) for p in ("8.1", "8.2/9.0")]
    drawn = [torch.randn(4, generator=g) for g in shared + others]
    assert torch.equal(drawn[0], drawn[1])
    assert not any(torch.equal(drawn[0], other) for other in drawn[2:])


# --- exact Gaussian data: every pixel is N(MEAN, SPREAD²), the denoiser is known in closed form
# ----------

MEAN, SPREAD = 0.5, 0.4
GAUSSIAN_STEPS = 20
SHAPE = (1, 4, 24, 24)


def gaussian(name: str, eta: float | None, seed: int) -> tuple[RunSpec, Prepared]:
    folder = Folder(tiny.__file__)  # only named
    kind = next(s for s in SCHEDULERS if s.name == name)
    config = dict(tiny.stable_diffusion().scheduler.config) | dict(kind.adds)
    scheduler = getattr(diffusers, kind.class_name).from_config(config)
    scheduler.set_timesteps(GAUSSIAN_STEPS)
    adapter = adapt(scheduler, eta)
    alphas, sigmas = adapter.noise_levels()
    by_timestep = {float(t): i for i, t in enumerate(scheduler.timesteps)}

    def denoise(scaled: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        i = by_timestep[float(timestep)]
        alpha, sigma = alphas[i], sigmas[i]
        x = scaled * math.hypot(1.0, sigma) if alpha == 1.0 else scaled
        gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
        x0 = MEAN + gain * (x - alpha * MEAN)
        return (x - alpha * x0) / sigma

    generator = torch.Generator("cpu").manual_seed(seed)
    xi = torch.randn(SHAPE, generator=generator)
    spec = RunSpec(
        model=str(folder), digest="0" * 64, prompt="", negative_prompt="", guidance_scale=1.0,
        scheduler=kind.class_name, scheduler_config="{}", num_inference_steps=GAUSSIAN_STEPS,
        eta=eta, seed=seed, height=192, width=192,
    )  # fmt: skip
    prepared = Prepared(
        latents=xi * scheduler.init_noise_sigma,
        adapter=adapter,
        generator=generator,
        denoise=in_batches(denoise),
        alphas=alphas,
        sigmas=sigmas,
        prediction_type="epsilon",
    )
    return spec, prepared


FORKS = ("2.0", "10.0", "16.0")


@lru_cache(maxsize=16)
def gaussian_finals(name: str, eta: float | None) -> dict[str, np.ndarray]:
    """Final pixels of the trunks and of branches, pooled over trunks."""
    pooled: dict[str, list[np.ndarray]] = {path: [] for path in ("trunk", *FORKS)}
    for seed in range(6):
        spec, prepared = gaussian(name, eta, seed)
        made, _ = record(spec, prepared, whole(spec, "trunk", *FORKS))
        for path in pooled:
            pooled[path].append(final(made[parse_path(path)]).ravel())
    return {path: np.concatenate(finals) for path, finals in pooled.items()}


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """The two-sample statistic over its 0.1 % critical value: above 1 the samples differ."""
    points = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b)]
    critical = 1.95 * math.sqrt((len(a) + len(b)) / (len(a) * len(b)))
    return float(np.abs(shares[0] - shares[1]).max() / critical)


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_branches_of_stochastic_schedulers_are_distributed_as_fresh_samples(
    name: str, fork: str
) -> None:
    finals = gaussian_finals(name, 1.0 if name == "ddim" else None)
    assert kolmogorov_smirnov(finals[fork], finals["trunk"]) < 1


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_kick_keeps_the_variance_of_deterministic_schedulers(name: str, fork: str) -> None:
    finals = gaussian_finals(name, 0.0 if name == "ddim" else None)
    assert abs(finals[fork].std() - finals["trunk"].std()) < 0.02
    assert abs(finals[fork].mean() - finals["trunk"].mean()) < 0.02


def test_the_two_sample_test_finds_a_wider_distribution() -> None:
    """The control: a tenth more spread is found."""
    finals = gaussian_finals("ddim", 1.0)["trunk"]
    louder = MEAN + (finals - MEAN) * 1.1
    assert kolmogorov_smirnov(louder, finals) > 1


def test_an_added_option_reaches_the_pipeline_that_has_a_word_for_it(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Option("max_sequence_length", int, "tokens of the prompt", 0, low=0, high=512)
    monkeypatch.setattr(options, "OPTIONS", (*options.OPTIONS, tokens))
    own = tiny.save(tmp_path / "model", family="pixart_sigma")
    lengths = []
    for chosen in ({}, {"max_sequence_length": 3}):
        spec = spec_for(own, steps=2, **chosen)
        given = first_call(prepare(spec, own), spec).kwargs
        lengths.append(given["encoder_hidden_states"].shape[1])
    assert lengths[0] > lengths[1] == 3
