"""Trajectories side by side: matched by noise level, measured, and what was set differently.

Step 5 of one run and step 5 of another mean nothing together: their schedulers may be at other
noise levels there. log-SNR = log(ᾱ/(1-ᾱ)) is a scale they share (arXiv 2107.00630).
"""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffgrid.models.registry import scheduler_name
from diffgrid.records.trajectories import Trajectory
from diffgrid.spec.checks import shortened
from diffgrid.spec.path import Path, describe
from diffgrid.spec.run import RunSpec

# By frequency, in cycles a side: where things lie, what they are, and their surface. A radius on a
# lower edge belongs to the band.
BANDS = {"layout": (0.0, 2.0), "shape": (2.0, 8.0), "detail": (8.0, math.inf)}
FARTHEST = 10.0  # log-SNR; a scheduler may start in pure noise, at minus infinity
MOST_LEVELS = 64  # more along one axis cannot be told apart


def log_snr(alpha_bar: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(ᾱ/(1-ᾱ)) of noise levels of any shape; infinite where there is no noise, or no signal."""
    with np.errstate(divide="ignore"):
        levels: NDArray[np.float64] = np.log(alpha_bar) - np.log1p(-alpha_bar)
    return levels


def levels_of(trajectory: Trajectory) -> NDArray[np.float64]:
    """log-SNR before each step, (n,): rising, and within ±`FARTHEST`."""
    return log_snr(trajectory.alpha_bar[: trajectory.steps]).clip(-FARTHEST, FARTHEST)


def thinned(count: int) -> list[int]:
    """Indices of `count` things: all of them, or `MOST_LEVELS` evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_LEVELS))})


@dataclass(frozen=True, eq=False)
class Distance:
    """How far two trajectories are apart, in units of their latents."""

    levels: NDArray[np.float64]  # (m,), log-SNR; rising, and reached by both
    rms: NDArray[np.float64]  # (m,), between their x̂0
    bands: NDArray[np.float64]  # (m, 3), the same by `BANDS`
    final: float  # RMS between their final samples
    final_bands: NDArray[np.float64]  # (3,)


def distance(one: Trajectory, other: Trajectory) -> Distance | None:
    """The RMS difference of x̂0 at equal noise levels; None where the latents' shapes differ.

    By bands it is √(Σ_{f∈b} |F(a-b)_f|²), F the discrete Fourier transform over the latents' sides
    (see `band_energies`): RMS² is the sum over bands of theirs.

    Between its own steps a trajectory's x̂0 is interpolated in log-SNR: taking the nearest step
    would draw a distance where two runs only step differently.
    """
    if one.latents.shape[1:] != other.latents.shape[1:]:
        return None
    own, others = levels_of(one), levels_of(other)
    low, high = max(own[0], others[0]), min(own[-1], others[-1])
    levels = np.union1d(own, others)
    levels = levels[(levels >= low) & (levels <= high)]
    levels = levels[thinned(len(levels))] if len(levels) else levels
    apart = [_at(level, own, one) - _at(level, others, other) for level in levels]
    last = one.latents[-1] - other.latents[-1]
    return Distance(
        levels,
        np.array([_rms(difference) for difference in apart]),
        np.array([_by_band(difference) for difference in apart]).reshape(-1, len(BANDS)),
        _rms(last),
        _by_band(last),
    )


def band_energies(difference: NDArray[np.floating[Any]]) -> dict[str, float]:
    """‖F_b(a-b)‖² for each of `BANDS`, of one difference a-b, (H, W) or (H, W, C).

    Scaled by Parseval's theorem: the bands sum to the mean square of the difference.
    """
    height, width = difference.shape[:2]
    spectrum = np.abs(np.fft.fft2(difference, axes=(0, 1), norm="forward")) ** 2
    power = spectrum.reshape(height, width, -1).mean(-1)
    radius = np.hypot(_cycles(height)[:, None], _cycles(width))
    return {
        name: float(power[(radius >= low) & (radius < high)].sum())
        for name, (low, high) in BANDS.items()
    }


