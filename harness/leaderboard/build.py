"""From runs to the long leaderboard: one row per profile, method, metric and moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.leaderboard.collect import Run, Table, Values
from harness.leaderboard.metrics import describe
from harness.leaderboard.schema import short_hash
from harness.statistics import holm, t_interval, welch
from harness.store import Status

BASE = "base"
"""Name of the base model's rows: nothing was trained, the solver is as shipped."""
FINAL, FIRST = "final", "first"

COLUMNS = (
    "profile",
    "suite",
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
    "p_welch",
    "p_holm",
    "status",
    "config_hash",
    "base_model_hash",
    "data_hash",
    "prompt_hash",
    "engine",
)
"""Columns of a leaderboard, in order; ``leaderboards/README.md`` explains them."""
_FLOATS = ("mean", "ci_low", "ci_high", "diff", "diff_ci_low", "diff_ci_high", "p_welch", "p_holm")

_RUN = ("profile", "base_model", "method", "seed", "status")
"""Columns that tell one run from another."""

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
    for profile in table.profiles:
        runs = table.of(profile)
        methods = sorted({r.manifest.method for r in runs}, key=lambda m: (m != baseline, m))
        if baseline is not None and baseline not in methods:
            raise HarnessError(
                f"profile {profile} has no run of the baseline {baseline!r} (it has: "
                f"{', '.join(methods)}); run it, or name another baseline"
            )
        rows += _base_rows(runs, baseline, level)
        per_method = {m: _values(table.of(profile, m)) for m in methods}
        shown = _primary(per_method.values())
        reference = per_method.get(baseline, {}) if baseline is not None else {}
        entries: Rows = []
        for method in methods:
            common = _common(table.of(profile, method), method, baseline)
            values = per_method[method]
            for key in sorted({*values, *shown}, key=lambda k: (k[0], k[1] != FIRST)):
                against = reference.get(key, {}) if method != baseline else {}
                entries.append({**common, **_row(key, values.get(key, {}), against, level)})
        _adjust(entries)
        rows += entries
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(_FLOATS, "float64") | {"n_seeds": "int64"})


ByRun = dict[int, float]
"""A metric's value by seed."""
Key = tuple[str, str]
"""Metric and moment."""


def _values(runs: list[Run]) -> dict[Key, ByRun]:
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


def _adjust(entries: Rows) -> None:
    """Holm over all methods of a profile, for each metric by itself."""
    families: dict[Key, Rows] = {}
    for entry in entries:
        families.setdefault((entry["metric"], entry["iteration"]), []).append(entry)
    for family in families.values():
        for entry, adjusted in zip(family, holm([e["p_welch"] for e in family]), strict=True):
            entry["p_holm"] = adjusted


def _common(runs: list[Run], method: str, baseline: str | None) -> dict[str, Any]:
    """The columns that all rows of a method share."""
    counts = Counter(run.status for run in runs)
    return {
        "profile": runs[0].manifest.profile,
        "suite": runs[0].manifest.suite,
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


def _base_rows(runs: list[Run], baseline: str | None, level: float) -> Rows:
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


def _of_run(run: Run) -> tuple[str, str, str, int, str]:
    m = run.manifest
    return (m.profile, m.base_model, m.method, m.seed, run.status.value)


def per_run(table: Table) -> pd.DataFrame:
    """Every number of every run, with the run's profile, base model, method, seed and status.

    Iteration 0 is the base model. A metric that was measured and has no value has an empty one.
    """
    columns = [*_RUN, "iteration", "metric", "value"]
    rows = []
    for run in table.runs:
        for t, metrics in enumerate([run.base or {}, *run.iterations]):
            rows += [(*_of_run(run), t, name, metrics[name]) for name in sorted(metrics)]
    return pd.DataFrame(rows, columns=columns).astype({"value": "float64"})


def cost(table: Table) -> pd.DataFrame:
    """Seconds and bytes per run.

    Apart from the results, since no two executions agree in them.
    """
    rows = []
    for run in table.runs:
        if run.cost is None:
            continue
        named: list[tuple[str, str, float | None]] = [
            ("cpu", "seconds", run.cost.cpu_seconds),
            ("wall", "seconds", run.cost.wall_seconds),
            ("peak_rss", "bytes", run.cost.peak_rss_bytes),
        ]
        named += [(f"phase/{name}", "seconds", v) for name, v in sorted(run.cost.phases.items())]
        rows += [(*_of_run(run), name, unit, v) for name, unit, v in named if v is not None]
    columns = [*_RUN, "cost", "unit", "value"]
    return pd.DataFrame(rows, columns=columns).astype({"value": "float64"})
