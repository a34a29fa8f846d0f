"""What is decided when, held against cases that are known exactly."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.intervals import (
    LENGTH,
    WORLDS,
    Mixture,
    covers,
    of_agreement,
    of_divergence,
    of_places,
    true_agreement,
)
from diffgrid.decisions import metrics
from diffgrid.decisions.metrics import (
    Crossing,
    Decision,
    Decisions,
    Level,
    agreement,
    band_energies,
    ceiling,
    chance,
    crossings,
    decisions,
    divergence,
    isotonic,
    unclear_share,
)
from diffgrid.errors import BadInput
from diffgrid.models.folder import UNCLEAR

Floats = NDArray[np.float64]
F32 = NDArray[np.float32]


def table(rows: dict[tuple[int, int], str]) -> pd.DataFrame:
    """Cells from {(seed, step): "aab?"}: a letter a branch, ? for unclear."""
    return pd.DataFrame(
        [
            {"seed": seed, "step": step, "branch": i, "hat": UNCLEAR if c == "?" else c}
            for (seed, step), labels in rows.items()
            for i, c in enumerate(labels)
        ]
    )


def levels(*alpha_bar: float) -> pd.DataFrame:
    steps = range(len(alpha_bar))
    timesteps = [900 - 100 * step for step in steps]
    return pd.DataFrame({"step": steps, "timestep": timesteps, "alpha_bar": alpha_bar})


# Agreement


def reverse(x: F32, start: float, end: float, mean: F32, rng: np.random.Generator) -> F32:
    """The reverse of dx = -x dt + √2 dB by Euler-Maruyama, with the mixture's analytic score."""
    count = 150
    dt = np.float32((start - end) / count)
    for time in np.linspace(start, end, count, endpoint=False):
        now = mean * np.float32(math.exp(-time))
        score = -x + np.tanh(x @ now)[:, None] * now
        x = x + (x + 2 * score) * dt
        x += np.sqrt(2 * dt) * rng.standard_normal(x.shape, np.float32)
    return x


@pytest.mark.slow
def test_clones_at_the_speciation_time_agree_as_predicted() -> None:
    # Biroli et al., arXiv 2402.18491: t_s = ½ log(dμ²), where φ = 0.775.
    trees, columns, d = 3200, 6, 8
    mean = np.full(d, LENGTH / math.sqrt(d), np.float32)
    rng = np.random.default_rng(2)
    speciation = math.log(float(mean @ mean)) / 2
    trunks = reverse(rng.standard_normal((trees, d), np.float32), 5, speciation, mean, rng)
    finals = reverse(np.repeat(trunks, columns, 0), speciation, 0, mean, rng)
    cells = pd.DataFrame({"seed": np.repeat(np.arange(trees), columns), "step": 0})
    cells["branch"] = np.tile(np.arange(columns), trees)
    cells["side"] = np.where(finals @ mean > 0, "plus", "minus")
    (phi,) = agreement(cells, "side").values()
    assert true_agreement(1.0) == pytest.approx(0.775, abs=5e-4)
    assert phi.high - phi.low < 0.02
    assert covers(phi.low, phi.high, true_agreement(1.0))
    assert (phi.trees, phi.n) == (trees, trees * 15)
    same = chance(cells, "side")
    assert same
    assert same.value == pytest.approx(0.5, abs=0.002)


def test_agreement_is_by_pairs_within_a_row_then_by_tree() -> None:
    cells = table({(0, 3): "aab", (1, 3): "aaaa", (0, 5): "bb", (1, 5): "ab"})
    found = agreement(cells, "hat")
    assert found[3].value == pytest.approx((1 / 3 + 1) / 2)
    assert (found[3].trees, found[3].n) == (2, 3 + 6)
    assert found[5].value == 0.5


def test_unclear_cells_are_in_no_pair_and_told_of() -> None:
    cells = table({(0, 3): "aa??", (1, 3): "ab?a", (2, 3): "a???"})
    (phi,) = agreement(cells, "hat").values()
    assert phi.value == pytest.approx((1 + 1 / 3) / 2)
    assert (phi.trees, phi.n) == (2, 1 + 3)
    (unclear,) = unclear_share(cells, "hat").values()
    assert unclear.value == pytest.approx((2 + 1 + 3) / 12)
    assert (unclear.trees, unclear.n) == (3, 12)


