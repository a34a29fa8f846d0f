"""When is what decided? Agreement of clones, decision steps, divergence; pure arithmetic.

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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import permutations, product
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffgrid.compare import FARTHEST, log_snr
from diffgrid.errors import BadInput
from diffgrid.models.folder import UNCLEAR

KEYS = ("seed", "step", "branch")
COLUMNS = (
    "factor", "step", "timestep", "alpha_bar", "phi", "low", "high", "n", "chance", "ceiling",
)  # fmt: skip
LEVEL = 0.95  # of every interval
FIXED = 0.95  # a chance above it: the prompt left the factor no choice
BLIND = 0.05  # a ceiling less than this above chance: the labels tell nothing
START, HALF, END = 0.1, 0.5, 0.9  # of the range between chance and ceiling
RESAMPLES = 1000
FEWEST = 8  # trees that carry an interval over them (docs/decisions.md)
FINE = 8  # places between two rows at which a crossing's interval is looked for

Floats = NDArray[np.float64]
Scope = Literal["this trunk", "pooled"]
State = Literal["measured", "fixed", "blind", "few trunks"]


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


@dataclass(frozen=True)
class Level:
    """A place on the way from noise to a picture; ±inf before the first and after the last row."""

    log_snr: float
    step: float
    timestep: float
    alpha_bar: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: what is beyond the rows is None, `side` says where."""
        if math.isinf(self.log_snr):
            side = "before the first row" if self.log_snr < 0 else "after the last row"
            return dict.fromkeys(asdict(self)) | {"side": side}
        return asdict(self) | {"side": "within the rows"}


@dataclass(frozen=True)
class Crossing:
    """Where a curve reaches a share of its range, and the 95 % interval of that place.

    The interval is None with fewer than `FEWEST` trees.
    """

    at: Level
    interval: tuple[Level, Level] | None

    def to_dict(self) -> dict[str, Any]:
        low, high = (end.to_dict() for end in self.interval) if self.interval else (None, None)
        return {"at": self.at.to_dict(), "low": low, "high": high}


@dataclass(frozen=True)
class Decision:
    """All about one factor; where it is decided is None unless `state` is "measured"."""

    factor: str
    scope: Scope
    state: State
    agreement: Mapping[int, Estimate]  # by fork step
    unclear: Mapping[int, Estimate]  # by fork step
    chance: Estimate | None  # None: fewer than three trees
    ceiling: Estimate | None  # None: nothing was labelled again, and 1 is taken
    half: Crossing | None  # the decision step: half of the range between chance and ceiling
    window: tuple[Crossing, Crossing] | None  # the critical window: from 10 % to 90 % of it

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        figures = {"agreement": self.agreement, "unclear": self.unclear}
        return {
            "factor": self.factor,
            "scope": self.scope,
            "state": self.state,
            "sentence": self.sentence(),
            **{name: _by_step(estimates) for name, estimates in figures.items()},
            "chance": self.chance and self.chance.to_dict(),
            "ceiling": self.ceiling and self.ceiling.to_dict(),
            "decision": self.half and self.half.to_dict(),
            "window": self.window and [crossing.to_dict() for crossing in self.window],
        }

    def sentence(self) -> str:
        """What was found, in plain words: "body colour is settled between t ≈ 900 and t ≈ 700"."""
        name = self.factor.replace("_", " ")
        many = name.endswith("s")  # eyes
        verb, begin = ("are", "begin") if many else ("is", "begins")
        match self.state:
            case "fixed":
                return f"{name} {verb} fixed by the prompt"
            case "blind" if self.chance is None:
                return f"{name} cannot be told: hardly a label is clear"
            case "blind":
                return f"{name} cannot be told: labels agree no more than by chance"
            case "few trunks":
                return f"{name}: fewer than three trunks do not tell what chance would do"
        assert self.window  # as it is measured
        start, end = (crossing.at for crossing in self.window)
        if end.log_snr == -math.inf:
            return f"{name} {verb} already settled before the first row"
        if start.log_snr == math.inf:
            return f"{name} {verb} still open at the last row"
        if math.isfinite(start.log_snr) and math.isfinite(end.log_snr):
            between = f"t ≈ {start.timestep:.0f} and t ≈ {end.timestep:.0f}"
            return f"{name} {verb} settled between {between}"
        begun = "before the first row"
        if math.isfinite(start.log_snr):
            begun = f"at t ≈ {start.timestep:.0f}"
        done = "still open at the last row"
        if math.isfinite(end.log_snr):
            done = f"settled by t ≈ {end.timestep:.0f}"
        return f"{name} {begin} to settle {begun} and {verb} {done}"


