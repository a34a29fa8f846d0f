"""Comparing: runs are matched by noise level, and only what differs is told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from diffgrid.compare import (
    BANDS,
    FARTHEST,
    MOST_LEVELS,
    band_energies,
    differing,
    distance,
    levels_of,
    thinned,
    to_csv,
)
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec

SPEC = RunSpec(
    model="monsters",
    digest="ab" * 32,
    prompt="a monster",
    negative_prompt="",
    guidance_scale=3.0,
    scheduler="DDIMScheduler",
    scheduler_config='{"clip_sample": false}',
    num_inference_steps=6,
    eta=1.0,
    seed=7,
    height=64,
    width=64,
)
START, END = 0.001, 0.99  # ᾱ of the first and of the last step


def trajectory(steps: int, offset: float = 0.0, end: float = END, side: int = 4) -> Trajectory:
    """x̂0 is the log-SNR itself, the same function of the noise level however many steps."""
    levels = np.linspace(np.log(START / (1 - START)), np.log(end / (1 - end)), steps)
    alpha_bar = np.append(1 / (1 + np.exp(-levels)), 1.0)
    guesses = np.zeros((steps, 2, side, side), np.float32) + levels[:, None, None, None] + offset
    return Trajectory(
        spec=replace(SPEC, num_inference_steps=steps),
        path=(),
        latents=np.full((steps + 1, 2, side, side), offset, np.float32),
        model_outputs=guesses.astype(np.float32),
        timesteps=np.linspace(999, 0, steps),
        alphas=np.sqrt(alpha_bar),
        sigmas=np.sqrt(1 - alpha_bar),
        prediction_type="sample",
    )


def test_noise_levels_rise_and_stay_finite() -> None:
    run = trajectory(6)
    run = replace(run, alphas=np.append(0.0, run.alphas[1:]), sigmas=np.append(1.0, run.sigmas[1:]))
    levels = levels_of(run)
    assert levels.shape == (6,)
    assert levels[0] == -FARTHEST
    assert np.all(np.diff(levels) > 0)


@pytest.mark.parametrize("steps", [7, 25, 200])
def test_runs_that_only_step_differently_are_not_apart(steps: int) -> None:
    apart = distance(trajectory(10), trajectory(steps))
    assert apart is not None
    assert 7 <= len(apart.levels) <= MOST_LEVELS
    np.testing.assert_allclose(apart.rms, 0, atol=1e-5)
    assert apart.final == 0


def test_distance_is_the_rms_between_guesses_at_equal_noise() -> None:
    apart = distance(trajectory(10), trajectory(14, offset=0.5))
    assert apart is not None
    np.testing.assert_allclose(apart.rms, 0.5, atol=1e-5)
    assert apart.final == 0.5


def test_distance_is_measured_where_both_runs_have_been() -> None:
    short, long = trajectory(10, end=0.5), trajectory(10)
    apart = distance(long, short)
    assert apart is not None
    assert apart.levels.min() >= levels_of(short)[0] - 1e-9
    assert apart.levels.max() <= levels_of(short)[-1] + 1e-9


def test_a_distance_is_the_sum_of_its_bands() -> None:
    one, other = trajectory(10), trajectory(14, offset=0.5)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(other.model_outputs.shape).astype(np.float32)
    last = rng.standard_normal(other.latents.shape).astype(np.float32)
    apart = distance(one, replace(other, model_outputs=other.model_outputs + noise, latents=last))
    assert apart is not None
    assert apart.bands.shape == (len(apart.rms), len(BANDS))
    np.testing.assert_allclose((apart.bands**2).sum(1), apart.rms**2)
    assert (apart.final_bands**2).sum() == pytest.approx(apart.final**2)
    assert np.all(apart.bands[:, :2] > 0)


def test_another_level_everywhere_differs_in_layout_alone() -> None:
    apart = distance(trajectory(10), trajectory(10, offset=0.5))
    assert apart is not None
    np.testing.assert_allclose(apart.bands[:, 0], 0.5, atol=1e-5)
    np.testing.assert_allclose(apart.bands[:, 1:], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("cycles", "band"),
    [(0, "layout"), (1, "layout"), (2, "shape"), (7, "shape"), (8, "detail"), (32, "detail")],
)
def test_a_wave_lies_in_the_band_of_its_frequency(cycles: int, band: str) -> None:
    wave = np.cos(2 * np.pi * cycles * np.arange(64) / 64)
    for picture in (np.tile(wave, (64, 1)), np.tile(wave, (64, 1)).T):
        found = band_energies(np.stack([picture, 0 * picture], -1))
        expected = dict.fromkeys(BANDS, 0.0) | {band: np.mean(wave**2) / 2}
        assert found == pytest.approx(expected, abs=1e-12)


def test_bands_sum_to_the_mean_square() -> None:
    difference = np.random.default_rng(0).standard_normal((24, 40, 3))
    assert sum(band_energies(difference).values()) == pytest.approx(np.mean(difference**2))


def test_latents_of_other_shapes_have_no_distance() -> None:
    assert distance(trajectory(6), trajectory(6, side=8)) is None


def test_thinning_keeps_both_ends() -> None:
    assert thinned(1) == [0]
    assert thinned(5) == [0, 1, 2, 3, 4]
    kept = thinned(1000)
    assert (kept[0], kept[-1], len(kept)) == (0, 999, MOST_LEVELS)


def test_only_what_differs_is_told() -> None:
    other = replace(SPEC, seed=8, guidance_scale=5.0)
    table = differing([(SPEC, ()), (other, parse_path("3.1")), (SPEC, ())])
    assert table == {
        "path": ("trunk", "3.1", "trunk"),
        "seed": ("7", "8", "7"),
        "guidance": ("3", "5", "3"),
    }


def test_a_schedulers_configuration_is_told_where_the_scheduler_is_the_same() -> None:
    config = json.dumps({"clip_sample": True, "betas": [0.1] * 100})
    other = replace(SPEC, scheduler_config=config)
    table = differing([(SPEC, ()), (other, ())])
    assert table["clip_sample"] == ("False", "True")
    assert table["betas"][0] == ""
    assert len(table["betas"][1]) == 60
    euler = replace(other, scheduler="EulerDiscreteScheduler", eta=None)
    assert differing([(SPEC, ()), (euler, ())]) == {
        "scheduler": ("ddim", "euler"),
        "eta": ("1", ""),
    }


def test_runs_in_figures_have_their_settings_and_how_far_they_are_from_the_first() -> None:
    runs = [trajectory(6), trajectory(8, offset=0.5), trajectory(6, side=8)]
    lines = [*csv.DictReader(to_csv(runs).splitlines())]
    apart = distance(*runs[:2])
    assert apart is not None
    assert [line["run"] for line in lines] == ["A", *["B"] * (len(apart.levels) + 1), "C"]
    assert {(line["run"], line["key"], line["steps"]) for line in lines} == {
        ("A", runs[0].key, "6"),
        ("B", runs[1].key, "8"),
        ("C", runs[2].key, "6"),
    }
    first, *way, last, other = lines
    assert (first["rms"], last["rms"], last["log_snr"]) == ("0.0", "0.5", "")
    assert [float(line["log_snr"]) for line in way] == pytest.approx(apart.levels)
    assert [float(line["layout"]) for line in way] == pytest.approx(apart.bands[:, 0])
    assert (other["rms"], other["detail"]) == ("", "")  # its latents have another shape
