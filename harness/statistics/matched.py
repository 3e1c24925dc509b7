"""Runs compared at equal compute: what a run had reached when it had spent as much as another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from harness.errors import HarnessError
from harness.statistics.intervals import finite


def at_budget(x: Sequence[float], y: Sequence[float], budget: float) -> float | None:
    """Score of one run after spending `budget`, between its measurements by a straight line.

    Args:
        x: cumulative compute at each measurement, not decreasing; any unit, that of `budget`.
        y: score at each measurement.
        budget: where to read the score.

    Returns:
        None before the first and after the last measurement: what a run would have reached is
        never guessed. Where several measurements have the same compute, the last one counts.

    Raises:
        HarnessError: different lengths, compute that decreases, or a number that is not finite.
    """
    spent, score = finite(x), finite(y)
    if len(spent) != len(score):
        raise HarnessError(f"matched compute: {len(spent)} budgets against {len(score)} scores")
    _check_increasing(spent.tolist())
    finite([budget])
    after = bisect_right(spent, budget)
    if after == 0:
        return None
    if spent[after - 1] == budget:
        return float(score[after - 1])
    if after == len(spent):
        return None
    share = (budget - spent[after - 1]) / (spent[after] - spent[after - 1])
    return float((1 - share) * score[after - 1] + share * score[after])


def common_budget(xs: Sequence[Sequence[float]]) -> float:
    """The largest budget that every run reached: the smallest of their last measurements.

    Args:
        xs: cumulative compute at each run's measurements, not decreasing.

    Raises:
        HarnessError: no run, a run without measurements, compute that decreases, or a number that
            is not finite.
    """
    if len(xs) == 0 or any(len(x) == 0 for x in xs):
        raise HarnessError("matched compute: a run has no measurement; leave it out")
    for x in xs:
        _check_increasing(finite(x).tolist())
    return float(min(x[-1] for x in xs))


def _check_increasing(spent: Sequence[float]) -> None:
    if any(b < a for a, b in pairwise(spent)):
        raise HarnessError("matched compute: cumulative compute decreases; sort it by iteration")
