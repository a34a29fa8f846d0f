"""How often the intervals of `decisions.metrics` hold the truth: python -m benchmarks.intervals

The trees are those of an exact case: data ±m with unit variance (Biroli et al., arXiv 2402.18491),
labelled by the side, x_t = √ᾱ x_0 + √(1-ᾱ) ε. Along m the noised data is N(±c, 1), c = |m|√ᾱ, and
a clone made at y ends on the plus side with probability 1/(1+exp(-2cy)).
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffgrid.decisions import metrics

Floats = NDArray[np.float64]
LENGTH = 8.0  # |m|


def true_agreement(c: float) -> float:
    """φ = E[p² + (1-p)²], p = 1/(1+exp(-2cy)) for y ~ N(c, 1): 0.775 at c = 1."""
    y = np.linspace(c - 12, c + 12, 20_001)
    density = np.exp(-((y - c) ** 2) / 2)
    p = 1 / (1 + np.exp(-2 * c * y))
    return float((density * (p**2 + (1 - p) ** 2)).sum() / density.sum())


@dataclass(frozen=True)
class Mixture:
    """Trees over this data, with a probe that slips: `slips` of its labels are the other side."""

    alpha_bar: tuple[float, ...]  # of the rows
    columns: int
    slips: float = 0.0

    @property
    def ceiling(self) -> float:
        return (1 - self.slips) ** 2 + self.slips**2

    @property
    def phi(self) -> Floats:
        """The truth, row by row."""
        clean = np.array([true_agreement(LENGTH * a**0.5) for a in self.alpha_bar])
        return self.ceiling * clean + (1 - self.ceiling) * (1 - clean)

    @property
    def levels(self) -> pd.DataFrame:
        steps = np.arange(len(self.alpha_bar))
        timesteps = np.linspace(999, 0, len(steps))
        return pd.DataFrame({"step": steps, "timestep": timesteps, "alpha_bar": self.alpha_bar})

    def cells(self, trees: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Cells of this many trees, and the same cells labelled again."""
        a = np.array(self.alpha_bar)
        noise = rng.standard_normal((trees, len(a)))
        for row in reversed(range(len(a) - 1)):  # forward in time: an Ornstein-Uhlenbeck process
            kept = np.sqrt(a[row] / a[row + 1])
            noise[:, row] = kept * noise[:, row + 1] + np.sqrt(1 - kept**2) * noise[:, row]
        c = LENGTH * np.sqrt(a)
        y = c * rng.choice([-1, 1], (trees, 1)) + noise
        plus = rng.random((trees, len(a), self.columns)) < 1 / (1 + np.exp(-2 * c * y))[..., None]
        return self._table(plus, rng), self._table(plus, rng)

    def _table(self, plus: NDArray[np.bool_], rng: np.random.Generator) -> pd.DataFrame:
        seed, step, branch = (axis.ravel() for axis in np.indices(plus.shape))
        labels = (plus ^ (rng.random(plus.shape) < self.slips)).ravel()
        table = {"seed": seed, "step": step, "branch": branch}
        return pd.DataFrame(table | {"side": np.where(labels, "plus", "minus")})


def covers(low: float, high: float, truth: float) -> bool:
    return low - 1e-9 <= truth <= high + 1e-9


def of_agreement(trees: int, columns: int, c: float, repeats: int, seed: int = 0) -> float:
    """Coverage of φ's interval: the repeats are taken as the steps of one table."""
    rng = np.random.default_rng(seed)
    mixture = Mixture(((c / LENGTH) ** 2,), columns)
    cells, _ = mixture.cells(trees * repeats, rng)
    cells = cells.assign(step=cells.seed // trees)
    found = metrics.agreement(cells, "side").values()
    truth = true_agreement(c)
    return float(np.mean([covers(phi.low, phi.high, truth) for phi in found]))


def of_places(mixture: Mixture, trees: int, repeats: int, seed: int = 0) -> dict[str, float]:
    """Coverage of chance, ceiling, and the three crossings."""
    rng = np.random.default_rng(seed)
    levels = mixture.levels
    alpha_bar = np.array(mixture.alpha_bar)
    log_snr = np.log(alpha_bar / (1 - alpha_bar))
    shares = np.array([metrics.START, metrics.HALF, metrics.END])
    targets = 0.5 + shares * (mixture.ceiling - 0.5)
    truth = metrics.crossings(np.tile(mixture.phi, (3, 1)), targets, log_snr)
    hits: dict[str, list[bool]] = {}
    for _ in range(repeats):
        cells, again = mixture.cells(trees, rng)
        (found,) = metrics.decisions(cells, levels, again).factors
        assert found.chance
        assert found.ceiling
        assert found.half
        assert found.window
        figures = {
            "chance": covers(found.chance.low, found.chance.high, 0.5),
            "ceiling": covers(found.ceiling.low, found.ceiling.high, mixture.ceiling),
        }
        places = (found.window[0], found.half, found.window[1])
        for name, crossing, place in zip(("10 %", "50 %", "90 %"), places, truth, strict=True):
            figures[name] = covers(crossing.low.log_snr, crossing.high.log_snr, place)
        for name, hit in figures.items():
            hits.setdefault(name, []).append(hit)
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=500)
    repeats = parser.parse_args().repeats
    print("agreement: columns, trees, then phi: coverage")
    strengths = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    for columns, trees in itertools.product((2, 4, 8), (8, 16, 32, 64)):
        shares = (
            f"{true_agreement(c):.3f}: {of_agreement(trees, columns, c, repeats):6.1%}"
            for c in strengths
        )
        print(f"{columns:3} {trees:4}   ", "   ".join(shares), flush=True)
    print("crossings of 4 columns: rows, slips, trees, coverage")
    for rows, slips, trees in itertools.product((4, 12), (0.0, 0.03), (16, 64)):
        alpha_bar = tuple(float(np.exp(-2 * t)) for t in np.linspace(4, 0.8, rows))
        found = of_places(Mixture(alpha_bar, 4, slips), trees, repeats)
        shares = (f"{name} {share:6.1%}" for name, share in found.items())
        print(f"{rows:3} {slips:5} {trees:4}   ", "   ".join(shares), flush=True)


if __name__ == "__main__":
    main()
