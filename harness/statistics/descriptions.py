"""Descriptions of sets of runs, not tests: nothing here has an interval or a p-value.

As in arXiv 2108.13264. Its stratified bootstrap is left out: resampling runs independently per task
breaks the correlation that one checkpoint has over all tasks: 73 % coverage with 3 runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import HarnessError


def probability_of_improvement(
    a: Sequence[float], b: Sequence[float], *, higher: bool = True
) -> float:
    """Share of pairs (run of a, run of b) in which a is better; equal values count half.

    The Mann-Whitney U statistic over len(a) x len(b).

    Args:
        higher: whether larger values are better.

    Raises:
        HarnessError: a side is empty, or a value is not finite.
    """
    x, y = _values(a, "probability of improvement"), _values(b, "probability of improvement")
    gap = x.ravel()[:, None] - y.ravel()[None, :]
    better = float(np.mean(gap > 0) + np.mean(gap == 0) / 2)
    return better if higher else 1.0 - better


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: of all values, floor(n / 4) left out at either end.

    Args:
        values: scores of any shape, such as [runs, tasks]; taken together.

    Raises:
        HarnessError: no values, or one is not finite.
    """
    x = np.sort(_values(values, "interquartile mean").ravel())
    out = len(x) // 4
    return float(x[out : len(x) - out].mean())


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Share of scores above each threshold.

    Args:
        values: scores [runs] or [runs, tasks].
        thresholds: [K].

    Returns:
        Shares [K], not increasing where thresholds increase.

    Raises:
        HarnessError: no values, or one of them or of the thresholds is not finite.
    """
    x = np.sort(_values(values, "performance profile").ravel())
    at = np.asarray(thresholds, dtype=np.float64)
    if not np.isfinite(at).all():
        raise HarnessError("performance profile: a threshold is NaN or infinite")
    return 1.0 - np.searchsorted(x, at, side="right") / len(x)


def _values(values: ArrayLike, what: str) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise HarnessError(f"{what}: no values")
    if not np.isfinite(x).all():
        raise HarnessError(f"{what}: a value is NaN or infinite; leave missing runs out")
    return x
