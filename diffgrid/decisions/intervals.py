"""95 % intervals of a mean over trees; pure arithmetic.

docs/decisions.md has how often they hold, by `benchmarks/intervals.py`.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # of every interval
FEWEST = 8  # trees that carry an interval over them

Floats = NDArray[np.float64]


def interval_of(values: Floats, ratio: float, alone: float = 0.0) -> tuple[float, float]:
    """That of the mean over trees; over `alone` coins where there is one tree, none for few."""
    if len(values) == 1 and alone:
        low, high = wilson(values[0], alone)
    elif len(values) < FEWEST:
        return math.nan, math.nan
    else:
        low, high = interval(values, ratio)
    return float(low), float(high)


def interval(values: Floats, ratio: float | Floats) -> tuple[Floats, Floats]:
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
    return wilson(mean, trees / d, student(trees - 1))


def wilson(
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
def student(degrees: int) -> float:
    """The two-sided quantile of Student's t: tan θ √ν, where the density of θ is cos^(ν-1)."""
    theta = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(theta) ** (degrees - 1)
    mass = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(degrees) * math.tan(np.interp(LEVEL * mass[-1], mass, theta))
