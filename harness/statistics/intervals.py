"""Intervals, differences and corrections over training runs. Pure functions, no random draws.

The unit of replication is the training run (one seed of one method), so that every function here
takes one number per run. With 3 runs a percentile bootstrap is little more than [min, max] and
covers about 75 %; Student's t covers what it says, which a simulation in the tests checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.errors import HarnessError

_NO_SPREAD = 1e-12
"""Standard deviation, relative to the largest value, that is taken for rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean over runs with its confidence interval; bounds are None for fewer than 2 runs."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of a minus mean of b, with Welch's interval and test.

    Attributes:
        diff: difference of the means; None if either side is empty.
        low, high: confidence bounds; None if either side has fewer than 2 runs.
        t, df, p: Welch's statistic, degrees of freedom and two-sided p; None as for the bounds
            and where neither side varies.
    """

    diff: float | None
    low: float | None
    high: float | None
    t: float | None
    df: float | None
    p: float | None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean with a Student-t interval, n - 1 degrees of freedom.

    Fewer than 2 values have no interval (None, never 0). Values that are all equal give an
    interval of width 0, as the formula says: read it as 'no spread seen', not as certainty.

    Raises:
        HarnessError: a value is not finite, or the level is outside (0, 1).
    """
    x = finite(values)
    check_level(level)
    n = len(x)
    if n == 0:
        return Interval(None, None, None, 0)
    mean = float(x.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    half = t_quantile(level, n - 1) * math.sqrt(variance(x) / n)
    return Interval(mean, mean - half, mean + half, n)


def item_interval(mean: float, items: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of one checkpoint's accuracy over items drawn like these.

    For one response to each item it is the usual one. A mean of several samples of each item varies
    less than a single response does, so that the interval, at n = number of items, is then wider
    than needed, never narrower. It says nothing about other training seeds.

    Raises:
        HarnessError: a mean outside [0, 1].
    """
    if not 0 <= mean <= 1:
        raise HarnessError(f"item_interval: a mean accuracy of {mean} is not in [0, 1]")
    if items < 1:
        return Interval(None, None, None, 0)
    z = float(special.ndtri((1 + level) / 2))
    shrink = 1 / (1 + z**2 / items)
    centre = shrink * (mean + z**2 / (2 * items))
    half = shrink * z * math.sqrt(mean * (1 - mean) / items + z**2 / (4 * items**2))
    return Interval(mean, max(0.0, centre - half), min(1.0, centre + half), items)


def welch(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Difference:
    """Welch's t interval and test for the difference of two means (unequal variances).

    Degenerate cases: an empty side gives None throughout; a side with one value leaves only the
    difference. If neither side varies, the interval has width 0 and t, df and p are None: two
    constants carry no estimate of noise, so that no test is possible.

    Raises:
        HarnessError: a value is not finite, or the level is outside (0, 1).
    """
    x, y = finite(a), finite(b)
    check_level(level)
    if len(x) == 0 or len(y) == 0:
        return Difference(None, None, None, None, None, None)
    diff = float(x.mean() - y.mean())
    if len(x) < 2 or len(y) < 2:
        return Difference(diff, None, None, None, None, None)
    part_x, part_y = variance(x) / len(x), variance(y) / len(y)
    error = math.sqrt(part_x + part_y)
    if error == 0:
        rounding = abs(diff) <= _NO_SPREAD * float(max(np.abs(x).max(), np.abs(y).max()))
        diff = 0.0 if rounding else diff
        return Difference(diff, diff, diff, None, None, None)
    # Shares rather than raw squares: tiny variances squared would underflow.
    share_x, share_y = part_x / error**2, part_y / error**2
    df = 1 / (share_x**2 / (len(x) - 1) + share_y**2 / (len(y) - 1))
    t = diff / error
    half = t_quantile(level, df) * error
    return Difference(diff, diff - half, diff + half, t, df, two_sided_p(t, df))


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values, in the order given.

    None (no test was possible) stays None and doesn't count among the tests.

    Raises:
        HarnessError: a p-value outside [0, 1].
    """
    tested = [(p, i) for i, p in enumerate(pvalues) if p is not None]
    if not all(0 <= p <= 1 for p, _ in tested):  # NaN fails, too
        raise HarnessError("Holm: a p-value is outside [0, 1] or not finite")
    adjusted: list[float | None] = [None] * len(pvalues)
    running = 0.0
    for rank, (p, i) in enumerate(sorted(tested)):
        running = max(running, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = running
    return adjusted


def finite(values: Sequence[float]) -> NDArray[np.float64]:
    """The values as an array; NaN and infinity raise HarnessError."""
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise HarnessError("statistics: a value is NaN or infinite; leave missing runs out")
    return x


def check_level(level: float) -> None:
    """HarnessError unless the confidence level lies in (0, 1)."""
    if not 0 < level < 1:
        raise HarnessError(f"confidence level must be in (0, 1), got {level}")


def t_quantile(level: float, df: float) -> float:
    """Half the width, in standard errors, of a two-sided Student-t interval."""
    return float(special.stdtrit(df, (1 + level) / 2))  # what scipy.stats.t calls, far quicker


def two_sided_p(t: float, df: float) -> float:
    """Chance of a Student-t at least this far from 0."""
    return float(2 * special.stdtr(df, -abs(t)))


def variance(x: NDArray[np.float64]) -> float:
    """Unbiased variance of 2 values or more; 0 where the spread is no more than rounding."""
    deviation = float(x.std(ddof=1))
    return 0.0 if deviation <= _NO_SPREAD * float(np.abs(x).max()) else deviation**2
