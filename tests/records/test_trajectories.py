"""Trajectories: what follows from them, and their bytes."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from diffgrid.errors import BadInput, Damaged, OtherVersion
from diffgrid.records.codec import seal, unseal
from diffgrid.records.trajectories import PredictionType, Trajectory, from_bytes, to_bytes
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from tests.store.made import SPEC


def trajectory(steps: int = 6, path: str = "2.1", channels: int = 4, side: int = 8) -> Trajectory:
    """Random numbers, in the shapes that `steps` steps of a variance-preserving run have."""
    rng = np.random.default_rng(steps)
    shape = (channels, side, side)
    alpha_bar = np.linspace(0.01, 1, 7)
    return Trajectory(
        spec=replace(SPEC, scheduler_config='{"clip_sample": false}'),
        path=parse_path(path),
        latents=rng.standard_normal((steps + 1, *shape)).astype(np.float32),
        model_outputs=rng.standard_normal((steps, *shape)).astype(np.float32),
        timesteps=np.linspace(999, 0, 6),
        alphas=np.sqrt(alpha_bar),
        sigmas=np.sqrt(1 - alpha_bar),
        prediction_type="epsilon",
    )


def assert_equal(one: Trajectory, other: Trajectory) -> None:
    assert (one.spec, one.path, one.prediction_type) == (
        other.spec,
        other.path,
        other.prediction_type,
    )
    for name in ("latents", "model_outputs", "timesteps", "alphas", "sigmas"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("scale", ["variance preserving", "variance exploding"])
def test_predicted_x0_is_the_sample_that_was_noised(
    prediction_type: PredictionType, scale: str
) -> None:
    # Noise a known sample, and give the model the exact answer.
    rng = np.random.default_rng(1)
    x0, noise = rng.standard_normal((2, 4, 8, 8))
    angle = np.linspace(1.5, 0, 7)  # of the variance-preserving circle
    alphas, sigmas = np.cos(angle), np.sin(angle)
    output = {
        "epsilon": np.broadcast_to(noise, (6, 4, 8, 8)),
        "sample": np.broadcast_to(x0, (6, 4, 8, 8)),
        # v = alpha·noise - sigma·x_0, of the x_t on the circle, whatever the scheduler's scale
        "v_prediction": np.multiply.outer(alphas[:6], noise) - np.multiply.outer(sigmas[:6], x0),
    }[prediction_type]
    if scale == "variance exploding":
        alphas, sigmas = np.ones(7), sigmas / alphas
    known = replace(
        trajectory(),
        latents=(np.multiply.outer(alphas, x0) + np.multiply.outer(sigmas, noise)).astype("f4"),
        model_outputs=output.astype("f4"),
        alphas=alphas,
        sigmas=sigmas,
        prediction_type=prediction_type,
    )
    for guess in known.pred_original_sample:
        np.testing.assert_allclose(guess, x0, atol=2e-5)
    np.testing.assert_allclose(known.alpha_bar, np.cos(angle) ** 2, atol=1e-12)


def test_predicted_x0_of_flow_matching() -> None:
    rng = np.random.default_rng(1)
    x0, noise = rng.standard_normal((2, 4, 8, 8))
    sigmas = np.linspace(1, 0, 7)
    known = replace(
        trajectory(),
        latents=(np.multiply.outer(1 - sigmas, x0) + np.multiply.outer(sigmas, noise)).astype("f4"),
        model_outputs=np.broadcast_to(noise - x0, (6, 4, 8, 8)).astype("f4"),
        alphas=1 - sigmas,
        sigmas=sigmas,
        prediction_type="flow_prediction",
    )
    for guess in known.pred_original_sample:
        np.testing.assert_allclose(guess, x0, atol=1e-5)


def test_predicted_x0_has_the_shape_and_dtype_of_the_outputs() -> None:
    for steps in (0, 3, 6):
        guess = trajectory(steps).pred_original_sample
        assert guess.shape == (steps, 4, 8, 8)
        assert guess.dtype == np.float32


def test_predicted_x0_of_one_step_is_that_of_all() -> None:
    known = trajectory(4)
    for step, guess in enumerate(known.pred_original_sample):
        np.testing.assert_allclose(known.pred_original_sample_at(step), guess, rtol=1e-6)


def test_a_checkpoint_knows_how_far_it_is() -> None:
    assert (trajectory(4).steps, trajectory(4).done) == (4, False)
    assert (trajectory(6).steps, trajectory(6).done) == (6, True)
    spec = trajectory().spec
    assert trajectory(4).key == trajectory(6).key == key(spec, parse_path("2.1"))


def test_the_arrays_cannot_be_changed() -> None:
    source = np.zeros((7, 4, 8, 8), np.float32)
    frozen = replace(trajectory(), latents=source)
    with pytest.raises(ValueError, match="read-only"):
        frozen.latents[0] = 1
    source[0] = 1  # its maker's own array is left alone


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latents": np.zeros((6, 4, 8, 8), np.float32)}, r"latents is float32 \(6, 4, 8, 8\)"),
        ({"latents": np.zeros((7, 4, 8, 8))}, "latents is float64"),
        ({"model_outputs": np.zeros((6, 8, 8), np.float32)}, "must be .n, C, H, W."),
        ({"model_outputs": np.zeros((7, 4, 8, 8), np.float32)}, "n at most 6"),
        ({"sigmas": np.zeros(6)}, "sigmas"),
        ({"timesteps": np.zeros(7)}, "timesteps"),
        ({"prediction_type": "noise"}, "prediction type 'noise' is not known"),
        ({"path": parse_path("5.0")}, "forks at step 5"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        replace(trajectory(), **change)


# Bytes


@given(st.integers(0, 6), st.sampled_from(["trunk", "2.1", "0.3/4.0"]), st.integers(1, 8))
def test_bytes_read_back(steps: int, path: str, channels: int) -> None:
    written = trajectory(steps, path, channels, side=3)
    assert_equal(from_bytes(to_bytes(written)), written)


def test_reading_copies_no_array() -> None:
    value = to_bytes(trajectory())
    memory = np.frombuffer(value, np.uint8)
    for array in vars(from_bytes(value)).values():
        if isinstance(array, np.ndarray):
            assert np.shares_memory(array, memory)
            assert array.flags.aligned


def test_bytes_are_the_same_every_time() -> None:
    assert to_bytes(trajectory()) == to_bytes(trajectory())


# Foreign bytes with a right checksum: whoever makes them can make that too.


def forged(payload: bytes | None = None, **header: Any) -> bytes:
    genuine, arrays = unseal("trajectory", to_bytes(trajectory()))
    return seal("trajectory", {**genuine, **header}, arrays if payload is None else payload)


def table(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_forged_value_without_forgery_is_read() -> None:
    assert_equal(from_bytes(forged()), trajectory())


@pytest.mark.parametrize(
    "header",
    [
        {"steps": 5},
        {"steps": 7},
        {"steps": -1},
        {"steps": 10**30},
        {"shape": [4, 8, 9]},
        {"shape": [10**9, 10**9, 10**9]},
        {"shape": [-4, -8, 8]},
        {"shape": [4, 8]},
        {"shape": "4x8x8"},
        {"path": [[2, 1]]},
        {"specification": []},
    ],
)
def test_forged_headers_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        from_bytes(forged(**header))


@pytest.mark.parametrize(
    "header",
    [
        {"path": "9.9"},
        {"path": "2~1"},
        {"prediction_type": "__class__"},
        {"specification": {**SPEC.to_dict(), "seed": -1}},
        {"specification": {**SPEC.to_dict(), "prompt": 5}},
        {"specification": {"prompt": "only"}},
    ],
)
def test_what_a_header_says_may_be_another_versions(header: dict[str, Any]) -> None:
    with pytest.raises(OtherVersion, match="this version of diffgrid cannot read it"):
        from_bytes(forged(**header))


def test_a_key_that_this_version_does_not_give_may_be_another_versions() -> None:
    value = to_bytes(trajectory())
    assert_equal(from_bytes(value, trajectory().key), trajectory())
    with pytest.raises(OtherVersion, match="another key"):
        from_bytes(value, "0" * 64)


def good_entries() -> dict[str, Any]:
    arrays = {
        "latents": ("F32", [7, 4, 8, 8]),
        "model_outputs": ("F32", [6, 4, 8, 8]),
        "timesteps": ("F64", [6]),
        "alphas": ("F64", [7]),
        "sigmas": ("F64", [7]),
    }
    entries, start = {}, 0
    for name, (dtype, shape) in arrays.items():
        end = start + math.prod(shape) * (4 if dtype == "F32" else 8)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    return entries


def with_latents(**entry: Any) -> bytes:
    entries = good_entries()
    data = bytes(entries["sigmas"]["data_offsets"][1])
    return table({**entries, "latents": {**entries["latents"], **entry}}, data)


def test_a_table_of_contents_in_another_order_is_read() -> None:
    read = from_bytes(forged(with_latents()))
    assert not read.latents.any()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        table({}),
        table({f"t{n}": {} for n in range(300)}),
        (100).to_bytes(8, "little") + b"[" * 100,
        with_latents(dtype="F64"),
        with_latents(dtype=["F32"]),
        with_latents(shape=[7, 4, 8, 7]),
        with_latents(data_offsets=[0, 7]),
        with_latents(data_offsets=[-7168, 0]),
        with_latents(data_offsets=[10**6, 10**6 + 7168]),
        with_latents()[:-8],  # the last array reaches past the end
        save({"latents": np.zeros((7, 4, 8, 8), np.float32)}),
        save({**{f"empty{n}": np.zeros(0) for n in range(2000)}}),
    ],
)
def test_forged_arrays_are_refused(payload: bytes) -> None:
    with pytest.raises(Damaged):
        from_bytes(forged(payload))


@pytest.mark.parametrize(
    ("config", "most"),
    [({"clip_sample": True, "clip_sample_range": 2.0}, 2.0), ({"thresholding": True}, 1.0)],
)
def test_predicted_x0_is_kept_small_where_the_scheduler_keeps_it_so(
    config: dict[str, Any], most: float
) -> None:
    known = replace(trajectory(), spec=replace(SPEC, scheduler_config=json.dumps(config)))
    free = trajectory().pred_original_sample
    assert np.abs(free).max() > most
    assert np.abs(known.pred_original_sample).max() == most
    # Where nothing is too large nothing is changed, or divided by its own size alone.
    sizes = free / known.pred_original_sample
    inside = np.abs(known.pred_original_sample) < most
    for of_a_step, kept in zip(sizes, inside, strict=True):
        np.testing.assert_allclose(of_a_step[kept], of_a_step[kept][0], rtol=1e-5)
