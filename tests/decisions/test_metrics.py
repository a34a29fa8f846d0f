"""Agreement and divergence, held against cases that are known exactly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.intervals import LENGTH, covers, of_divergence, true_agreement
from diffgrid.compare import BANDS
from diffgrid.decisions.decision_steps import decisions
from diffgrid.decisions.metrics import (
    agreement,
    ceiling,
    chance,
    divergence,
    unclear_share,
)
from tests.decisions.tables import levels, table

Floats = NDArray[np.float64]
F32 = NDArray[np.float32]

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


# Divergence


def pairs(energy: Floats, **names: Any) -> pd.DataFrame:
    return pd.DataFrame(names | dict.fromkeys(BANDS, energy))


def test_divergence_is_the_share_of_what_strangers_differ_by() -> None:
    seed, other = np.triu_indices(8, 1)
    unrelated = pairs(np.full(len(seed), 8.0), seed=seed, other=other)
    energies = np.tile([1.0, 3.0], 8)
    related = pairs(energies, seed=np.arange(8).repeat(2), step=np.ones(16))
    found = divergence(related, unrelated)
    assert list(found.band) == list(BANDS)
    np.testing.assert_allclose(found[["ratio", "low", "high"]], 0.25)  # every tree has the mean
    assert set(found.n) == {16}
    few = divergence(related[related.seed > 0], unrelated)
    assert few.ratio.tolist() == [0.25] * 3
    assert few.low.isna().all()
    settled = divergence(related.assign(**dict.fromkeys(BANDS, 0.0)), unrelated)
    assert settled.ratio.tolist() == [0.0] * 3


@pytest.mark.slow
@pytest.mark.parametrize("scatter", [0.0, 0.6])
def test_intervals_of_divergence_cover_the_truth(scatter: float) -> None:
    share, _ = of_divergence(16, repeats=100, scatter=scatter)
    assert share >= 0.87  # 100 repeats of 93 %, less 2.5 standard errors
