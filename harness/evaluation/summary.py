"""Accuracies and rates of an evaluation's item x sample rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Metrics of an evaluation (the rows of ``Evaluator.evaluate``), by name, sorted.

    - ``solver/<task>/<mode>``: mean over items of the mean score of the item's samples (avg@k).
    - ``solver/<task>/<group>/<mode>``: the same within a group (a tier, a subject).
    - ``solver/macro/<mode>``: mean over the tasks that have the mode.
    - ``solver/<task>/truncated``, ``.../no_answer``, ``.../timeout``: shares of all responses.
    """
    metrics: dict[str, float] = {}
    by_mode: dict[str, list[float]] = {}
    for (task, mode), part in rows.groupby(["task", "mode"], sort=True):
        task, mode = str(task), str(mode)
        items = part.groupby(["doc_id", "group"], sort=True)["score"].mean().reset_index()
        accuracy = float(items["score"].mean())
        metrics[f"solver/{task}/{mode}"] = accuracy
        by_mode.setdefault(mode, []).append(accuracy)
        for group, members in items.groupby("group", sort=True):
            if group != "":
                metrics[f"solver/{task}/{group}/{mode}"] = float(members["score"].mean())
    for task, part in rows.groupby("task", sort=True):
        task = str(task)
        metrics[f"solver/{task}/truncated"] = float(part["truncated"].mean())
        for verdict in ("no_answer", "timeout"):
            metrics[f"solver/{task}/{verdict}"] = float((part["verdict"] == verdict).mean())
    for mode, values in by_mode.items():
        metrics[f"solver/macro/{mode}"] = math.fsum(values) / len(values)
    return dict(sorted(metrics.items()))