def test_one_tree_alone_has_an_interval_but_no_chance() -> None:
    cells = table({(0, 3): "aaab", (0, 5): "aaaa"})
    (found,) = decisions(cells, levels(*np.linspace(0.1, 0.9, 6))).factors
    assert (found.scope, found.state, found.chance) == ("this trunk", "few trunks", None)
    assert found.agreement[5].low == pytest.approx(0.342, abs=1e-3)  # Wilson, 2 of 2
    assert found.agreement[5].high == 1
    assert "fewer than three" in found.sentence()


def test_chance_is_without_bias() -> None:
    # Σp² of 0.7, 0.3 is 0.58. Of all the ways in which four trees can each have one class, the
    # mean is just that; squares of their pooled frequencies would say 0.685.
    mean = 0.0
    for classes in itertools.product("ab", repeat=4):
        found = chance(table({(seed, 0): c * 2 for seed, c in enumerate(classes)}), "hat")
        assert found
        mean += 0.7 ** classes.count("a") * 0.3 ** classes.count("b") * found.value
    assert mean == pytest.approx(0.7**2 + 0.3**2)


def test_chance_by_hand() -> None:
    found = chance(table({(0, 0): "aa", (1, 0): "ab", (2, 0): "b?"}), "hat")
    assert found
    assert found.value == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert (found.trees, found.n) == (3, 5)


def test_ceiling_is_how_often_a_label_is_repeated() -> None:
    cells = table({(0, 3): "aab?", (1, 3): "bbbb"})
    found = ceiling(cells, table({(0, 3): "aaa?", (1, 3): "bb?b"}), "hat")
    assert found
    assert found.value == pytest.approx((2 / 3 + 1) / 2)
    assert (found.trees, found.n) == (2, 6)
    assert ceiling(cells, table({(9, 9): "aa"}), "hat") is None


def test_with_no_decision_at_all_agreement_is_chance() -> None:
    rng = np.random.default_rng(3)
    rows = {(s, k): "".join(rng.choice(list("abc"), 4)) for s in range(200) for k in range(3)}
    (found,) = decisions(table(rows), levels(0.1, 0.5, 0.9)).factors
    for phi in found.agreement.values():
        assert phi.low < 1 / 3 < phi.high
    assert found.half
    assert found.half.at.log_snr == math.inf
    assert found.sentence() == "hat is still open at the last row"


def test_with_all_decided_agreement_is_the_ceiling() -> None:
    rows = {(s, k): "ab"[s % 2] * 4 for s in range(40) for k in range(3)}
    cells = table(rows)
    (found,) = decisions(cells, levels(0.1, 0.5, 0.9), again=cells).factors
    assert found.ceiling
    assert found.ceiling.value == found.ceiling.high == 1
    for phi in found.agreement.values():
        assert phi.value == phi.high == 1
        assert 0.9 < phi.low < 1
    assert found.half
    assert found.half.interval
    assert found.half.at.log_snr == found.half.interval[1].log_snr == -math.inf
    assert found.sentence() == "hat is already settled before the first row"


# Intervals


@pytest.mark.parametrize(
    ("trees", "c"),
    [(16, 0.5), (16, 2.5), (32, 0.0), (32, 2.0), (64, 0.0), (64, 1.0), (64, 1.5), (64, 2.5)],
)
def test_intervals_cover_the_truth(trees: int, c: float) -> None:
    """φ from chance (0.5) to 0.99; benchmarks/intervals.py has the whole table."""
    assert 0.93 <= of_agreement(trees, 4, c, repeats=500) <= 0.975


def test_students_quantile() -> None:
    for degrees, quantile in ((1, 12.7062), (4, 2.7764), (15, 2.1314), (63, 1.9983)):
        assert metrics._student(degrees) == pytest.approx(quantile, rel=1e-4)


# Decision steps


