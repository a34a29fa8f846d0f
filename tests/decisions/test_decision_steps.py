"""Decision steps, their order, and what is said of them."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.intervals import WORLDS, Mixture, of_places
from diffgrid.decisions import decision_steps, intervals
from diffgrid.decisions.decision_steps import (
    Crossing,
    Decision,
    Decisions,
    Level,
    crossings,
    decisions,
    isotonic,
)
from diffgrid.errors import BadInput
from tests.decisions.tables import levels, table

Floats = NDArray[np.float64]


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
    for trees in (3, intervals.FEWEST - 1, intervals.FEWEST):
        mixture = Mixture((0.001, 0.015, 0.2), 4)
        cells, again = mixture.cells(trees, np.random.default_rng(0))
        found = decisions(cells, mixture.levels, again, resamples=10)
        [factor] = found.factors
        carried = trees >= intervals.FEWEST
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
    assert tuple(lines.columns) == decision_steps.COLUMNS
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
