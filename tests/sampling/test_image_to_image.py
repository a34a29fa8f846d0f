"""A photo as the trunk's start, against the library's own image-to-image pipelines."""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path as Folder
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import diffgrid
from diffgrid.engine.local import LocalEngine
from diffgrid.errors import BadInput
from diffgrid.models.calls import call_of
from diffgrid.models.families import IMAGE_TO_IMAGE, known
from diffgrid.models.registry import find_model, specify
from diffgrid.sampling.preparation import image_to_image
from diffgrid.sharing import photo
from diffgrid.spec.path import check_path, parse_path
from diffgrid.spec.schedulers import SCHEDULERS, Scheduler, loop
from diffgrid.store.forgiving import TrajectoryStore
from tests import tiny
from tests.sampling import matrix

pytestmark = [
    # The library's own: one photo for two pictures; its schedulers hand tensors to numpy.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning"),
]

# Every kind of step, in each family one: with a begin index and without, with two stages, several
# steps, a Brownian tree.
PAIRS = (
    *(
        ("stable_diffusion", name)
        for name in (
            "ddim", "ddpm", "euler", "euler_ancestral", "dpmsolver", "dpmsolver_singlestep",
            "unipc", "lcm", "tcd", "pndm", "lms", "heun", "kdpm2_ancestral", "sasolver", "dpm_sde",
        )
    ),
    ("turbo", "euler_ancestral"),
    ("stable_diffusion_xl", "heun"),
    ("stable_diffusion_3", "flow_match_euler"),
    ("stable_diffusion_3", "flow_match_heun"),
    ("flux", "flow_match_euler"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    root = tmp_path_factory.mktemp("families")
    names = {family for family, _ in PAIRS} | {"pixart_sigma"}
    return {family: tiny.save(root / family, family=family) for family in names}


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with matrix.another_process() as executor:
        yield executor


@pytest.mark.slow
@pytest.mark.parametrize(("family", "scheduler"), PAIRS)
def test_trunks_are_the_librarys_and_branches_are_themselves(
    folders: dict[str, Folder], family: str, scheduler: str
) -> None:
    if next(kind for kind in SCHEDULERS if kind.name == scheduler).missing():
        pytest.skip("its package is not installed")
    cell = matrix.check(family, scheduler, folders[family], strength=matrix.STRENGTH)
    assert cell.failures == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["StableDiffusionPAGPipeline", "QwenImagePipeline", "ZImagePipeline"],
)
def test_classes_that_are_only_read_begin_with_one_too(name: str, tmp_path: Folder) -> None:
    """One of each kind: `make matrix` tries all."""
    folder = matrix.save(tmp_path / "model", name)
    assert matrix.check(name, matrix.OWN, folder, strength=matrix.STRENGTH).failures == []


@pytest.mark.slow
def test_a_branch_is_finished_in_another_process(
    folders: dict[str, Folder], executor: Executor
) -> None:
    folder = folders["stable_diffusion"]
    cell = matrix.check("stable_diffusion", "unipc", folder, executor, strength=matrix.STRENGTH)
    assert cell.failures == []


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.13, 0.5, 1.0])
@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_3"])
def test_any_strength_takes_as_many_steps_as_the_library(
    folders: dict[str, Folder], family: str, strength: float
) -> None:
    """Which rounds in one family up, in another down."""
    folder = folders[family]
    chosen = matrix.options(family, matrix.OWN, folder) | matrix.beginning(strength)
    spec = specify(**chosen)
    plain = matrix.plain_diffusers(family, spec, matrix.kind_of(matrix.OWN, folder))
    made, evaluated = matrix.sample(spec, {(): spec.length})
    assert evaluated == spec.length
    np.testing.assert_array_equal(made[()].latents[-1], plain)


@pytest.mark.parametrize("kind", SCHEDULERS, ids=[kind.name for kind in SCHEDULERS])
def test_a_loop_is_cut_as_its_class_counts(kind: Scheduler) -> None:
    """Its `order` is how many entries the library leaves out for one step."""
    if kind.missing():
        pytest.skip("its package is not installed")
    order = getattr(diffusers, kind.class_name).order
    whole, cut = (loop(kind.class_name, "{}", 10, strength) for strength in (None, 0.6))
    assert (cut.begin, cut.length) == (4 * order, whole.length - 4 * order)
    assert loop(kind.class_name, "{}", 10, 1.0) == whole
    assert loop(kind.class_name, "{}", 10, 0.0).length == max(0, whole.length - 10 * order)


def test_what_leaves_no_step_is_refused(folders: dict[str, Folder]) -> None:
    folder = str(folders["stable_diffusion"])
    for strength in (0, 0.1):
        with pytest.raises(BadInput, match=f"strength {strength} leaves none of 8 steps to take"):
            specify(model=folder, steps=8, image="0" * 64, strength=strength)
    assert specify(model=folder, steps=8, image="0" * 64, strength=0.125).length == 1


