"""Intervals that hold for new seeds and for new items of the same kind.

Student's and Welch's intervals are about new seeds on these items. Here the items, too, are a
sample: to the variance between seeds comes that between items. Two-way crossed design; the two
parts are added, and their degrees of freedom combined by Satterthwaite's formula (Biometrics
Bulletin 2, 1946), sum(v)^2 / sum(v^2 / df). The variation of an item from seed to seed is in both
parts, which errs on the wide side.

Scores come as one array [runs, items] per task, in the same order of runs and items throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import HarnessError
from harness.statistics.intervals import (
    Difference,
    Interval,
    check_level,
    t_quantile,
    two_sided_p,
    variance,
)

Scores = Mapping[str, ArrayLike]
"""Per task the item scores [R, I_task] of R runs."""

Part = tuple[float, float]
"""One part of the variance of a mean, and its degrees of freedom."""


def new_items_interval(scores: Scores, level: float = 0.95) -> Interval:
    """Mean over tasks of the mean item score, with an interval for new seeds and new items.

    Variance: s^2 / R of the runs' macro means (R - 1 degrees of freedom), plus for each of the T
    tasks the variance over items of an item's mean over runs, / I_task / T^2 (I_task - 1).

    Never narrower than Student's interval over the runs: with few seeds the degrees of freedom that
    the items bring can shrink the multiplier more than their variance adds, yet what holds for new
    items has to hold for these.

    Returns:
        n = R. Bounds are None for fewer than 2 runs or where a task has a single item; no task, or
        no run, gives an empty interval.

    Raises:
        HarnessError: a score is not finite, a task has no items, tasks differ in their number of
            runs, or the level is outside (0, 1).
    """
    check_level(level)
    arrays = _arrays(scores)
    runs = _runs(arrays)
    if runs == 0:
        return Interval(None, None, None, 0)
    macro = _macro(arrays)
    mean = float(macro.mean())
    parts = _item_parts({task: x.mean(axis=0) for task, x in arrays.items()})
    if runs < 2 or parts is None:
        return Interval(mean, None, None, runs)
    half = _half_width([(variance(macro) / runs, runs - 1)], parts, level)
    return Interval(mean, mean - half, mean + half, runs)


def new_items_difference(a: Scores, b: Scores, level: float = 0.95) -> Difference:
    """Difference of two macro means, with an interval for new seeds and new items.

    Variance: Welch's s_a^2 / R_a + s_b^2 / R_b, plus that of the paired differences of items (each
    item's mean over a's runs minus that over b's). Never narrower than Welch's interval, as above.

    Returns:
        t, df and p are those of the sum of all parts. Bounds, t, df and p are None if a side has
        fewer than 2 runs or a task a single item; t, df and p also where nothing varies.

    Raises:
        HarnessError: the sides don't have the same tasks and numbers of items, or what
            `new_items_interval` raises.
    """
    check_level(level)
    arrays_a, arrays_b = _arrays(a), _arrays(b)
    _check_same_items(arrays_a, arrays_b)
    runs_a, runs_b = _runs(arrays_a), _runs(arrays_b)
    if runs_a == 0 or runs_b == 0:
        return Difference(None, None, None, None, None, None)
    macro_a, macro_b = _macro(arrays_a), _macro(arrays_b)
    diff = float(macro_a.mean() - macro_b.mean())
    paired = {task: x.mean(axis=0) - arrays_b[task].mean(axis=0) for task, x in arrays_a.items()}
    parts = _item_parts(paired)
    if runs_a < 2 or runs_b < 2 or parts is None:
        return Difference(diff, None, None, None, None, None)
    seeds: list[Part] = [
        (variance(macro_a) / runs_a, runs_a - 1),
        (variance(macro_b) / runs_b, runs_b - 1),
    ]
    half = _half_width(seeds, parts, level)
    total, df = _satterthwaite([*seeds, *parts])
    if total == 0:
        return Difference(diff, diff, diff, None, None, None)
    t = diff / math.sqrt(total)
    return Difference(diff, diff - half, diff + half, t, df, two_sided_p(t, df))


def _arrays(scores: Scores) -> dict[str, NDArray[np.float64]]:
    arrays = {task: np.asarray(x, dtype=np.float64) for task, x in scores.items()}
    for task, x in arrays.items():
        if x.ndim != 2:
            raise HarnessError(
                f"item scores of {task}: expected [runs, items], got {x.ndim} dimensions"
            )
        if x.shape[1] == 0:
            raise HarnessError(f"item scores of {task}: no items; leave the task out")
        if not np.isfinite(x).all():
            raise HarnessError(
                f"item scores of {task}: a score is NaN or infinite; leave its run out"
            )
    return arrays


def _runs(arrays: Mapping[str, NDArray[np.float64]]) -> int:
    counts = {task: x.shape[0] for task, x in arrays.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{task} {n}" for task, n in counts.items())
        raise HarnessError(f"item scores: tasks differ in their number of runs ({found})")
    return next(iter(counts.values()), 0)


def _check_same_items(
    a: Mapping[str, NDArray[np.float64]], b: Mapping[str, NDArray[np.float64]]
) -> None:
    if alone := sorted(a.keys() ^ b.keys()):
        raise HarnessError(f"item scores: only one side has {', '.join(alone)}; nothing to pair")
    for task, x in a.items():
        if x.shape[1] != b[task].shape[1]:
            raise HarnessError(
                f"item scores of {task}: {x.shape[1]} items against {b[task].shape[1]}; "
                "compare runs that were evaluated on the same items"
            )


def _macro(arrays: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over tasks of the mean over items, per run [R]."""
    return np.asarray(np.mean([x.mean(axis=1) for x in arrays.values()], axis=0))


def _item_parts(items: Mapping[str, NDArray[np.float64]]) -> list[Part] | None:
    """What each task's items [I_task] add to the variance; None where one item says nothing."""
    if any(len(x) < 2 for x in items.values()):
        return None
    return [(variance(x) / len(x) / len(items) ** 2, len(x) - 1) for x in items.values()]


def _satterthwaite(parts: list[Part]) -> Part:
    """Sum of the parts and its degrees of freedom; those of the first part where all are 0."""
    total = sum(v for v, _ in parts)
    if total == 0:
        return 0.0, parts[0][1]
    # Shares rather than raw squares: tiny variances squared would underflow.
    return total, 1 / sum((v / total) ** 2 / df for v, df in parts)


def _half_width(seeds: list[Part], items: list[Part], level: float) -> float:
    """Half the interval of all parts, but no less than that of the seeds alone."""
    widths = []
    for parts in (seeds, [*seeds, *items]):
        total, df = _satterthwaite(parts)
        widths.append(t_quantile(level, df) * math.sqrt(total))
    return max(widths)
