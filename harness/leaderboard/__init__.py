"""Leaderboards: a pure function of run folders."""

from harness.leaderboard.build import BASE, COLUMNS, build
from harness.leaderboard.collect import Missing, Point, Run, Table, collect, find_runs
from harness.leaderboard.compact import compact
from harness.leaderboard.dataset import dataset_files, write_dataset
from harness.leaderboard.frames import cost, per_run
from harness.leaderboard.matched import matched
from harness.leaderboard.metrics import Metric, describe
from harness.leaderboard.output import terminal_table, write_csv
from harness.leaderboard.publishing import SUFFIXES, Board, file_stem, prepare
from harness.leaderboard.views import markdown, wide

__all__ = [
    "BASE",
    "COLUMNS",
    "SUFFIXES",
    "Board",
    "Metric",
    "Missing",
    "Point",
    "Run",
    "Table",
    "build",
    "collect",
    "compact",
    "cost",
    "dataset_files",
    "describe",
    "file_stem",
    "find_runs",
    "markdown",
    "matched",
    "per_run",
    "prepare",
    "terminal_table",
    "wide",
    "write_csv",
    "write_dataset",
]
