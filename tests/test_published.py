"""The published boards are what the published runs say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.findings import END, START, tables
from harness.leaderboard import build, collect, cost, find_runs, per_run, write_csv
from harness.leaderboard.collect import Table

ROOT = Path(__file__).resolve().parents[1]
BOARDS = ROOT / "leaderboards"


@pytest.fixture(scope="module")
def table() -> Table:
    return collect(find_runs(BOARDS / "results", profile="ladder"))


@pytest.mark.parametrize("kind", ["", ".runs", ".cost"])
def test_each_file_is_recomputed_byte_for_byte(table: Table, tmp_path: Path, kind: str) -> None:
    made = {
        "": lambda: build(table, "rzero"),
        ".runs": lambda: per_run(table),
        ".cost": lambda: cost(table),
    }[kind]()
    write_csv(made, tmp_path / "again.csv")
    published = BOARDS / f"ladder{kind}.csv"
    assert (tmp_path / "again.csv").read_bytes() == published.read_bytes()


def test_the_findings_tables_are_current() -> None:
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    shown = page.partition(START)[2].partition(END)[0].strip()
    assert shown == tables(pd.read_csv(BOARDS / "ladder.runs.csv")).strip()


def test_every_run_is_small() -> None:
    for run in find_runs(BOARDS / "results"):
        assert sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) < 150_000, run