def pooled_adjacent(values: Floats, weights: Floats) -> Floats:
    """Pool adjacent violators, one curve."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        block = (float(value), float(weight), 1)
        while blocks and blocks[-1][0] >= block[0]:
            v, w, n = blocks.pop()
            total = w + block[1]
            block = ((v * w + block[0] * block[1]) / total, total, n + block[2])
        blocks.append(block)
    return np.concatenate([np.full(n, value) for value, _, n in blocks])


def test_isotonic_regression_pools_adjacent_violators() -> None:
    by_hand = isotonic(np.array([0.5, 0.8, 0.6, 1.0]), np.array([1.0, 1.0, 3.0, 1.0]))
    np.testing.assert_allclose(by_hand, [0.5, 0.65, 0.65, 1.0])
    rng = np.random.default_rng(0)
    values, weights = rng.random((200, 9)), rng.random((200, 9)) + 0.1
    for fit, *curve in zip(isotonic(values, weights), values, weights, strict=True):
        np.testing.assert_allclose(fit, pooled_adjacent(*curve))


def test_crossings_lie_between_the_rows_or_beyond_them() -> None:
    places = np.array([-2.0, 0.0, 4.0])
    curves = np.array([[0.2, 0.4, 0.8]] * 5 + [[0.2, 0.5, 0.5]])
    found = crossings(curves, np.array([0.3, 0.7, 0.1, 0.9, 0.2, 0.5]), places)
    np.testing.assert_allclose(found, [-1, 3, -math.inf, math.inf, -2, 0])


def test_the_window_matches_what_is_computed_by_hand() -> None:
    # φ is 5/12 at log-SNR -2 and 1 at 2, a straight line between; the ceiling is 1.
    rows = {}
    for s in range(200):
        one, other = ("a", "b") if s % 2 else ("b", "a")
        rows[s, 0] = "aabb" if s % 4 < 2 else one * 3 + other
        rows[s, 1] = one * 4
    cells = table(rows)
    alpha_bar = [1 / (1 + math.exp(-x)) for x in (-2.0, 2.0)]
    (found,) = decisions(cells, levels(*alpha_bar)).factors
    assert found.chance
    assert found.half
    assert found.window
    first, last = found.agreement[0].value, found.agreement[1].value
    assert (first, last) == pytest.approx((5 / 12, 1))
    low = found.chance.value
    for crossing, share in zip(
        (found.window[0], found.half, found.window[1]), (0.1, 0.5, 0.9), strict=True
    ):
        place = -2 + 4 * (low + share * (1 - low) - first) / (1 - first)
        assert crossing.at.log_snr == pytest.approx(place)
        assert crossing.interval
        assert crossing.interval[0].log_snr <= place <= crossing.interval[1].log_snr
        assert crossing.at.step == pytest.approx((place + 2) / 4)
        assert crossing.at.timestep == pytest.approx(900 - 100 * (place + 2) / 4)
        assert crossing.at.alpha_bar == pytest.approx(1 / (1 + math.exp(-place)))
    start, end = (crossing.at.timestep for crossing in found.window)
    assert found.sentence() == f"hat is settled between t ≈ {start:.0f} and t ≈ {end:.0f}"


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("trees", [8, 16])
def test_decision_steps_cover_the_truth(world: str, trees: int) -> None:
    found = of_places(WORLDS[world], trees, repeats=30)
    assert min(found.values()) >= 0.85  # 30 repeats of 95 %, less 2.5 standard errors


def test_few_trees_carry_no_interval() -> None:
    for trees in (3, metrics.FEWEST - 1, metrics.FEWEST):
        mixture = Mixture((0.001, 0.015, 0.2), 4)
        cells, again = mixture.cells(trees, np.random.default_rng(0))
        found = decisions(cells, mixture.levels, again, resamples=10)
        [factor] = found.factors
        carried = trees >= metrics.FEWEST
        estimates = [*factor.agreement.values(), *factor.unclear.values()]
        estimates += [each for each in (factor.chance, factor.ceiling) if each]
        assert {math.isfinite(each.low) for each in estimates} == {carried}
        assert factor.half
        assert (factor.half.interval is not None) == carried
        assert bool(found.earlier) == carried
        json.dumps(found.to_dict(), allow_nan=False)


def test_what_the_prompt_fixed_has_no_curve() -> None:
    rows = {(s, k): "aaaa" for s in range(20) for k in range(2)} | {(0, 0): "aaab"}
    found = decisions(table(rows), levels(0.2, 0.8))
    (factor,) = found.factors
    assert (factor.state, factor.half, factor.window) == ("fixed", None, None)
    assert factor.sentence() == "hat is fixed by the prompt"
    assert found.table().phi.isna().all()
    assert found.to_dict()["order"] == []


def test_labels_that_do_not_repeat_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    cells, again = (
        table({(s, 0): "".join(rng.choice(["a", "b"], 4)) for s in range(100)}) for _ in range(2)
    )
    (found,) = decisions(cells, levels(0.2), again).factors
    assert found.state == "blind"
    assert found.half is None


def test_a_factor_that_is_never_clear_is_not_laid_to_few_trunks() -> None:
    cells = table({(seed, step): "???" for seed in range(16) for step in (0, 1)})
    (found,) = decisions(cells, levels(0.1, 0.5), resamples=10).factors
    assert (found.state, found.half) == ("blind", None)
    assert found.sentence() == "hat cannot be told: hardly a label is clear"


def at(place: float) -> Level:
    return Level(place, place, -place, 0.5)


def decided(name: str, low: float, high: float) -> Decision:
    half = Crossing(at((low + high) / 2), (at(low), at(high)))
    return Decision(name, "pooled", "measured", {}, {}, None, None, half, (half, half))


def in_order(names: str, *before: str) -> Decisions:
    """Factors in order of their decision steps, and the pairs of which that is established."""
    factors = tuple(decided(name, i, i + 1) for i, name in enumerate(names))
    return Decisions(factors, levels(0.5), 64, {}, frozenset((p[0], p[1]) for p in before))


def test_a_group_ends_where_all_so_far_come_before_all_later() -> None:
    chain = in_order("abcd", "ac", "ad", "bd", "cd")
    assert chain.tiers == [("a", "b", "c"), ("d",)]
    assert chain.untold == [("a", "b"), ("b", "c")]  # a is before c: they are told apart
    ring = in_order("abcd", "ac", "bd").untold
    assert set(ring) == {("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")}
    assert in_order("ab", "ab").untold == in_order("").tiers == []


def test_an_order_is_told_as_far_as_it_is_established() -> None:
    told = "Order, as far as 64 trunks establish it: a; then "
    assert in_order("ab", "ab").order() == f"{told}b."
    assert in_order("abc", "ab", "ac").order() == (
        f"{told}b and c. Within a group none is established."
    )
    assert in_order("abcd", "ab", "ac", "ad", "bd", "cd").order() == f"{told}b and c; then d." + (
        " Within a group none is established."
    )
    assert in_order("abcd", "ab", "ac", "ad", "bd").order() == (
        f"{told}b, c and d. Within a group none is established, but for b before d."
    )
    assert in_order("ab").order() == "64 trunks establish no order of a and b."
    assert in_order("a").order() == ""


def test_an_order_is_established_within_the_same_trees() -> None:
    """Places scatter over trees by more than two factors are apart in each of them."""
    rng = np.random.default_rng(0)
    rows = 12
    first = rng.integers(0, 9, 24)  # the row from which a tree's branches agree
    cells = pd.DataFrame(
        {"seed": seed, "step": step, "branch": branch}
        | {
            name: "ab"[seed % 2] if step >= first[seed] + lag else "cdefgh"[rng.integers(6)]
            for name, lag in (("one", 0), ("other", 2))
        }
        | {"alien": "ab"[seed % 2] if step >= first[-seed] else "cdefgh"[rng.integers(6)]}
        for seed, step, branch in itertools.product(range(24), range(rows), range(4))
    )
    found = decisions(cells, levels(*np.linspace(0.01, 0.99, rows)), resamples=400)
    one, other = (factor.half for factor in found.factors[:2])
    assert one
    assert one.interval
    assert other
    assert other.interval
    assert one.interval[1].log_snr > other.interval[0].log_snr
    assert found.before >= {("one", "other")}
    assert not found.before & {("one", "alien"), ("alien", "one")}
    assert found.earlier["one"]["other"] + found.earlier["other"]["one"] <= 1


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        (-900, -700, "is settled between t ≈ 900 and t ≈ 700"),
        (-math.inf, -700, "begins to settle before the first row and is settled by t ≈ 700"),
        (-900, math.inf, "begins to settle at t ≈ 900 and is still open at the last row"),
        (
            -math.inf,
            math.inf,
            "begins to settle before the first row and is still open at the last row",
        ),
        (-math.inf, -math.inf, "is already settled before the first row"),
        (math.inf, math.inf, "is still open at the last row"),
    ],
)
def test_each_factor_has_a_plain_sentence(start: float, end: float, sentence: str) -> None:
    first, last = (Crossing(at(place), (at(place), at(place))) for place in (start, end))
    found = replace(decided("body_colour", 0, 1), window=(first, last)).sentence()
    assert found == f"body colour {sentence}"


def test_table_and_json_hold_every_figure() -> None:
    mixture = Mixture((0.001, 0.015, 0.2), 4)
    cells, again = mixture.cells(24, np.random.default_rng(0))
    cells = cells.assign(hat="none")
    found = decisions(cells, mixture.levels, again.assign(hat="none"), resamples=100)
    lines = found.table()
    assert tuple(lines.columns) == metrics.COLUMNS
    assert list(lines.factor) == ["side"] * 3 + ["hat"] * 3
    assert list(lines.n) == [24 * 6] * 6
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["order"] == [["side"]]
    again_found = decisions(cells, mixture.levels, again.assign(hat="none"), resamples=100)
    assert text == json.dumps(again_found.to_dict())
    beyond = Level(math.inf, math.inf, -math.inf, 1.0).to_dict()
    assert (beyond["step"], beyond["side"]) == (None, "after the last row")


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (table({(0, 0): "ab"}).drop(columns="branch"), "needs seed, step, branch"),
        (table({(0, 0): "ab"}).drop(columns="hat"), "and a factor"),
        (table({(0, 0): "a", (0, 1): "a"}), "no row of two cells"),
        (pd.concat([table({(0, 0): "ab"})] * 2), "two lines for one seed"),
        (table({(0, 7): "ab"}), r"no line for the steps \[7\]"),
    ],
)
def test_tables_that_say_nothing_are_refused(cells: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        decisions(cells, levels(0.2, 0.8))


# Divergence


@pytest.mark.parametrize(
    ("cycles", "band"),
    [(0, "layout"), (1, "layout"), (2, "shape"), (7, "shape"), (8, "detail"), (32, "detail")],
)
def test_a_wave_lies_in_the_band_of_its_frequency(cycles: int, band: str) -> None:
    wave = np.cos(2 * np.pi * cycles * np.arange(64) / 64)
    for picture in (np.tile(wave, (64, 1)), np.tile(wave, (64, 1)).T):
        found = band_energies(np.stack([picture, 0 * picture], -1))
        expected = dict.fromkeys(metrics.BANDS, 0.0) | {band: np.mean(wave**2) / 2}
        assert found == pytest.approx(expected, abs=1e-12)


def test_bands_sum_to_the_mean_square() -> None:
    difference = np.random.default_rng(0).standard_normal((24, 40, 3))
    assert sum(band_energies(difference).values()) == pytest.approx(np.mean(difference**2))


def pairs(energy: Floats, **names: Any) -> pd.DataFrame:
    return pd.DataFrame(names | dict.fromkeys(metrics.BANDS, energy))


def test_divergence_is_the_share_of_what_strangers_differ_by() -> None:
    seed, other = np.triu_indices(8, 1)
    unrelated = pairs(np.full(len(seed), 8.0), seed=seed, other=other)
    energies = np.tile([1.0, 3.0], 8)
    related = pairs(energies, seed=np.arange(8).repeat(2), step=np.ones(16))
    found = divergence(related, unrelated)
    assert list(found.band) == list(metrics.BANDS)
    np.testing.assert_allclose(found[["ratio", "low", "high"]], 0.25)  # every tree has the mean
    assert set(found.n) == {16}
    few = divergence(related[related.seed > 0], unrelated)
    assert few.ratio.tolist() == [0.25] * 3
    assert few.low.isna().all()
    settled = divergence(related.assign(**dict.fromkeys(metrics.BANDS, 0.0)), unrelated)
    assert settled.ratio.tolist() == [0.0] * 3


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.0, 0.6])
def test_intervals_of_divergence_cover_the_truth(scatter: float) -> None:
    share, _ = of_divergence(16, repeats=100, scatter=scatter)
    assert share >= 0.87  # 100 repeats of 93 %, less 2.5 standard errors
