"""Leaderboards: a pure function of run folders."""

from harness.leaderboard.build import BASE, COLUMNS, build, cost, per_run
from harness.leaderboard.collect import Run, Table, collect, find_runs
from harness.leaderboard.compact import compact
from harness.leaderboard.metrics import Metric, describe
from harness.leaderboard.output import terminal_table, write_csv

__all__ = [
    "BASE",
    "COLUMNS",
    "Metric",
    "Run",
    "Table",
    "build",
    "collect",
    "compact",
    "cost",
    "describe",
    "find_runs",
    "per_run",
    "terminal_table",
    "write_csv",
]
