"""From runs to the long leaderboard: one row per table, method, metric and moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.leaderboard.cells import FINAL, FIRST
from harness.leaderboard.collect import Run, Table, Values
from harness.leaderboard.metrics import describe
from harness.leaderboard.new_items import by_metric, new_items
from harness.leaderboard.ranking import adjust, ranked
from harness.leaderboard.schema import short_hash
from harness.statistics import t_interval, welch
from harness.store import Status

BASE = "base"
"""Name of the base model's rows: nothing was trained, the solver is as shipped."""

COLUMNS = (
    "profile",
    "suite",
    "split",
    "base_model",
    "method",
    "baseline",
    "metric",
    "iteration",
    "unit",
    "better",
    "n_seeds",
    "seeds",
    "mean",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "new_ci_low",
    "new_ci_high",
    "diff_new_ci_low",
    "diff_new_ci_high",
    "p_welch",
    "p_holm",
    "rank",
    "rank_low",
    "rank_high",
    "tie_group",
    "p_improvement",
    "status",
    "config_hash",
    "base_model_hash",
    "data_hash",
    "prompt_hash",
    "engine",
)
"""Columns of a leaderboard, in order; ``leaderboards/README.md`` explains them."""
_FLOATS = (
    "mean",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "new_ci_low",
    "new_ci_high",
    "diff_new_ci_low",
    "diff_new_ci_high",
    "p_welch",
    "p_holm",
    "rank",
    "rank_low",
    "rank_high",
    "p_improvement",
)

Rows = list[dict[str, Any]]


def build(table: Table, baseline: str | None, level: float = 0.95) -> pd.DataFrame:
    """The leaderboard of a table, in long format with the columns `COLUMNS`.

    A row's mean is over the runs that have the metric; a failed run that was measured counts, one
    that never was shows in ``status`` only. Incomplete runs are never averaged.

    Args:
        table: what `collect` read.
        baseline: the method that differences and tests refer to; None for none.
        level: confidence level of all intervals.

    Raises:
        HarnessError: a profile has no run of the baseline.
    """
    rows: Rows = []
    for part in table.groups:
        rows += _base_rows(part.runs, baseline, level)
        rows += _group_rows(part, baseline, level)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(_FLOATS, "float64") | {"n_seeds": "int64"})


def _group_rows(part: Table, baseline: str | None, level: float) -> Rows:
    """The rows of all methods of one table."""
    runs: dict[str, list[Run]] = {}
    for run in part.runs:
        runs.setdefault(run.manifest.method, []).append(run)
    if baseline is not None and baseline not in runs:
        raise HarnessError(
            f"profile {part.runs[0].manifest.profile} has no run of the baseline {baseline!r} (it "
            f"has: {', '.join(sorted(runs))}); run it, or name another baseline"
        )
    methods = sorted(runs, key=lambda m: (m != baseline, m))
    values = {m: _values(runs[m]) for m in methods}
    scores = {m: by_metric(runs[m]) for m in methods}
    shown = _primary(values.values())
    rows: Rows = []
    for method in methods:
        common = _common(runs[method], method, baseline)
        against = None if method == baseline else baseline
        reference, items = ({}, {}) if against is None else (values[against], scores[against])
        for key in sorted({*values[method], *shown}, key=lambda k: (k[0], k[1] != FIRST)):
            row = _row(key, values[method].get(key, {}), reference.get(key, {}), level)
            if key[1] == FINAL and key[0] in scores[method]:
                row |= new_items(scores[method][key[0]], items.get(key[0]), level)
            rows.append({**common, **row})
    adjust(rows, ("metric", "iteration"))
    _rank(rows, values, sorted(shown), baseline, level)
    return rows


ByRun = dict[int, float]
"""A metric's value by seed."""
Key = tuple[str, str]
"""Metric and moment."""


def _values(runs: Sequence[Run]) -> dict[Key, ByRun]:
    """Every metric's values at the first and at the last measured iteration."""
    found: dict[Key, ByRun] = {}
    for run in runs:
        if not run.iterations:
            continue
        moments: list[tuple[str, Values]] = [(FINAL, run.iterations[-1])]
        # The solver's first accuracy is the base model's, which has rows of its own.
        start = {k: v for k, v in run.iterations[0].items() if not k.startswith("solver/")}
        moments.append((FIRST, start))
        for moment, metrics in moments:
            for metric, value in metrics.items():
                by_run = found.setdefault((metric, moment), {})
                if value is not None:
                    by_run[run.manifest.seed] = value
    return found


