"""Intervals over trees hold what they say."""

from __future__ import annotations

import pytest

from benchmarks.intervals import of_agreement
from diffgrid.decisions import intervals


@pytest.mark.parametrize(
    ("trees", "c"),
    [(16, 0.5), (16, 2.5), (32, 0.0), (32, 2.0), (64, 0.0), (64, 1.0), (64, 1.5), (64, 2.5)],
)
def test_intervals_cover_the_truth(trees: int, c: float) -> None:
    """φ from chance (0.5) to 0.99; benchmarks/intervals.py has the whole table."""
    assert 0.93 <= of_agreement(trees, 4, c, repeats=500) <= 0.975


def test_students_quantile() -> None:
    for degrees, quantile in ((1, 12.7062), (4, 2.7764), (15, 2.1314), (63, 1.9983)):
        assert intervals.student(degrees) == pytest.approx(quantile, rel=1e-4)
