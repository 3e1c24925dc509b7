"""What a report shows of one table of runs: every chart, table and figure is drawn from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.leaderboard import BASE, Board, Run, Table, build, matched, per_run
from harness.report.manifests import read_manifests
from harness.report.questions import Questions, read_questions

TRAJECTORY = ("method", "seed", "iteration", "tokens", "flops", "seconds", "seconds_exact")
"""Columns of `ReportData.trajectory` before those of the metrics."""
HEADLINES = ("solver/macro/sampled", "solver/macro/greedy")
"""What a solver is ranked by, most precise first."""


@dataclass(frozen=True)
class ReportData:
    """One table (suite, profile and, where it was split, the part) with all that is shown of it.

    Attributes:
        title: suite, profile and part, for people.
        stem: the same as a file name without suffix.
        suite: what was evaluated.
        profile: what was run.
        split: which part of a table that was split; "" for a whole one.
        base_model: what both roles start from.
        baseline: the method that differences refer to; None for none.
        level: confidence level of all intervals.
        board: `harness.leaderboard.build`'s long frame.
        runs: `harness.leaderboard.per_run`'s frame: a row per run, iteration (0: base) and metric.
        matched: `harness.leaderboard.matched`'s frame: accuracies at equal compute.
        trajectory: a row per evaluation of a run, with the columns `TRAJECTORY` (compute spent up
            to then; 0 for the base model) and one column per metric in `HEADLINES` that was
            measured.
        questions: a sample of the generated questions.
        manifests: every run's folder name, status, manifest, cost and end.
        missing: what isn't there or isn't finished: method, seed, why.
    """

    title: str
    stem: str
    suite: str
    profile: str
    split: str
    base_model: str
    baseline: str | None
    level: float
    board: pd.DataFrame
    runs: pd.DataFrame
    matched: pd.DataFrame
    trajectory: pd.DataFrame
    questions: Questions
    manifests: list[dict[str, Any]]
    missing: pd.DataFrame

    @property
    def methods(self) -> list[str]:
        """Methods in the order of the board: the baseline first; without the base model."""
        named = self.runs["method"].unique()
        return sorted(named, key=lambda m: (m != self.baseline, m))

    @property
    def headline(self) -> str:
        """The accuracy that the page opens with; "" where no solver was evaluated."""
        there = set(self.board.loc[self.board["method"] != BASE, "metric"])
        return next((metric for metric in HEADLINES if metric in there), "")


def report_data(table: Table, baseline: str | None, level: float = 0.95) -> ReportData:
    """Everything a report shows of one table.

    Args:
        table: the runs of one suite, profile and split, as in `Table.groups`.
        baseline: the method that differences and tests refer to; None for none.
        level: confidence level of all intervals.

    Raises:
        HarnessError: runs of several tables, no run of the baseline, or a file that can't be read.
    """
    long = build(table, baseline, level)
    return board_data(Board(table, baseline, long, matched(table, baseline, level)), level)


def board_data(board: Board, level: float = 0.95) -> ReportData:
    """The same of a table whose numbers are made already, as by `harness.leaderboard.prepare`.

    Raises:
        HarnessError: runs of several tables, or a file that can't be read.
    """
    table = board.table
    suite, profile, split = table.names
    return ReportData(
        title=", ".join(dict.fromkeys(part for part in (suite, profile, split) if part)),
        stem=board.stem,
        suite=suite,
        profile=profile,
        split=split,
        base_model="; ".join(sorted({run.manifest.base_model for run in table.runs} - {""})),
        baseline=board.baseline,
        level=level,
        board=board.long,
        runs=per_run(table),
        matched=board.matched,
        trajectory=_trajectory(table.runs),
        questions=read_questions(table.runs),
        manifests=read_manifests(table.runs),
        missing=_missing(table),
    )


def _trajectory(runs: tuple[Run, ...]) -> pd.DataFrame:
    """Compute spent and accuracy reached, at each evaluation of each run."""
    rows = []
    for run in runs:
        for point in run.trajectory:
            spent = (point.tokens, point.flops, point.seconds, point.seconds_exact)
            scores = [point.metrics.get(metric) for metric in HEADLINES]
            rows.append((run.manifest.method, run.manifest.seed, point.iteration, *spent, *scores))
    frame = pd.DataFrame(rows, columns=[*TRAJECTORY, *HEADLINES])
    numbers = dict.fromkeys(("tokens", "flops", "seconds", *HEADLINES), "float64")
    return frame.astype(numbers).drop(columns=[m for m in HEADLINES if frame[m].isna().all()])


def _missing(table: Table) -> pd.DataFrame:
    rows = [(m.method, m.seed, m.why) for m in table.missing]
    return pd.DataFrame(rows, columns=["method", "seed", "why"])
