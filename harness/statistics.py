"""Intervals, differences and corrections over training runs. Pure functions, no random draws.

The unit of replication is the training run (one seed of one method), so that every function here
takes one number per run. With 3 runs a percentile bootstrap is little more than [min, max] and
covers about 75 %; Student's t covers what it says, which a simulation in the tests checks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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
    x = _finite(values)
    _check_level(level)
    n = len(x)
    if n == 0:
        return Interval(None, None, None, 0)
    mean = float(x.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * math.sqrt(_variance(x) / n)
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
    z = float(stats.norm.ppf((1 + level) / 2))
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
    x, y = _finite(a), _finite(b)
    _check_level(level)
    if len(x) == 0 or len(y) == 0:
        return Difference(None, None, None, None, None, None)
    diff = float(x.mean() - y.mean())
    if len(x) < 2 or len(y) < 2:
        return Difference(diff, None, None, None, None, None)
    part_x, part_y = _variance(x) / len(x), _variance(y) / len(y)
    error = math.sqrt(part_x + part_y)
    if error == 0:
        return Difference(diff, diff, diff, None, None, None)
    # Shares rather than raw squares: tiny variances squared would underflow.
    share_x, share_y = part_x / error**2, part_y / error**2
    df = 1 / (share_x**2 / (len(x) - 1) + share_y**2 / (len(y) - 1))
    t = diff / error
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    return Difference(diff, diff - half, diff + half, t, df, float(2 * stats.t.sf(abs(t), df)))


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


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased pass@k of one item, 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374).

    Args:
        n: samples drawn for the item, at a temperature above 0.
        correct: c, how many of them are right.
        k: samples allowed.

    Warns if n < 2k, where the estimate is noisy.

    Raises:
        HarnessError: n < k, k < 1, or `correct` outside 0..n.
    """
    if k < 1 or n < k:
        raise HarnessError(f"pass@{k} needs at least {max(k, 1)} samples per item, got {n}")
    if not 0 <= correct <= n:
        raise HarnessError(f"pass@{k}: {correct} correct of {n} samples is impossible")
    if n < 2 * k and k > 1:
        warnings.warn(f"pass@{k} from {n} samples is noisy; draw {2 * k}", stacklevel=2)
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise HarnessError("statistics: a value is NaN or infinite; leave missing runs out")
    return x


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise HarnessError(f"confidence level must be in (0, 1), got {level}")


def _variance(x: NDArray[np.float64]) -> float:
    """Unbiased variance; 0 where the spread is no more than rounding."""
    deviation = float(x.std(ddof=1))
    return 0.0 if deviation <= _NO_SPREAD * float(np.abs(x).max()) else deviation**2
