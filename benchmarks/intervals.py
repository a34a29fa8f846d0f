"""How often the intervals of `diffgrid.decisions` hold the truth: python -m benchmarks.intervals

Two worlds whose truth is known. In the first, `Mixture`, data is ±m with unit variance (Biroli et
al., arXiv 2402.18491), labelled by the side, x_t = √ᾱ x_0 + √(1-ᾱ) ε. Along m the noised data is
N(±c, 1), c = |m|√ᾱ, and a clone made at y ends on the plus side with probability 1/(1+exp(-2cy)).
In the second, `Scattered`, each tree decides among eight classes at a place of its own. What is
said of pictures by frequency is tried on Gaussian ones, whose branches scatter more in some trees.
"""

import argparse
import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffgrid.compare import BANDS
from diffgrid.decisions import decision_steps, metrics

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

    chance: ClassVar[float] = 0.5

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


@dataclass(frozen=True)
class Scattered:
    """Trees that decide among their `classes` at log-SNR u ~ N(0, spread²): a branch made at x
    keeps its tree's class with probability q = 1/(1+exp(-(x-u)/width)), and draws anew otherwise.

    φ = 1/C + (1-1/C) E[q²].
    """

    rows: int
    columns: int
    classes: ClassVar[int] = 8
    spread: ClassVar[float] = 2.0
    width: ClassVar[float] = 0.7
    chance: ClassVar[float] = 1 / classes
    ceiling: ClassVar[float] = 1.0

    @property
    def log_snr(self) -> Floats:
        return np.linspace(-4, 5, self.rows)

    @property
    def alpha_bar(self) -> tuple[float, ...]:
        return tuple(1 / (1 + np.exp(-self.log_snr)))

    @property
    def phi(self) -> Floats:
        """The truth, row by row."""
        z = np.linspace(-8, 8, 4001)
        density = np.exp(-(z**2) / 2)
        mean: Floats = density @ self._kept(self.spread * z) ** 2 / density.sum()
        return self.chance + (1 - self.chance) * mean

    def _kept(self, places: Floats) -> Floats:
        """q, (trees, rows)."""
        kept: Floats = 1 / (1 + np.exp(-(self.log_snr - places[:, None]) / self.width))
        return kept

    @property
    def levels(self) -> pd.DataFrame:
        timesteps = np.linspace(999, 0, self.rows)
        table = {"step": np.arange(self.rows), "timestep": timesteps, "alpha_bar": self.alpha_bar}
        return pd.DataFrame(table)

    def cells(self, trees: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Cells of this many trees, and the same cells labelled again."""
        kept = self._kept(self.spread * rng.standard_normal(trees))[..., None]
        own = rng.integers(self.classes, size=(trees, 1, 1))
        shape = (trees, self.rows, self.columns)
        labels = np.where(rng.random(shape) < kept, own, rng.integers(self.classes, size=shape))
        seed, step, branch = (axis.ravel() for axis in np.indices(shape))
        table = {"seed": seed, "step": step, "branch": branch, "side": labels.ravel().astype(str)}
        return pd.DataFrame(table), pd.DataFrame(table)


World = Mixture | Scattered


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


def of_places(world: World, trees: int, repeats: int, seed: int = 0) -> dict[str, float]:
    """Coverage of chance, ceiling, and the three crossings."""
    rng = np.random.default_rng(seed)
    levels = world.levels
    alpha_bar = np.array(world.alpha_bar)
    log_snr = np.log(alpha_bar / (1 - alpha_bar))
    shares = np.array([decision_steps.START, decision_steps.HALF, decision_steps.END])
    targets = world.chance + shares * (world.ceiling - world.chance)
    truth = decision_steps.crossings(np.tile(world.phi, (3, 1)), targets, log_snr)
    hits: dict[str, list[bool]] = {}
    for _ in range(repeats):
        cells, again = world.cells(trees, rng)
        (found,) = decision_steps.decisions(cells, levels, again, resamples=1).factors
        assert found.chance
        assert found.ceiling
        assert found.half
        assert found.window
        figures = {
            "chance": covers(found.chance.low, found.chance.high, world.chance),
            "ceiling": covers(found.ceiling.low, found.ceiling.high, world.ceiling),
        }
        places = (found.window[0], found.half, found.window[1])
        for name, crossing, place in zip(("10 %", "50 %", "90 %"), places, truth, strict=True):
            assert crossing.interval
            low, high = crossing.interval
            figures[name] = covers(low.log_snr, high.log_snr, place)
        for name, hit in figures.items():
            hits.setdefault(name, []).append(hit)
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def of_order(world: World, trees: int, repeats: int, resamples: int = 400) -> float:
    """How often an order of two factors is established that are decided at one place."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(repeats):
        (one, again), (other, other_again) = (world.cells(trees, rng) for _ in range(2))
        found = decision_steps.decisions(
            one.assign(other=other.side),
            world.levels,
            again.assign(other=other_again.side),
            resamples=resamples,
        )
        hits += bool(found.before)
    return hits / repeats


def of_divergence(
    trees: int, repeats: int, scatter: float, shared: float = 0.5, numbers: int = 20
) -> tuple[float, float]:
    """Coverage of the ratio's interval, and its mean over the truth.

    A tree has `shared` of its finals' variance in common, over so many `numbers`; how much its
    branches scatter differs by a factor exp(`scatter` z), z ~ N(0, 1).
    """
    rng, columns = np.random.default_rng(0), 4
    within = (1 - shared) * np.exp(2 * scatter**2)
    truth = within / (shared + within)
    seed, other = np.triu_indices(trees, 1)
    first, second = np.triu_indices(columns, 1)
    hits, ratios = [], []
    for _ in range(repeats):
        trunks = np.sqrt(shared) * rng.standard_normal((trees, 1, numbers))
        scale = np.sqrt(1 - shared) * np.exp(scatter * rng.standard_normal((trees, 1, 1)))
        finals = trunks + scale * rng.standard_normal((trees, columns, numbers))
        related = np.mean((finals[:, first] - finals[:, second]) ** 2, 2).ravel()
        unrelated = np.mean((finals[seed, 0] - finals[other, 0]) ** 2, 1)
        line = metrics.divergence(
            _bands(related, seed=np.repeat(np.arange(trees), len(first)), step=0),
            _bands(unrelated, seed=seed, other=other),
        ).iloc[0]
        hits.append(covers(line.low, line.high, truth))
        ratios.append(line.ratio / truth)
    return float(np.mean(hits)), float(np.mean(ratios))


def _bands(energy: Floats, **names: Any) -> pd.DataFrame:
    return pd.DataFrame(dict.fromkeys(BANDS, energy) | names)


def rows_of(count: int) -> tuple[float, ...]:
    """ᾱ of so many rows, across the speciation time of `Mixture`."""
    return tuple(float(np.exp(-2 * t)) for t in np.linspace(4, 0.8, count))


WORLDS: dict[str, World] = {
    "two classes, 4 rows": Mixture(rows_of(4), 4),
    "two classes, 12 rows, a probe that slips": Mixture(rows_of(12), 4, 0.03),
    "eight classes, 9 rows, trunks that scatter": Scattered(9, 4),
}
TREES = (8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    print("| world | trunks | 10 % | 50 % | 90 % | chance | ceiling | false orders |")
    print("|---" * 8 + "|")
    for (name, world), trees in itertools.product(WORLDS.items(), TREES):
        found = of_places(world, trees, repeats)
        figures = [found[each] for each in ("10 %", "50 %", "90 %", "chance", "ceiling")]
        figures.append(of_order(world, trees, repeats // 2))
        cells = (f"{100 * share:.1f}" for share in figures)
        print(f"| {name} | {trees} |", " | ".join(cells), "|", flush=True)
    strengths = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    print("\n| branches | trunks |", *(f"φ = {true_agreement(c):.2f} |" for c in strengths))
    print("|---" * 8 + "|")
    for columns, trees in itertools.product((2, 4, 8), TREES):
        shares = (f"{100 * of_agreement(trees, columns, c, repeats):.1f}" for c in strengths)
        print(f"| {columns} | {trees} |", " | ".join(shares), "|", flush=True)
    print("\n| scatter of trunks | trunks | by frequency | mean ratio over the truth |")
    print("|---" * 4 + "|")
    for scatter, trees in itertools.product((0.0, 0.3, 0.6, 0.8), TREES):
        share, ratio = of_divergence(trees, repeats, scatter)
        print(f"| {scatter} | {trees} | {100 * share:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
