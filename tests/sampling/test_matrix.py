"""Each family, and most schedulers, in some pair: `make matrix` tries them all."""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path as Folder

import pytest

from diffgrid.spec.schedulers import SCHEDULERS
from tests import tiny
from tests.sampling import gaussian, matrix

pytestmark = [
    pytest.mark.slow,
    # The library's own, by the thousand: it hands tensors to numpy in a way of old.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

WITH_STABLE_DIFFUSION = (
    "ddpm", "ddim", "euler", "euler_ancestral", "dpmsolver", "dpmsolver_sde", "unipc", "lcm",
    "tcd", "pndm", "lms", "heun",
)  # fmt: skip
PAIRS = (
    *(("stable_diffusion", name) for name in WITH_STABLE_DIFFUSION),
    ("turbo", "euler_ancestral"),
    ("latent_consistency", "lcm"),
    ("stable_diffusion_xl", "heun"),
    ("turbo_xl", "edm_euler"),
    ("stable_diffusion_3", "flow_match_euler"),
    ("stable_diffusion_3", "flow_match_heun"),
    ("flux", "flow_match_euler"),
    ("pixart_sigma", "unipc"),
    ("ddpm", "ddpm"),
    ("ddpm", "dpmsolver_singlestep"),
    ("ddim", "ddim"),
)
REFUSED = (
    ("stable_diffusion", "flow_match_euler"),
    ("stable_diffusion_3", "ddim"),
    ("stable_diffusion_xl", "edm_euler"),
    ("flux", "flow_match_heun"),
    ("latent_consistency", "euler"),
    ("ddpm", "euler"),
    ("ddpm", "unipc"),
    ("ddpm", "tcd"),
    ("ddim", "ddpm"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    root = tmp_path_factory.mktemp("families")
    return {family: tiny.save(root / family, family=family) for family in tiny.FAMILIES}


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with matrix.another_process() as executor:
        yield executor


def skip_where_missing(scheduler: str) -> None:
    kind = next(kind for kind in SCHEDULERS if kind.name == scheduler)
    if package := kind.missing():
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("family", "scheduler"), PAIRS)
def test_trunks_are_diffusers_and_branches_are_themselves(
    folders: dict[str, Folder], family: str, scheduler: str
) -> None:
    skip_where_missing(scheduler)
    assert matrix.check(family, scheduler, folders[family]).failures == []


def test_a_branch_is_finished_in_another_process(
    folders: dict[str, Folder], executor: Executor
) -> None:
    cell = matrix.check("stable_diffusion", "unipc", folders["stable_diffusion"], executor)
    assert cell.failures == []


@pytest.mark.parametrize(("family", "scheduler"), REFUSED)
def test_pairs_that_make_no_sense_are_refused(
    folders: dict[str, Folder], family: str, scheduler: str
) -> None:
    assert matrix.check(family, scheduler, folders[family]).refused


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_what_the_model_predicts_does_not_matter(tmp_path: Folder, prediction_type: str) -> None:
    folder = tiny.save(tmp_path / "model", prediction_type)
    assert matrix.check("stable_diffusion", "dpmsolver", folder).failures == []


@pytest.mark.parametrize("prediction_type", gaussian.PREDICTION_TYPES)
@pytest.mark.parametrize("scheduler", gaussian.NAMES)
def test_pred_original_sample_is_the_closed_form(scheduler: str, prediction_type: str) -> None:
    skip_where_missing(scheduler)
    off = gaussian.error_of_pred_original_sample(scheduler, prediction_type)
    assert off is None or off <= gaussian.CLOSE


@pytest.mark.parametrize("scheduler", ["pndm", "heun", "unipc"])
def test_forks_spread_as_widely_as_plain_trunks(scheduler: str) -> None:
    skip_where_missing(scheduler)
    _, *others = gaussian.spreads(scheduler).values()
    assert max(map(abs, others)) <= gaussian.SPREAD_TOLERANCE


def test_most_schedulers_know_most_predictions() -> None:
    """So that the closed form was compared at all."""
    known = [
        (name, kind)
        for name in gaussian.NAMES
        for kind in gaussian.PREDICTION_TYPES
        if gaussian.build(name, kind) is not None
    ]
    assert len(known) >= 50
    assert {name for name, _ in known} == set(gaussian.NAMES)