def test_a_fork_past_its_end_is_refused_with_what_is_there(folders: dict[str, Folder]) -> None:
    spec = specify(model=str(folders["stable_diffusion"]), steps=8, image="0" * 64, strength=0.5)
    with pytest.raises(BadInput, match="with 4 steps, choose one from 0 to 2"):
        check_path(parse_path("4.0"), spec.loop)


def test_a_strength_without_a_picture_is_refused(folders: dict[str, Folder]) -> None:
    with pytest.raises(BadInput, match="give an image too, or leave it out"):
        specify(model=str(folders["stable_diffusion"]), strength=0.5)


def test_a_class_with_no_sister_is_refused_before_it_is_loaded(
    folders: dict[str, Folder],
) -> None:
    with pytest.raises(BadInput, match="not heeded by a PixArtSigmaPipeline, which begins with no"):
        specify(model=str(folders["pixart_sigma"]), image="0" * 64)


def test_each_sister_is_there_and_takes_a_picture() -> None:
    assert {*IMAGE_TO_IMAGE} <= {*known()}
    for name in IMAGE_TO_IMAGE.values():
        assert {"image", "strength"} <= call_of(name).keys()


def test_it_has_the_same_parts_as_they_are(folders: dict[str, Folder]) -> None:
    """No number of which is made another."""
    pipe = matrix.load(folders["stable_diffusion"]).to(torch.bfloat16)
    other = image_to_image(pipe)
    assert other.unet is pipe.unet
    assert other.vae is pipe.vae
    assert pipe.unet.dtype == torch.bfloat16
    pipe.to(torch.float32)


def test_the_bundled_model_begins_with_a_photo_and_goes_on_elsewhere(tmp_path: Folder) -> None:
    """A grid, and from its cache alone a fork that another engine makes."""
    store = TrajectoryStore(tmp_path)
    told: dict[str, Any] = {"prompt": "a red monster", "steps": 5, "strength": 0.6}
    told |= {"image": matrix.photo(128), "engine": LocalEngine(store, "cpu")}
    grid = diffgrid.grid(rows=[0], columns=2, **told)
    assert grid.trunk.steps == 3
    assert grid.evaluations["sampled"] == grid.evaluations["minimum"] == 3 + 2 + 2
    spec, path = grid.spec, parse_path("1.0")
    assert photo.from_png(store.get_photo(spec.photo) or b"", spec.photo).size == (128, 128)
    store.close()
    job = LocalEngine(TrajectoryStore(tmp_path), "cpu").submit(spec, [path])
    job.wait()
    made, _ = job.result(path)
    np.testing.assert_array_equal(made.latents[:2], grid.trunk.latents[:2])
    assert job.snapshot().sampled == 1


def test_a_study_begins_all_its_trunks_with_it(tmp_path: Folder) -> None:
    engine = LocalEngine(TrajectoryStore(tmp_path), "cpu")
    told: dict[str, Any] = {"prompt": "a red monster", "steps": 4, "strength": 0.75}
    study = diffgrid.study(
        image=matrix.photo(50, 70), trunks=2, rows=[0], columns=2, engine=engine, **told
    )
    assert study.evaluations["sampled"] == 2 * (3 + 2 + 2)


def test_a_picture_that_is_not_here_is_said_before_anything_is_loaded(tmp_path: Folder) -> None:
    job = LocalEngine(TrajectoryStore(tmp_path), "cpu").submit(specify(image="0" * 64), [()])
    job.wait()
    assert "image 00000000…, which this run begins with, is not on this machine" in str(
        job.snapshot().error
    )


def test_a_picture_of_another_size_is_said(tmp_path: Folder) -> None:
    store, small = TrajectoryStore(tmp_path), matrix.photo(64)
    digest = photo.digest_of(small)
    store.add_photo(digest, photo.to_png(small))
    job = LocalEngine(store, "cpu").submit(specify(image=digest), [()])
    job.wait()
    assert "is 64 x 64 pixels and the run 128 x 128" in str(job.snapshot().error)


def test_an_option_is_of_the_class_that_runs(folders: dict[str, Folder]) -> None:
    folder = str(folders["stable_diffusion_xl"])
    with pytest.raises(BadInput, match="not taken by StableDiffusionXLPipeline"):
        specify(model=folder, option={"aesthetic_score": 7.0})
    assert specify(model=folder, image="0" * 64, option={"aesthetic_score": 7.0}).chosen["option"]
    assert find_model(folder).family.pipeline == "StableDiffusionXLPipeline"
