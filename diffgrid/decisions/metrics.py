"""Agreement of clones, and how far they end apart; pure arithmetic.

The experiment is that of Biroli et al. (arXiv 2402.18491, section on cloned trajectories; also
Sclocchi et al., 2402.16991, and Li & Chen, 2403.01633): denoise down to step k, clone, go on with
different noise, ask how often the clones agree. A *tree* is one trunk with rows of branches, forked
at steps k. Trees are independent of each other, the cells of a row are exchangeable given where
they fork, and nothing else is assumed: every interval takes the tree as its unit.

Labels come as a table, a line a cell: `seed` (the tree), `step`, `branch` (-1: the trunk's own
continuation, only where the kernel that made the branches made it too), and a column of words for
each factor. A cell labelled "unclear" is in no pair: a figure over pairs speaks of pairs whose both
labels are known, and `unclear_share` tells how many are not. As a class of its own, "unclear" would
call two wrecks an agreement.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffgrid.compare import BANDS
from diffgrid.decisions.intervals import FEWEST, interval_of, student
from diffgrid.models.folder import UNCLEAR

KEYS = ("seed", "step", "branch")


@dataclass(frozen=True)
class Estimate:
    """A figure in 0..1 with its 95 % interval, and what it is made of.

    The interval is over trees, and NaN with fewer than `FEWEST`; that of one tree alone is over its
    own pairs or cells.
    """

    value: float
    low: float
    high: float
    trees: int
    n: int  # pairs, or cells where it is a share of cells

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def agreement(cells: pd.DataFrame, factor: str) -> dict[int, Estimate]:
    """φ(k) = P[c(a) = c(b)], a and b two different cells of the row forked at step k.

    Biroli et al. (arXiv 2402.18491): the probability that two clones end in the same class. By the
    pairs of a row it is estimated without bias, Σ_c n_c(n_c-1) / n(n-1) for n_c clear cells of
    class c (Σp_c² from frequencies p_c is too high); then averaged over the trees that have a
    pair.
    """
    return by_step(row_agreement(cells, factor))


def unclear_share(cells: pd.DataFrame, factor: str) -> dict[int, Estimate]:
    """The share of the cells of each fork step that are "unclear", averaged over trees."""
    unclear = (cells[factor] == UNCLEAR).groupby([cells.step, cells.seed])
    rows = pd.DataFrame({"value": unclear.mean(), "n": unclear.size()}).reset_index()
    return {int(str(step)): _estimate(row) for step, row in rows.groupby("step")}


def chance(cells: pd.DataFrame, factor: str) -> Estimate | None:
    """Σp² = P[c(a) = c(b)] for cells of two different trees; None with fewer than three trees.

    The U-statistic (Hoeffding 1948) Σ_{i≠j} p_i·p_j / n(n-1), p_i the frequencies of classes in
    tree i over all its clear cells: without bias, which a sum over squared pooled frequencies is
    not, for the cells of a tree are related. Its interval is that of its jackknife pseudo-values.
    """
    frequencies = class_frequencies(cells, factor).to_numpy()
    trees = len(frequencies)
    if trees < 3:
        return None
    overlap = frequencies @ frequencies.T
    own = (overlap.sum(1) - overlap.diagonal()) / (trees - 1)
    value = own.mean()
    pseudo_values = value + 2 * (trees - 1) / (trees - 2) * (own - value)
    clear = int((cells[factor] != UNCLEAR).sum())
    return Estimate(float(value), *interval_of(pseudo_values, ratio=2.0), trees, clear)


def ceiling(cells: pd.DataFrame, again: pd.DataFrame, factor: str) -> Estimate | None:
    """P[c(a) = c(a')], a' the same cell labelled once more; None where no cell is clear twice.

    If the probe's slips are independent, two cells that are decided for good agree as often as one
    cell with itself: higher no φ can go. Slips that a picture provokes every time are not seen.
    """
    repeats = repeated_labels(cells, again, factor)
    if repeats.empty:
        return None
    return _estimate(repeats)


# Divergence of pictures


def divergence(related: pd.DataFrame, unrelated: pd.DataFrame) -> pd.DataFrame:
    """Mean ‖F_b(a-b)‖² over the pairs of a row, over that of unrelated finals, for each band.

    0: the band is settled; 1: the cells share no more of it than strangers do. After the U-turn
    experiments of Sclocchi et al. (arXiv 2402.16991), by frequency. The interval is Student's for
    one over the ratio, from its jackknife over trees (Efron & Stein, The Annals of Statistics 9,
    1981): a tree's pairs are left out of both means. Few trees may hold most of the difference, so
    that the ratio itself, and its logarithm, are too skew for it.

    Args:
        related: a line a pair of cells of one row: `seed`, `step` and what `band_energies` gave.
        unrelated: a line a pair of finals of two trees, of every pair or of some: `seed`, `other`
            and what `band_energies` gave.

    Returns:
        a line a step and band: `step`, `band`, `ratio`, `low`, `high`, `trees`, `n` (pairs). The
        interval is empty with fewer than `FEWEST` trees or where no two differ, and may have no
        upper end (inf).
    """
    bands = list(BANDS)
    swapped = unrelated.rename(columns={"seed": "other", "other": "seed"})
    by_tree = pd.concat([unrelated, swapped]).groupby("seed")[bands]
    strangers = unrelated[bands].mean()
    left = len(unrelated) - by_tree.count()  # pairs without a tree
    without = (unrelated[bands].sum() - by_tree.sum()) / left.where(left > 0)
    lines: list[dict[str, Any]] = []
    for step, row in related.groupby("step"):
        mine = row.groupby("seed")[bands].mean()
        trees = len(mine)
        ratio = mine.mean() / strangers
        low = high = ratio * math.nan
        if trees >= FEWEST:
            alike = strangers / mine.mean().where(ratio > 0)
            rest = (mine.sum() - mine) / (trees - 1)
            others = without.reindex(mine.index) / rest.where(rest > 0)
            error = others.std(skipna=False) * (trees - 1) / math.sqrt(trees)
            margin = student(trees - 1) * error
            low, high = 1 / (alike + margin), 1 / (alike - margin).clip(lower=0)
        lines.extend(
            {"step": step, "band": band, "ratio": ratio[band], "low": low[band],
             "high": high[band], "trees": trees, "n": len(row)}
            for band in bands
        )  # fmt: skip
    return pd.DataFrame(lines)


# Labels, tree by tree


def row_agreement(cells: pd.DataFrame, factor: str) -> pd.DataFrame:
    """A line a tree and fork step that has a clear pair: seed, step, value, pairs."""
    clear = cells[cells[factor] != UNCLEAR]
    counts = clear.groupby(["seed", "step", factor]).size()
    same = (counts * (counts - 1)).groupby(["seed", "step"]).sum()
    sizes = counts.groupby(["seed", "step"]).sum()
    pairs = sizes * (sizes - 1)
    rows = pd.DataFrame({"value": same / pairs.where(pairs > 0), "n": sizes, "pairs": pairs // 2})
    return rows.dropna().reset_index()


def by_step(rows: pd.DataFrame) -> dict[int, Estimate]:
    found = {}
    for step, row in rows.groupby("step"):
        values, sizes, pairs = row.value.to_numpy(), row.n.to_numpy(), int(row.pairs.sum())
        interval = interval_of(values, coin_ratio(sizes), sizes[0] // 2)  # so many share no cell
        found[int(str(step))] = Estimate(float(values.mean()), *interval, len(values), pairs)
    return found


def coin_ratio(sizes: NDArray[Any]) -> float:
    """Of two cells, φ is a coin; of more, one tree that disagrees does so by half."""
    return 1.0 if np.median(sizes) == 2 else 0.5


def class_frequencies(cells: pd.DataFrame, factor: str) -> pd.DataFrame:
    """The frequencies of classes over a tree's clear cells: a line a tree, a column a class."""
    clear = cells[cells[factor] != UNCLEAR]
    return pd.crosstab(clear.seed, clear[factor], normalize="index")


def repeated_labels(cells: pd.DataFrame, again: pd.DataFrame, factor: str) -> pd.DataFrame:
    """By tree: the share (`value`) of its cells (`n`) that were labelled the same twice."""
    both = cells[[*KEYS, factor]].merge(again[[*KEYS, factor]], on=list(KEYS), suffixes=("", "_"))
    both = both[(both[factor] != UNCLEAR) & (both[f"{factor}_"] != UNCLEAR)]
    same = (both[factor] == both[f"{factor}_"]).groupby(both.seed)
    return pd.DataFrame({"value": same.mean(), "n": same.size()})


def _estimate(shares: pd.DataFrame) -> Estimate:
    """The mean over trees of shares (`value`) of their cells (`n`)."""
    values, size = shares.value.to_numpy(), float(shares.n.median())
    interval = interval_of(values, min(1.0, 2 / size), size)
    return Estimate(float(values.mean()), *interval, len(values), int(shares.n.sum()))