@dataclass(frozen=True)
class Decisions:
    """Every factor of a study, and what is established of their order.

    One factor is established to be decided before another where the 95 % interval of how far their
    decision steps are apart lies on one side of zero, over resamples of trees. A resample draws
    whole trees, so it compares factors within the same trees: their own intervals may overlap.
    The percentiles are widened for few trees as by Hesterberg (The American Statistician 69, 2015,
    on expanded percentiles), and fewer than `FEWEST` establish nothing.
    """

    factors: tuple[Decision, ...]
    levels: pd.DataFrame  # by step: timestep, alpha_bar
    trees: int
    # Of measured factors: in which share of resamples the first is decided before the second, and
    # the pairs whose order that establishes.
    earlier: Mapping[str, Mapping[str, float]]
    before: frozenset[tuple[str, str]]

    @property
    def measured(self) -> list[str]:
        """The factors that have a decision step, by it."""
        return [factor.factor for factor in ordered(self.factors) if factor.half]

    @property
    def tiers(self) -> list[tuple[str, ...]]:
        """The measured factors in groups, each established to be decided before all later ones.

        Within a group `before` may still know pairs.
        """
        names, found, first = self.measured, [], 0
        for i in range(1, len(names) + 1):
            if self.before.issuperset(product(names[:i], names[i:])):
                found.append(tuple(names[first:i]))
                first = i
        return found

    @property
    def untold(self) -> list[tuple[str, ...]]:
        """The largest groups without a pair whose order is established; a factor may be in several.

        The maximal cliques of what is not told apart, grown by one factor after another.
        """
        names = self.measured
        groups: list[frozenset[str]] = [frozenset()]
        for name in names:
            near = {a for a in names if not self.before & {(a, name), (name, a)}}
            grown = [*groups, *((group & near) | {name} for group in groups)]
            groups = [g for g in dict.fromkeys(grown) if not any(g < more for more in grown)]
        return [tuple(filter(group.__contains__, names)) for group in groups if len(group) > 1]

    def order(self) -> str:
        """All that is established of the order, in plain words; nothing where there is none.

        "Order, as far as 64 trunks establish it: background; then shape and eyes. …"
        """
        tiers = self.tiers
        if len(self.measured) < 2:
            return ""
        known = []
        for name in self.measured:
            (tier,) = (tier for tier in tiers if name in tier)
            if later := [other for other in tier if (name, other) in self.before]:
                known.append(f"{listed([name])} before {listed(later)}")
        but = f", but for {'; '.join(known)}" if known else ""
        if len(tiers) == 1:
            return f"{self.trees} trunks establish no order of {listed(tiers[0])}{but}."
        groups = "; then ".join(map(listed, tiers))
        within = f" Within a group none is established{but}." if self.untold else ""
        return f"Order, as far as {self.trees} trunks establish it: {groups}.{within}"

    def table(self) -> pd.DataFrame:
        """A line a factor and fork step, with `COLUMNS`; n counts pairs.

        `phi` and its interval are empty where the prompt fixed the factor: there is no curve.
        """
        lines = [
            {
                "factor": factor.factor,
                "step": step,
                "timestep": self.levels.timestep[step],
                "alpha_bar": self.levels.alpha_bar[step],
                "phi": None if factor.state == "fixed" else phi.value,
                "low": None if factor.state == "fixed" else phi.low,
                "high": None if factor.state == "fixed" else phi.high,
                "n": phi.n,
                "chance": factor.chance and factor.chance.value,
                "ceiling": factor.ceiling and factor.ceiling.value,
            }
            for factor in self.factors
            for step, phi in factor.agreement.items()
        ]
        floats = dict.fromkeys(("phi", "low", "high", "chance", "ceiling"), float)  # None: NaN
        return pd.DataFrame(lines, columns=list(COLUMNS)).astype(floats)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every factor, and what is established of the order of their decisions."""
        return {
            "factors": [factor.to_dict() for factor in self.factors],
            "order": [list(tier) for tier in self.tiers],
            "before": sorted(list(pair) for pair in self.before),
            "earlier": self.earlier,
            "order_sentence": self.order(),
        }


def decisions(
    cells: pd.DataFrame,
    levels: pd.DataFrame,
    again: pd.DataFrame | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Decisions:
    """What the labels of `cells` say about every factor.

    Args:
        cells: a line a cell: `KEYS`, then a column of labels for each factor.
        levels: a line a step: `step`, `timestep`, `alpha_bar`; at least the steps of `cells`, best
            all of the run's, for places between the rows are read from it.
        again: cells labelled once more after a harmless change of the picture (`ceiling`).
        resamples: how often the trees are drawn again, for the order.

    Raises:
        BadInput: a column is missing, a step has no level, or there is no row of two cells.
    """
    factors = _factors(cells)
    levels, trees = _levels(levels, cells), cells.seed.nunique()
    samples = {factor: _sample(cells, levels, again, factor) for factor in factors}
    found = tuple(_decide(cells, levels, again, *sample) for sample in samples.items())
    earlier: dict[str, dict[str, float]] = {}
    if trees >= FEWEST:
        rng = np.random.default_rng(0)
        draws = rng.multinomial(trees, np.full(trees, 1 / trees), resamples).astype(np.float64)
        measured = [each.factor for each in found if each.half]
        halves = {factor: _halves(samples[factor], draws, rng) for factor in measured}
        earlier = {a: {b: float(np.mean(halves[a] < halves[b])) for b in halves} for a in halves}
    sure = 1 - NormalDist().cdf(-math.sqrt(trees / max(1, trees - 1)) * _student(max(1, trees - 1)))
    before = frozenset((a, b) for a, b in permutations(earlier, 2) if earlier[a][b] >= sure)
    return Decisions(found, levels, trees, earlier, before)


def agreement(cells: pd.DataFrame, factor: str) -> dict[int, Estimate]:
    """φ(k) = P[c(a) = c(b)], a and b two different cells of the row forked at step k.

    Biroli et al. (arXiv 2402.18491): the probability that two clones end in the same class. By the
    pairs of a row it is estimated without bias, Σ_c n_c(n_c-1) / n(n-1) for n_c clear cells of
    class c (Σp_c² from frequencies p_c is too high); then averaged over the trees that have a
    pair.
    """
    return _estimates(row_agreement(cells, factor))


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
    frequencies = _frequencies(cells, factor).to_numpy()
    trees = len(frequencies)
    if trees < 3:
        return None
    overlap = frequencies @ frequencies.T
    own = (overlap.sum(1) - overlap.diagonal()) / (trees - 1)
    value = own.mean()
    pseudo_values = value + 2 * (trees - 1) / (trees - 2) * (own - value)
    clear = int((cells[factor] != UNCLEAR).sum())
    return Estimate(float(value), *_interval_of(pseudo_values, ratio=2.0), trees, clear)


def ceiling(cells: pd.DataFrame, again: pd.DataFrame, factor: str) -> Estimate | None:
    """P[c(a) = c(a')], a' the same cell labelled once more; None where no cell is clear twice.

    If the probe's slips are independent, two cells that are decided for good agree as often as one
    cell with itself: higher no φ can go. Slips that a picture provokes every time are not seen.
    """
    repeats = _repeats(cells, again, factor)
    if repeats.empty:
        return None
    return _estimate(repeats)


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The closest rising curve by weighted least squares, (..., K) from two (..., K).

    What pooling adjacent violators finds, by the min-max formula (Robertson, Wright & Dykstra,
    Order Restricted Statistical Inference, 1988, theorem 1.4.4): max_{i≤k} min_{j≥k} of the mean
    over i..j. It takes every resample at once.
    """
    zero = np.zeros((*values.shape[:-1], 1))
    sums = np.concatenate([zero, np.cumsum(values * weights, -1)], -1)
    totals = np.concatenate([zero, np.cumsum(weights, -1)], -1)
    upper = np.triu(np.ones((values.shape[-1],) * 2, bool))  # i ≤ j
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[..., None, 1:] - sums[..., :-1, None]
        means /= totals[..., None, 1:] - totals[..., :-1, None]
    lowest = np.minimum.accumulate(np.where(upper, means, np.inf)[..., ::-1], -1)[..., ::-1]
    rising: Floats = np.where(upper, lowest, -np.inf).max(-2)
    return rising


def crossings(curves: Floats, targets: Floats, places: Floats) -> Floats:
    """Where rising curves (N, K) over places (K,) reach their targets (N,), linearly between; (N,).

    -inf for a curve that begins above its target, inf for one that ends below.
    """
    reached = curves >= targets[:, None]
    after = reached.argmax(1)
    before = np.maximum(after - 1, 0)
    every = np.arange(len(curves))
    low, high = curves[every, before], curves[every, after]
    share = (targets - low) / np.where(high > low, high - low, 1.0)
    found = places[before] + share * (places[after] - places[before])
    found = np.where(after > 0, found, np.where(low > targets, -np.inf, places[0]))
    return np.where(reached.any(1), found, np.inf)


def ordered(factors: Iterable[Decision]) -> list[Decision]:
    """By decision step; what was not measured comes last, what the prompt fixed at the end.

    That is no order established: `Decisions` has what is.
    """
    states = ["measured", "few trunks", "blind", "fixed"]

    def place(factor: Decision) -> tuple[int, float]:
        return states.index(factor.state), factor.half.at.log_snr if factor.half else 0.0

    return sorted(factors, key=place)


def listed(names: Iterable[str]) -> str:
    """Factors as people read them: "mouth, head and body colour"."""
    *most, last = (name.replace("_", " ") for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def _by_step(estimates: Mapping[int, Estimate]) -> list[dict[str, Any]]:
    return [{"step": step, **estimate.to_dict()} for step, estimate in estimates.items()]


# Divergence of pictures

# By radius, as a share of the Nyquist radius (half a cycle a pixel). In a picture of 64 px that is
# up to 2 cycles a side, 2 to 8, and more.
BANDS = {"layout": (0.0, 1 / 16), "shape": (1 / 16, 1 / 4), "detail": (1 / 4, math.inf)}


def band_energies(difference: NDArray[np.floating[Any]]) -> dict[str, float]:
    """‖F_b(a-b)‖² for each of `BANDS`, of one difference a-b, (H, W) or (H, W, C).

    Scaled by Parseval's theorem: the bands sum to the mean square of the difference. A radius on a
    band's lower edge belongs to it.
    """
    height, width = difference.shape[:2]
    spectrum = np.abs(np.fft.fft2(difference, axes=(0, 1), norm="forward")) ** 2
    power = spectrum.reshape(height, width, -1).mean(-1)
    radius = 2 * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return {
        name: float(power[(radius >= low) & (radius < high)].sum())
        for name, (low, high) in BANDS.items()
    }


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
            margin = _student(trees - 1) * error
            low, high = 1 / (alike + margin), 1 / (alike - margin).clip(lower=0)
        lines.extend(
            {"step": step, "band": band, "ratio": ratio[band], "low": low[band],
             "high": high[band], "trees": trees, "n": len(row)}
            for band in bands
        )  # fmt: skip
    return pd.DataFrame(lines)


# Labels, tree by tree


def _factors(cells: pd.DataFrame) -> list[str]:
    missing = [name for name in KEYS if name not in cells]
    factors = [str(name) for name in cells.columns if name not in KEYS]
    if missing or not factors:
        raise BadInput(
            f"cells has the columns {list(cells.columns)}; it needs {', '.join(KEYS)} and a factor."
        )
    if cells.duplicated(list(KEYS)).any():
        raise BadInput("cells has two lines for one seed, step and branch; give each cell one.")
    if (cells.groupby(["seed", "step"]).size() < 2).all():
        raise BadInput("cells has no row of two cells; agreement is between two or more.")
    return factors


def _levels(levels: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """By step, with log_snr; steps that go back in noise level are taken as standing still."""
    levels = levels.drop_duplicates("step").set_index("step").sort_index()
    missing = sorted(set(cells.step) - set(levels.index))
    if missing:
        raise BadInput(f"levels has no line for the steps {missing}; give one for each of cells.")
    snr = log_snr(levels.alpha_bar.to_numpy()).clip(-FARTHEST, FARTHEST)
    return levels.assign(log_snr=np.maximum.accumulate(snr))


def row_agreement(cells: pd.DataFrame, factor: str) -> pd.DataFrame:
    """A line a tree and fork step that has a clear pair: seed, step, value, pairs."""
    clear = cells[cells[factor] != UNCLEAR]
    counts = clear.groupby(["seed", "step", factor]).size()
    same = (counts * (counts - 1)).groupby(["seed", "step"]).sum()
    sizes = counts.groupby(["seed", "step"]).sum()
    pairs = sizes * (sizes - 1)
    rows = pd.DataFrame({"value": same / pairs.where(pairs > 0), "n": sizes, "pairs": pairs // 2})
    return rows.dropna().reset_index()


def _estimates(rows: pd.DataFrame) -> dict[int, Estimate]:
    found = {}
    for step, row in rows.groupby("step"):
        values, sizes, pairs = row.value.to_numpy(), row.n.to_numpy(), int(row.pairs.sum())
        interval = _interval_of(values, _ratio(sizes), sizes[0] // 2)  # so many share no cell
        found[int(str(step))] = Estimate(float(values.mean()), *interval, len(values), pairs)
    return found


def _ratio(sizes: NDArray[Any]) -> float:
    """Of two cells, φ is a coin; of more, one tree that disagrees does so by half."""
    return 1.0 if np.median(sizes) == 2 else 0.5


def _frequencies(cells: pd.DataFrame, factor: str) -> pd.DataFrame:
    """The frequencies of classes over a tree's clear cells: a line a tree, a column a class."""
    clear = cells[cells[factor] != UNCLEAR]
    return pd.crosstab(clear.seed, clear[factor], normalize="index")


def _repeats(cells: pd.DataFrame, again: pd.DataFrame, factor: str) -> pd.DataFrame:
    """By tree: the share (`value`) of its cells (`n`) that were labelled the same twice."""
    both = cells[[*KEYS, factor]].merge(again[[*KEYS, factor]], on=list(KEYS), suffixes=("", "_"))
    both = both[(both[factor] != UNCLEAR) & (both[f"{factor}_"] != UNCLEAR)]
    same = (both[factor] == both[f"{factor}_"]).groupby(both.seed)
    return pd.DataFrame({"value": same.mean(), "n": same.size()})


# Intervals


def _estimate(shares: pd.DataFrame) -> Estimate:
    """The mean over trees of shares (`value`) of their cells (`n`)."""
    values, size = shares.value.to_numpy(), float(shares.n.median())
    interval = _interval_of(values, min(1.0, 2 / size), size)
    return Estimate(float(values.mean()), *interval, len(values), int(shares.n.sum()))


def _interval_of(values: Floats, ratio: float, alone: float = 0.0) -> tuple[float, float]:
    """That of the mean over trees; over `alone` coins where there is one tree, none for few."""
    if len(values) == 1 and alone:
        low, high = _wilson(values[0], alone)
    elif len(values) < FEWEST:
        return math.nan, math.nan
    else:
        low, high = _interval(values, ratio)
    return float(low), float(high)


def _interval(values: Floats, ratio: float | Floats) -> tuple[Floats, Floats]:
    """95 % for the mean of one value a tree, within 0..1: Wilson's, by an effective sample size.

    `values` are (n, ...), for as many means, and `ratio` (...).

    A share of n coins varies by m(1-m)/n; the mean over n trees by D m(1-m)/n, so it is worth n/D
    coins (Korn & Graubard, Survey Methodology 24, 1998, with Wilson's interval for theirs and
    Student's quantile for n-1). D is estimated from the trees, with `ratio` as its value in half a
    coin's worth of former knowledge: where all trees agree they say nothing of it. Bootstrap and
    Student intervals have no width there. benchmarks/intervals.py counts how often ours are right.
    """
    trees, mean = len(values), np.mean(values, 0)
    scatter = np.sum((values - mean) ** 2, 0)
    d = (scatter + 0.5 * ratio) / ((trees - 1) * mean * (1 - mean) + 0.5)
    return _wilson(mean, trees / d, _student(trees - 1))


def _wilson(
    mean: Floats | float, n: Floats | float, quantile: float = 1.959964
) -> tuple[Floats, Floats]:
    """Wilson's score interval (JASA 22, 1927) of a share of n."""
    squared = quantile**2 / n
    centre = (mean + squared / 2) / (1 + squared)
    half = np.sqrt(squared * mean * (1 - mean) + squared**2 / 4) / (1 + squared)
    # Rounding must not part an interval from its own 0 or 1.
    low, high = np.minimum(centre - half, mean), np.maximum(centre + half, mean)
    return np.maximum(0.0, low), np.minimum(1.0, high)


@cache
def _student(degrees: int) -> float:
    """The two-sided quantile of Student's t: tan θ √ν, where the density of θ is cos^(ν-1)."""
    theta = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(theta) ** (degrees - 1)
    mass = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(degrees) * math.tan(np.interp(LEVEL * mass[-1], mass, theta))


# Decision steps


@dataclass(frozen=True)
class _Sample:
    """What is known of a factor, a line a tree."""

    phi: Floats  # (n, K) agreement in each row; NaN where a tree has no clear pair
    classes: Floats  # (n, C) frequencies over all its clear cells; zeros where it has none
    repeats: Floats  # (n,) how often a label is repeated; NaN where nothing was clear twice
    log_snr: Floats  # (K,) of the rows
    ratio: float


def _sample(
    cells: pd.DataFrame, levels: pd.DataFrame, again: pd.DataFrame | None, factor: str
) -> _Sample:
    seeds = pd.Index(sorted(cells.seed.unique()))
    rows = row_agreement(cells, factor)
    by_step = rows.pivot(index="seed", columns="step", values="value").reindex(seeds)
    repeats = np.ones(len(seeds))
    if again is not None and len(found := _repeats(cells, again, factor)):
        repeats = found.value.reindex(seeds).to_numpy()
    return _Sample(
        by_step.to_numpy(),
        _frequencies(cells, factor).reindex(seeds).fillna(0.0).to_numpy(),
        repeats,
        levels.log_snr[by_step.columns].to_numpy(),
        _ratio(rows.n.to_numpy()) if len(rows) else 1.0,
    )


def _decide(
    cells: pd.DataFrame,
    levels: pd.DataFrame,
    again: pd.DataFrame | None,
    factor: str,
    sample: _Sample,
) -> Decision:
    by_chance = chance(cells, factor)
    repeated = None if again is None else ceiling(cells, again, factor)
    highest = repeated.value if repeated else 1.0
    state: State = "measured"
    if by_chance is None or not sample.phi.size:
        state = "few trunks" if cells.seed.nunique() < 3 else "blind"
    elif by_chance.value > FIXED:
        state = "fixed"
    elif highest - by_chance.value < BLIND:
        state = "blind"
    start = half = end = None
    if state == "measured":
        start, half, end = _places(sample, levels)
    return Decision(
        factor=factor,
        scope="this trunk" if cells.seed.nunique() == 1 else "pooled",
        state=state,
        agreement=_estimates(row_agreement(cells, factor)),
        unclear=unclear_share(cells, factor),
        chance=by_chance,
        ceiling=repeated,
        half=half,
        window=(start, end) if start and end else None,
    )


def _places(sample: _Sample, levels: pd.DataFrame) -> list[Crossing]:
    """Where isotonic φ is at `START`, `HALF` and `END` of its range from chance to ceiling.

    In log-SNR, linearly between the rows. A place is in the interval where the interval of φ there
    holds what is to be reached (Fieller, JRSS B 16, 1954, for a curve): φ, chance and ceiling are
    means of one value a tree, so their difference is one too. It ends beyond the rows where no row
    lies clearly on that side. Percentiles of resamples, in their place, end too early where a few
    trees are late: nobody has drawn the late ones.
    """
    trees, rows = sample.phi.shape
    known = ~np.isnan(sample.phi)
    counts = known.sum(0)
    means = np.nanmean(sample.phi, 0)
    # A tree without a pair says nothing: the mean, and the others that much more of the scatter.
    by_tree = np.where(known, means + (sample.phi - means) * trees / counts, means)
    curve = isotonic(means, counts.astype(np.float64))

    # The curve between rows, as weights of the rows: those that were pooled are one.
    pooled = (curve[:, None] == curve) * counts
    fine = np.linspace(0, rows - 1, FINE * (rows - 1) + 1)
    between = np.transpose([np.interp(fine, range(rows), row) for row in np.eye(rows)])
    weights = between @ (pooled / pooled.sum(1, keepdims=True))  # (X, K)
    places, phi = np.interp(fine, range(rows), sample.log_snr), by_tree @ weights.T  # (n, X)
    # What `_interval` knows beforehand is of a row; a mean of rows scatters less, if they differ.
    of_rows = weights @ ((by_tree - means) ** 2).sum(0)
    scatter = ((phi - phi.mean(0)) ** 2).sum(0)
    ratio = np.where(scatter > 0, np.minimum(scatter / np.where(of_rows > 0, of_rows, 1), 1), 1)

    overlap = sample.classes @ sample.classes.T
    own = (overlap.sum(1) - overlap.diagonal()) / (trees - 1)
    by_chance = 2 * (trees - 1) / (trees - 2) * (own - own.mean())  # as in `chance`
    highest = float(np.nanmean(sample.repeats))
    by_ceiling = np.nan_to_num(sample.repeats - highest)
    found = []
    for share in (START, HALF, END):
        target = np.array([(1 - share) * own.mean() + share * highest])
        [at] = crossings(curve[None], target, sample.log_snr)
        interval = None
        if trees >= FEWEST:
            moved = (1 - share) * by_chance + share * by_ceiling
            low, high = _interval(phi - moved[:, None], sample.ratio * ratio)
            [first] = crossings(np.maximum.accumulate(high)[None], target, places)
            [last] = crossings(np.minimum.accumulate(low[::-1])[None, ::-1], target, places)
            interval = _level(first, levels), _level(last, levels)
        found.append(Crossing(_level(at, levels), interval))
    return found


def _halves(sample: _Sample, draws: Floats, rng: np.random.Generator) -> Floats:
    """The decision step in every resample of trees, (B,): φ, chance and ceiling are drawn anew."""
    trees = len(sample.phi)
    phi, counts = _means(draws, sample.phi)
    lowest = _chances(draws, sample.classes)
    highest = _means(draws, sample.repeats[:, None])[0][:, 0]
    # Where nearly all trees agree, resampling them shows hardly any doubt: so each row of a
    # resample moves up or down by half a tree.
    phi += rng.choice([-0.5, 0.5], phi.shape) / trees
    targets = (1 - HALF) * lowest + HALF * highest
    return crossings(isotonic(phi, counts), targets, sample.log_snr)


def _means(draws: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Means (B, K) over drawn trees (B, n) of values (n, K), NaN where unknown; and of how many."""
    known = ~np.isnan(values)
    counts = draws @ known
    plain = np.nanmean(values, axis=0)
    sums = draws @ np.where(known, values, 0.0)
    # Where a resample has no tree at all, the plain mean stands in, at hardly any weight.
    return np.where(counts > 0, sums / np.maximum(counts, 1), plain), np.maximum(counts, 1e-6)


def _chances(draws: Floats, frequencies: Floats) -> Floats:
    """Σp² over pairs of different trees among those drawn, (B,): a tree twice is no pair."""
    own = (frequencies**2).sum(1)
    trees = (own > 0).astype(np.float64)
    pairs = (draws @ trees) ** 2 - draws**2 @ trees
    sums = ((draws @ frequencies) ** 2).sum(1) - draws**2 @ own
    # A resample of one tree alone has no pair: the trees as they are stand in.
    whole = frequencies.sum(0) @ frequencies.sum(0) - own.sum()
    plain = whole / max(1.0, trees.sum() ** 2 - trees.sum())
    chances: Floats = np.where(pairs > 0, sums / np.maximum(pairs, 1), plain)
    return chances


def _level(log_snr: float, levels: pd.DataFrame) -> Level:
    """A noise level in every scale, read from the run's own levels."""
    log_snr = float(log_snr)
    if math.isinf(log_snr):
        return Level(log_snr, log_snr, -log_snr, 0.0 if log_snr < 0 else 1.0)
    step, timestep = (
        float(np.interp(log_snr, levels.log_snr, values))
        for values in (levels.index, levels.timestep)
    )
    return Level(log_snr, step, timestep, 1 / (1 + math.exp(-log_snr)))
