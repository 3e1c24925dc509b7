"""Every number of every run, and what each run cost: long tables for plots and for checking."""

from __future__ import annotations

import pandas as pd

from harness.leaderboard.collect import Run, Table

_RUN = ("profile", "suite", "split", "base_model", "method", "seed", "status")
"""Columns that tell one run from another."""


def _of_run(run: Run) -> tuple[str, str, str, str, str, int, str]:
    m = run.manifest
    return (m.profile, m.suite, run.split, m.base_model, m.method, m.seed, run.status.value)


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
