"""The published boards are what the published runs say, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.findings import END, START, five, tables
from harness.leaderboard import SUFFIXES, Board, collect, cost, find_runs, per_run, prepare

ROOT = Path(__file__).resolve().parents[1]
BOARDS = ROOT / "leaderboards"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as git's index has it: `make demo` writes tables of its own into the real one."""
    git = ["git", "-C", str(ROOT)]
    asked = [*git, "ls-files", "leaderboards"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    tables = [name for name in listed if Path(name).parent == Path("leaderboards")]
    if not tables:  # no checkout
        return BOARDS
    copy = tmp_path_factory.mktemp("published")
    subprocess.run([*git, "checkout-index", f"--prefix={copy}/", "--", *tables], check=True)
    return copy / "leaderboards"


@pytest.fixture(scope="module")
def board() -> Board:
    (made,) = prepare(collect(find_runs(BOARDS / "results", profile="ladder")))
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_file_is_recomputed_byte_for_byte(board: Board, published: Path, suffix: str) -> None:
    name = f"ladder-ladder{suffix}"
    assert board.files()[name] == (published / name).read_bytes()


def test_no_other_table_lies_there(board: Board, published: Path) -> None:
    tables = {p.name for p in published.iterdir() if p.suffix in (".csv", ".md")} - {"README.md"}
    assert tables == set(board.files())


def test_every_column_is_explained(board: Board) -> None:
    page = (BOARDS / "README.md").read_text(encoding="utf-8")
    for frame in (board.long, board.matched, per_run(board.table), cost(board.table)):
        assert [name for name in frame.columns if f"`{name}`" not in page] == []


def between_marks(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(START)[2].partition(END)[0].strip()


def test_the_tables_in_the_texts_are_current(published: Path) -> None:
    board, runs = published / "ladder-ladder.csv", published / "ladder-ladder.runs.csv"
    assert between_marks("docs/findings.md") == tables(pd.read_csv(runs))
    assert between_marks("README.md") == five(pd.read_csv(board))


def test_every_run_is_small() -> None:
    for run in find_runs(BOARDS / "results"):
        assert sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) < 150_000, run
