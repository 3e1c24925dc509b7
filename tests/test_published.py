"""The published boards are what the published runs say, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.findings import MARKS, REAL_MARKS, five, real_tables, runs_of, tables
from harness.leaderboard import SUFFIXES, Board, collect, cost, find_runs, per_run, prepare

ROOT = Path(__file__).resolve().parents[1]
BOARDS = ROOT / "leaderboards"
PROFILES = {"ladder": "ladder-ladder", "smollm2-cpu": "math-smollm2-cpu"}
"""Each published profile and the stem of its files."""


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
def boards() -> dict[str, Board]:
    """By profile."""
    made = {}
    for profile in PROFILES:
        (made[profile],) = prepare(collect(find_runs(BOARDS / "results", profile=profile)))
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("profile", PROFILES)
def test_each_file_is_recomputed_byte_for_byte(
    boards: dict[str, Board], published: Path, profile: str, suffix: str
) -> None:
    name = f"{PROFILES[profile]}{suffix}"
    assert boards[profile].files()[name] == (published / name).read_bytes()


def test_no_other_table_lies_there(boards: dict[str, Board], published: Path) -> None:
    tables = {p.name for p in published.iterdir() if p.suffix in (".csv", ".md")} - {"README.md"}
    assert tables == {name for board in boards.values() for name in board.files()}


def test_every_column_is_explained(boards: dict[str, Board]) -> None:
    page = (BOARDS / "README.md").read_text(encoding="utf-8")
    for board in boards.values():
        for frame in (board.long, board.matched, per_run(board.table), cost(board.table)):
            assert [name for name in frame.columns if f"`{name}`" not in page] == []


def test_entries_of_a_board_share_one_declared_base(boards: dict[str, Board]) -> None:
    real = boards["smollm2-cpu"].long
    (base,) = real["base_model"].unique()
    assert "warm start gsm8k_train" in base


def between(marks: tuple[str, str], page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(marks[0])[2].partition(marks[1])[0].strip()


def test_the_tables_in_the_texts_are_current(published: Path) -> None:
    ladder, real = (published / f"{stem}.csv" for stem in PROFILES.values())
    assert between(MARKS, "docs/findings.md") == tables(runs_of(ladder))
    made = real_tables(pd.read_csv(real), runs_of(real))
    assert between(REAL_MARKS, "docs/findings.md") == made
    assert between(MARKS, "README.md") == five(pd.read_csv(ladder))


def test_every_run_is_small() -> None:
    for run in find_runs(BOARDS / "results"):
        assert sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) < 150_000, run
