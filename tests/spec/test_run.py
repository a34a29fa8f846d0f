"""Specifications, and the keys that runs are stored under."""

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from diffgrid.errors import BadInput, DiffgridError
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec, key
from tests.spec.made import SPEC


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("guidance_scale", math.nan, "guidance nan"),
        ("guidance_scale", -0.5, "guidance -0.5"),
        ("guidance_scale", math.inf, "guidance inf"),
        ("guidance_scale", True, "guidance True"),
        ("guidance_scale", 10**400, "guidance 1000"),
        pytest.param("guidance_scale", 10**5000, "guidance of type int is not", id="long"),
        ("eta", 1.01, "eta 1.01 is not allowed: use a number from 0 to 1"),
        ("eta", -0.1, "eta -0.1"),
        ("eta", math.nan, "eta nan"),
        ("num_inference_steps", 0, "steps 0 is not allowed: use a whole number from 1 to 1000"),
        ("num_inference_steps", 1001, "steps 1001"),
        ("num_inference_steps", 2.0, "steps 2.0"),
        ("seed", -1, "seed -1"),
        ("seed", 2**63, "from 0 to 9223372036854775807"),
        ("prompt", "x" * 2001, "prompt has 2,001 characters"),
        ("prompt", "\ud800", "prompt .* is not valid Unicode"),
        ("negative_prompt", "x" * 2001, "negative prompt has 2,001"),
        ("negative_prompt", None, "negative prompt None"),
        ("height", 0, "height 0"),
        ("height", 130, "height 130 is not allowed: use a multiple of 8"),
        ("width", 4104, "width 4104"),
        ("digest", "AB" * 32, "digest"),
        ("scheduler", "DDIM Scheduler", "scheduler"),
        ("scheduler_config", "[1]", "give a JSON object"),
        ("scheduler_config", "[" * 100_000, "give a JSON object"),
        ("dtype", "float8", "dtype 'float8' is not allowed: choose one of float32"),
    ],
)
def test_bad_values_are_refused_in_one_line(field: str, value: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refusal:
        replace(SPEC, **{field: value})
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200
    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, DiffgridError)


def test_the_ends_of_every_range_are_allowed() -> None:
    replace(SPEC, guidance_scale=0, eta=0, num_inference_steps=1, seed=0, prompt="")
    replace(SPEC, eta=None, num_inference_steps=1000, seed=2**63 - 1, prompt="ü" * 2000, width=8)


def test_a_specification_survives_json() -> None:
    again = RunSpec.from_dict(json.loads(json.dumps(SPEC.to_dict())))
    assert again == SPEC
    assert hash(again) == hash(SPEC)


def test_a_specification_lacks_no_field() -> None:
    values = SPEC.to_dict()
    del values["seed"]
    with pytest.raises(BadInput, match="lacks 'seed': give all of digest, "):
        RunSpec.from_dict(values)


def test_keys_are_what_they_were() -> None:
    # A change here makes every stored trajectory unreachable: raise its sampler version instead,
    # if the numbers changed, and only then write the new values down.
    assert key(SPEC, ()) == "01d971c8d17f7e4fcadeed0b0c90f735a0e82ee0025b018b98990205b5de93a1"
    assert (
        key(SPEC, parse_path("8.2/14.0"))
        == "5db7172f80f63a816514735e9baaa41bc9a4d294215c650773b61639aaaa2c30"
    )


@pytest.mark.parametrize(
    ("scheduler", "eta", "steps", "config", "mended"),
    [
        ("DDIMScheduler", 0.0, 20, {}, False),
        ("DDIMScheduler", 0.0, 20, {"clip_sample": True}, False),  # as it always was
        ("DDIMScheduler", 0.0, 20, {"thresholding": True}, True),
        ("DDIMScheduler", 1.0, 20, {"thresholding": True}, False),  # it draws its own noise
        ("DDIMScheduler", 0.0, 20, {"timestep_spacing": "linspace"}, True),
        ("DDIMScheduler", 0.0, 20, {"timestep_spacing": "trailing"}, False),
        ("DDIMScheduler", 0.0, 30, {"timestep_spacing": "trailing"}, True),
        ("EulerDiscreteScheduler", None, 20, {"clip_sample": True}, True),  # which it never heeds
        ("EulerDiscreteScheduler", None, 20, {"timestep_spacing": "linspace"}, False),
    ],
)
def test_a_fork_that_was_wrong_once_has_another_key_now(
    scheduler: str, eta: float | None, steps: int, config: dict[str, Any], mended: bool
) -> None:
    told = {"beta_end": 0.02, **config}
    spec = replace(
        SPEC,
        scheduler=scheduler,
        eta=eta,
        num_inference_steps=steps,
        scheduler_config=json.dumps(told),
    )
    for path, changed in (("", False), ("5:guidance=2.0", False), ("5.1", mended)):
        specification = spec.to_dict()
        del specification["model"]
        forks = [fork.words for fork in parse_path(path)]
        whole = {"specification": specification, "path": forks, "sampler": 1 + changed}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        assert key(spec, parse_path(path)) == hashlib.sha256(text.encode()).hexdigest()


def test_the_key_knows_the_model_by_its_weights_alone() -> None:
    assert key(replace(SPEC, model="/home/me/monsters"), ()) == key(SPEC, ())
    assert key(replace(SPEC, digest="cd" * 32), ()) != key(SPEC, ())


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a red monster"},
        {"negative_prompt": "horns"},
        {"guidance_scale": 1.0},
        {"scheduler": "DDPMScheduler"},
        {"scheduler_config": "{}"},
        {"num_inference_steps": 26},
        {"eta": None},
        {"seed": 8},
        {"height": 64},
        {"width": 64},
        {"dtype": "bfloat16"},
    ],
)
def test_everything_else_that_decides_a_run_is_in_its_key(change: dict[str, Any]) -> None:
    assert key(replace(SPEC, **change), ()) != key(SPEC, ())


def test_equal_values_written_differently_have_one_key() -> None:
    config = '{"beta_end":2e-2,   "beta_schedule":"linear"}'
    same = replace(SPEC, guidance_scale=3, eta=1, scheduler_config=config)
    assert same == SPEC
    assert key(same, ()) == key(SPEC, ())
    zero, minus_zero = replace(SPEC, guidance_scale=0), replace(SPEC, guidance_scale=-0.0)
    assert key(zero, ()) == key(minus_zero, ())


def test_a_configuration_may_hold_infinity() -> None:
    spec = replace(SPEC, scheduler_config='{"lambda_min_clipped": -Infinity}')
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