def _primary(per_method: Iterable[dict[Key, ByRun]]) -> set[Key]:
    """Primary metrics that anybody has: every method shows them, with or without a number."""
    keys = {key for values in per_method for key in values}
    return {key for key in keys if describe(key[0]).primary and key[1] == FINAL}


def _row(key: Key, values: ByRun, against: ByRun, level: float) -> dict[str, Any]:
    metric, moment = key
    seeds = sorted(values)
    ours = t_interval([values[s] for s in seeds], level)
    compared = welch([values[s] for s in seeds], [against[s] for s in sorted(against)], level)
    tested = describe(metric).primary and moment == FINAL
    return {
        "metric": metric,
        "iteration": moment,
        "unit": describe(metric).unit,
        "better": describe(metric).better,
        "n_seeds": ours.n,
        "seeds": ";".join(map(str, seeds)),
        "mean": ours.mean,
        "ci_low": ours.low,
        "ci_high": ours.high,
        "diff": compared.diff,
        "diff_ci_low": compared.low,
        "diff_ci_high": compared.high,
        "p_welch": compared.p if tested else None,
    }


def _rank(
    rows: Rows,
    values: Mapping[str, dict[Key, ByRun]],
    keys: Iterable[Key],
    baseline: str | None,
    level: float,
) -> None:
    """Set the columns that order the methods in each of some metrics."""
    by_key = {(row["method"], row["metric"], row["iteration"]): row for row in rows}
    for key in keys:
        known = {m: list(found[key].values()) for m, found in values.items() if found.get(key)}
        for method, columns in ranked(key[0], known, baseline, level).items():
            by_key[method, *key] |= columns


def _common(runs: Sequence[Run], method: str, baseline: str | None) -> dict[str, Any]:
    """The columns that all rows of a method share."""
    counts = Counter(run.status for run in runs)
    return {
        "profile": runs[0].manifest.profile,
        "suite": runs[0].manifest.suite,
        "split": runs[0].split,
        "base_model": _joined(r.manifest.base_model for r in runs),
        "method": method,
        "baseline": baseline or "",
        "status": ";".join(f"{s.value}:{counts[s]}" for s in Status if counts[s]),
        "config_hash": _joined(r.manifest.config_hash for r in runs),
        "base_model_hash": _joined(r.manifest.base_model_hash for r in runs),
        "data_hash": _joined(short_hash(r.manifest.data_hashes) for r in runs),
        "prompt_hash": _joined(short_hash(r.manifest.prompt_hash) for r in runs),
        "engine": _joined(_engine(r) for r in runs),
    }


def _base_rows(runs: Sequence[Run], baseline: str | None, level: float) -> Rows:
    """The base model's accuracies, over its *different* evaluations.

    All runs start from the same weights, so equal evaluations are one; they differ where a run's
    seed entered the sampling. No interval: the unit of replication is the training run, and the
    base was trained once.
    """
    distinct: dict[str, Run] = {}
    for run in sorted(runs, key=lambda r: (r.manifest.seed, r.key)):
        if run.base is not None:
            distinct.setdefault(run.base_digest, run)
    if not distinct:
        return []
    shared = {**_common(list(distinct.values()), BASE, baseline), "status": ""}
    rows = []
    for metric in sorted({m for r in distinct.values() for m in (r.base or {})}):
        values = [(r.manifest.seed, (r.base or {}).get(metric)) for r in distinct.values()]
        known = [(seed, v) for seed, v in values if v is not None]
        row = _row((metric, FINAL), {}, {}, level)
        row |= {"n_seeds": len(known), "seeds": ";".join(str(seed) for seed, _ in known)}
        row |= {"mean": t_interval([v for _, v in known], level).mean, "p_holm": None}
        rows.append({**shared, **row})
    return rows


def _joined(values: Iterable[str]) -> str:
    return ";".join(sorted(set(values)))


def _engine(run: Run) -> str:
    engine = run.manifest.engine
    if isinstance(engine, str):
        return engine
    rest = [f"{k}={v}" for k, v in sorted(engine.items()) if k != "name"]
    return " ".join([str(engine.get("name", "")), *rest]).strip()
