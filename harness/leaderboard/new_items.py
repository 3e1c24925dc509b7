"""Would it hold on new items, too? Intervals from each run's scores by item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.leaderboard.collect import Run
from harness.statistics import new_items_difference, new_items_interval

Scores = dict[str, NDArray[np.float64]]
"""Item scores by task, one row for each run."""


def by_metric(runs: Iterable[Run]) -> dict[str, Scores]:
    """The item scores that each accuracy of a method's runs is the mean of.

    ``solver/<task>/<mode>`` has one task, ``solver/macro/<mode>`` all that have the mode. A run
    counts in a metric if it measured it after its last iteration, as in the table's means.
    """
    stacked: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for run in runs:
        measured = run.iterations[-1] if run.iterations else {}
        for (task, mode), scores in sorted(run.scores.items()):
            for metric in (f"solver/{task}/{mode}", f"solver/macro/{mode}"):
                if measured.get(metric) is not None:
                    stacked.setdefault(metric, {}).setdefault(task, []).append(scores)
    return {
        metric: {task: np.stack(rows).astype(np.float64) for task, rows in tasks.items()}
        for metric, tasks in stacked.items()
    }


def new_items(ours: Scores, theirs: Scores | None, level: float) -> dict[str, float | None]:
    """The ``new_...`` columns of a row: mean and difference with the items' variance in them."""
    interval = new_items_interval(ours, level)
    found = {"new_ci_low": interval.low, "new_ci_high": interval.high}
    if theirs is not None:
        difference = new_items_difference(ours, theirs, level)
        found |= {"diff_new_ci_low": difference.low, "diff_new_ci_high": difference.high}
    return found
