"""Accuracy at equal compute: the same generated tokens, FLOPs or seconds for every method.

A run's accuracy at a budget is read off the straight line between the two of its evaluations
around it (the base model's, at 0, among them), and never beyond its last. Such a line is a guess
about what lies between: `interpolated` counts the runs that needed one, `span` says how many
iterations the longest of them bridges. Accuracy rises early and flattens, so that a line over
several iterations understates what was reached, by more than runs differ: over such a line no
interval of a difference is given, and no test made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.leaderboard.collect import Run, Table
from harness.leaderboard.metrics import describe
from harness.leaderboard.ranking import adjust
from harness.statistics import at_budget, common_budget, t_interval, welch

BY = ("tokens", "flops", "seconds")
"""What is held equal: generated tokens, model FLOPs, seconds of the training phases."""
COMMON = "common"
FRACTIONS = (0.25, 0.5, 0.75)
"""Of what the baseline's runs took on average. Not 1: half of its own runs don't reach that."""
LONGEST_SPAN = 1
"""Iterations between two evaluations, up to which a difference has an interval and a test."""

MATCHED = (
    "profile",
    "suite",
    "split",
    "by",
    "at",
    "budget",
    "method",
    "baseline",
    "metric",
    "n_seeds",
    "seeds",
    "beyond",
    "mean",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "p_welch",
    "p_holm",
    "interpolated",
    "span",
    "estimated",
)
"""Columns of `matched`; ``leaderboards/README.md`` explains them."""
_FLOATS = (
    "budget",
    "mean",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "p_welch",
    "p_holm",
)


@dataclass(frozen=True)
class _Curve:
    """A run's accuracy over its compute.

    Attributes:
        x: cumulative compute, ascending from 0.
        y: accuracy.
        iterations: after which it was measured; 0 is the base model.
        estimated: whether some of x is an estimate rather than a measurement.
    """

    seed: int
    x: list[float]
    y: list[float]
    iterations: list[int]
    estimated: bool

    def at(self, budget: float) -> float | None:
        return at_budget(self.x, self.y, budget)

    def span(self, budget: float) -> int:
        """Iterations between the evaluations around a budget; 0 where one was made right there."""
        if budget in self.x:
            return 0
        after = bisect_left(self.x, budget)
        return self.iterations[after] - self.iterations[after - 1]


def matched(table: Table, baseline: str | None, level: float = 0.95) -> pd.DataFrame:
    """Every method's accuracy at equal compute, in long format with the columns `MATCHED`.

    The budgets are the largest that every measured run reaches (``common``), and a quarter, half
    and three quarters of what the baseline's runs took on average. A method of which some run
    ended before a budget has no mean there: to average the others alone would drop a seed.
    Differences are from the baseline at the same budget, with Welch intervals; Holm's correction is
    over the methods at one budget. Both are empty where a line bridges several iterations.

    Args:
        table: what `collect` read.
        baseline: the method that differences refer to; None for none.
        level: confidence level of all intervals.
    """
    rows: list[dict[str, Any]] = []
    for part in table.groups:
        rows += _group(part, baseline, level)
    adjust(rows, ("suite", "profile", "split", "by", "at", "metric"))
    return pd.DataFrame(rows, columns=list(MATCHED)).astype(dict.fromkeys(_FLOATS, "float64"))


def _group(part: Table, baseline: str | None, level: float) -> list[dict[str, Any]]:
    first = part.runs[0]
    shared = {
        "profile": first.manifest.profile,
        "suite": first.manifest.suite,
        "split": first.split,
        "baseline": baseline or "",
    }
    methods = sorted({r.manifest.method for r in part.runs}, key=lambda m: (m != baseline, m))
    metrics = {name for r in part.runs for point in r.trajectory[1:] for name in point.metrics}
    rows = []
    for by in BY:
        for metric in sorted(m for m in metrics if describe(m).primary):
            curves = {
                m: _curves([r for r in part.runs if r.manifest.method == m], by, metric)
                for m in methods
            }
            for at, budget in _budgets(curves, baseline).items():
                where = {**shared, "by": by, "at": at, "budget": budget, "metric": metric}
                rows += _at(where, curves, baseline, budget, level)
    return rows


def _curves(runs: Sequence[Run], by: str, metric: str) -> list[_Curve]:
    """The runs that measured the metric after training, as far as their compute is known."""
    found = []
    for run in runs:
        measured = [p for p in run.trajectory if p.metrics.get(metric) is not None]
        x = [getattr(point, by) for point in measured]
        if len(measured) < 2 or None in x:
            continue
        y = [float(point.metrics[metric] or 0.0) for point in measured]
        estimated = by == "seconds" and not all(p.seconds_exact for p in measured)
        iterations = [point.iteration for point in measured]
        spent = [float(v) for v in x]
        found.append(_Curve(run.manifest.seed, spent, y, iterations, estimated))
    return found


def _budgets(curves: Mapping[str, Sequence[_Curve]], baseline: str | None) -> dict[str, float]:
    every = [curve.x for of_method in curves.values() for curve in of_method]
    if not every:
        return {}
    budgets = {COMMON: common_budget(every)}
    ends = [curve.x[-1] for curve in curves.get(baseline or "", [])]
    if ends:
        budgets |= {f"{f:g} x baseline": f * float(np.mean(ends)) for f in FRACTIONS}
    return budgets


def _at(
    where: Mapping[str, Any],
    curves: Mapping[str, Sequence[_Curve]],
    baseline: str | None,
    budget: float,
    level: float,
) -> list[dict[str, Any]]:
    """A row for each method at one budget."""
    reference = curves.get(baseline or "", [])
    rows = []
    for method, of_method in curves.items():
        reach = [c for c in of_method if c.at(budget) is not None]
        ours = _values(of_method, budget)
        theirs = _values(reference, budget) if method != baseline else []
        interval, difference = t_interval(ours, level), welch(ours, theirs, level)
        spans = [c.span(budget) for c in reach]
        guessed = max([*spans, *(c.span(budget) for c in reference if theirs)], default=0)
        tested = guessed <= LONGEST_SPAN
        rows.append(
            {
                **where,
                "method": method,
                "n_seeds": len(reach),
                "seeds": ";".join(str(c.seed) for c in reach),
                "beyond": len(of_method) - len(reach),
                "mean": interval.mean,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "diff": difference.diff,
                "diff_ci_low": difference.low if tested else None,
                "diff_ci_high": difference.high if tested else None,
                "p_welch": difference.p if tested else None,
                "interpolated": sum(span > 0 for span in spans),
                "span": max(spans, default=0),
                "estimated": sum(c.estimated for c in reach),
            }
        )
    return rows


def _values(curves: Sequence[_Curve], budget: float) -> list[float]:
    """Each run's accuracy at the budget; none at all if one of them ended before it."""
    found = [curve.at(budget) for curve in curves]
    return [v for v in found if v is not None] if None not in found else []
