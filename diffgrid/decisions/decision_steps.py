"""When is what decided, and in which order? Where agreement is half-way from chance to ceiling.

`metrics` has the experiment, and the figures that these places are read from.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import permutations, product
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from diffgrid.compare import FARTHEST, log_snr
from diffgrid.decisions.intervals import FEWEST, Floats, interval, student
from diffgrid.decisions.metrics import (
    KEYS,
    Estimate,
    by_step,
    ceiling,
    chance,
    class_frequencies,
    coin_ratio,
    repeated_labels,
    row_agreement,
    unclear_share,
)
from diffgrid.errors import BadInput

COLUMNS = (
    "factor", "step", "timestep", "alpha_bar", "phi", "low", "high", "n", "chance", "ceiling",
)  # fmt: skip
FIXED = 0.95  # a chance above it: the prompt left the factor no choice
BLIND = 0.05  # a ceiling less than this above chance: the labels tell nothing
START, HALF, END = 0.1, 0.5, 0.9  # of the range between chance and ceiling
RESAMPLES = 1000
FINE = 8  # places between two rows at which a crossing's interval is looked for

Scope = Literal["this trunk", "pooled"]
State = Literal["measured", "fixed", "blind", "few trunks"]


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
            **{name: _lines(estimates) for name, estimates in figures.items()},
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
    sure = 1 - NormalDist().cdf(-math.sqrt(trees / max(1, trees - 1)) * student(max(1, trees - 1)))
    before = frozenset((a, b) for a, b in permutations(earlier, 2) if earlier[a][b] >= sure)
    return Decisions(found, levels, trees, earlier, before)


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


def _lines(estimates: Mapping[int, Estimate]) -> list[dict[str, Any]]:
    return [{"step": step, **estimate.to_dict()} for step, estimate in estimates.items()]


# Places on a curve


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


# What a study holds of a factor


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
    if again is not None and len(found := repeated_labels(cells, again, factor)):
        repeats = found.value.reindex(seeds).to_numpy()
    return _Sample(
        by_step.to_numpy(),
        class_frequencies(cells, factor).reindex(seeds).fillna(0.0).to_numpy(),
        repeats,
        levels.log_snr[by_step.columns].to_numpy(),
        coin_ratio(rows.n.to_numpy()) if len(rows) else 1.0,
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
        agreement=by_step(row_agreement(cells, factor)),
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
        around = None
        if trees >= FEWEST:
            moved = (1 - share) * by_chance + share * by_ceiling
            low, high = interval(phi - moved[:, None], sample.ratio * ratio)
            [first] = crossings(np.maximum.accumulate(high)[None], target, places)
            [last] = crossings(np.minimum.accumulate(low[::-1])[None, ::-1], target, places)
            around = _level(first, levels), _level(last, levels)
        found.append(Crossing(_level(at, levels), around))
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
