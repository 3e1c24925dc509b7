"""Accuracies and rates of an evaluation's item x sample rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.evaluation.clusters import metrics_at_k
from harness.evaluation.runner import GROUP_SEPARATOR
from harness.grading import How

if TYPE_CHECKING:
    import pandas as pd


def item_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean score of each item's samples (avg@k): columns doc_id, group, score."""
    return rows.groupby(["doc_id", "group"], sort=True)["score"].mean().reset_index()


def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Metrics of an evaluation (the rows of ``Evaluator.evaluate``), by name, sorted.

    - ``solver/<task>/<mode>``: mean over items of the mean score of the item's samples (avg@k).
    - ``solver/<task>/<group>/<mode>``: the same within a group (a tier, a subject, a level).
    - ``solver/<task>/pass@k``, ``.../maj@k``, ``.../best_of_majority@k``: what k samples reach
      (``harness.statistics.samples``), for k = 2, 4, ... where an item has 2k samples or more.
    - ``solver/macro/...``: mean over the tasks that have the mode, or the metric at that k.
    - ``solver/<task>/truncated``, ``.../no_answer``, ``.../timeout`` and ``.../fallback`` (no box,
      but an answer stated in words): shares of all responses.
    """
    metrics: dict[str, float] = {}
    by_name: dict[str, list[float]] = {}
    for (task, mode), part in rows.groupby(["task", "mode"], sort=True):
        task, mode = str(task), str(mode)
        items = item_scores(part)
        found = {mode: float(items["score"].mean())}
        if mode == "sampled" and "cluster" in part.columns:  # since result schema 2
            found |= metrics_at_k(part)
        for name, value in found.items():
            metrics[f"solver/{task}/{name}"] = value
            by_name.setdefault(name, []).append(value)
        groups = items.assign(group=items["group"].str.split(GROUP_SEPARATOR)).explode("group")
        for group, members in groups.groupby("group", sort=True):
            if group != "":
                metrics[f"solver/{task}/{group}/{mode}"] = float(members["score"].mean())
    for task, part in rows.groupby("task", sort=True):
        task = str(task)
        metrics[f"solver/{task}/truncated"] = float(part["truncated"].mean())
        if "found" in part.columns:  # the first evaluations don't say
            metrics[f"solver/{task}/fallback"] = float((part["found"] == str(How.STATED)).mean())
        for verdict in ("no_answer", "timeout"):
            metrics[f"solver/{task}/{verdict}"] = float((part["verdict"] == verdict).mean())
    for name, values in by_name.items():
        metrics[f"solver/macro/{name}"] = math.fsum(values) / len(values)
    return dict(sorted(metrics.items()))