def _at(level: float, levels: NDArray[np.float64], run: Trajectory) -> NDArray[np.float32]:
    """x̂0 at a noise level within the run's own, (C, H, W)."""
    after = int(np.searchsorted(levels, level))
    later: NDArray[np.float32] = run.pred_original_sample[after]
    if levels[after] == level:
        return later
    earlier: NDArray[np.float32] = run.pred_original_sample[after - 1]
    share = np.float32((level - levels[after - 1]) / (levels[after] - levels[after - 1]))
    return earlier + share * (later - earlier)


def _rms(difference: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(difference.astype(np.float64) ** 2)))


def _cycles(side: int) -> NDArray[np.float64]:
    """The frequencies of a discrete Fourier transform, (side,), in whole cycles a side."""
    cycles: NDArray[np.float64] = np.rint(np.fft.fftfreq(side) * side)
    return cycles


def _by_band(difference: NDArray[np.float32]) -> NDArray[np.float64]:
    """The RMS of a difference of latents (C, H, W) in each of `BANDS`, (3,)."""
    energies = band_energies(np.moveaxis(difference.astype(np.float64), 0, -1))
    return np.sqrt([*energies.values()])


def settings(spec: RunSpec, path: Path) -> dict[str, str]:
    """What decides a trajectory, in words and by name."""
    return {
        "path": describe(path),
        "prompt": spec.prompt,
        "negative prompt": spec.negative_prompt,
        "seed": str(spec.seed),
        "scheduler": scheduler_name(spec),
        "steps": str(spec.num_inference_steps),
        "eta": "" if spec.eta is None else f"{spec.eta:g}",
        "guidance": f"{spec.guidance_scale:g}",
        "size": f"{spec.width} x {spec.height} px",
        "model": spec.model,
        "weights": spec.digest[:8],
        "dtype": spec.dtype,
        **spec.added_words,
    }


def differing(runs: Sequence[tuple[RunSpec, Path]]) -> dict[str, tuple[str, ...]]:
    """The settings in which these runs are not all equal: by name, a value a run.

    The scheduler's own configuration is told only where all have the same scheduler.
    """
    tables = [settings(spec, path) for spec, path in runs]
    if len({table["scheduler"] for table in tables}) == 1:
        configs = [json.loads(spec.scheduler_config) for spec, _ in runs]
        names = sorted({name for config in configs for name in config})
        for table, config in zip(tables, configs, strict=True):
            values = {name: config.get(name) for name in names}
            table |= {n: "" if v is None else shortened(str(v)) for n, v in values.items()}
    told = dict.fromkeys(name for table in tables for name in table)
    rows = {name: tuple(table.get(name, "") for table in tables) for name in told}
    return {name: each for name, each in rows.items() if len(set(each)) > 1}


def to_csv(runs: Sequence[Trajectory]) -> str:
    """The settings of runs, and how far each is from the first, as CSV.

    A line a run and noise level (`log_snr`), and one more of its finished picture, where that is
    empty: the first run has that one alone. `rms`, and by `BANDS`, are in units of the latents, of
    x̂0 or of the finished samples; empty where shapes differ.
    """
    tables = [settings(run.spec, run.path) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    text = StringIO()
    writer = csv.DictWriter(text, ["run", "key", *names, "log_snr", "rms", *BANDS], restval="")
    writer.writeheader()
    for letter, run, table in zip("ABCD", runs, tables, strict=False):
        line = {"run": letter, "key": run.key, **table}
        apart = distance(runs[0], run)
        if apart and run is not runs[0]:
            for level, rms, bands in zip(apart.levels, apart.rms, apart.bands, strict=True):
                writer.writerow(line | {"log_snr": str(level), "rms": str(rms)} | _named(bands))
        last = {"rms": str(apart.final)} | _named(apart.final_bands) if apart else {}
        writer.writerow(line | last)
    return text.getvalue()


def _named(bands: NDArray[np.float64]) -> dict[str, str]:
    """Figures by band, (3,), with their names."""
    return dict(zip(BANDS, map(str, bands), strict=True))
