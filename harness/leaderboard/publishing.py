"""The files of a leaderboard: named after suite, profile and split, a pure function of runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.errors import HarnessError
from harness.leaderboard.build import build
from harness.leaderboard.collect import Table
from harness.leaderboard.frames import cost, per_run
from harness.leaderboard.matched import matched
from harness.leaderboard.output import csv_bytes
from harness.leaderboard.views import markdown, wide

SUFFIXES = (".csv", ".wide.csv", ".md", ".runs.csv", ".cost.csv", ".matched.csv")
"""Of the files of one table, after its stem."""
_LONGEST = 120


@dataclass(frozen=True)
class Board:
    """One table with all that is published of it.

    Attributes:
        table: the runs of one suite, profile and split.
        baseline: what differences refer to; None for none.
        long: `build`'s frame.
        matched: the frame of that name.
    """

    table: Table
    baseline: str | None
    long: pd.DataFrame
    matched: pd.DataFrame

    @property
    def stem(self) -> str:
        """The common part of its files' names."""
        return file_stem(*self.table.names)

    def files(self) -> dict[str, bytes]:
        """Every file by name; equal runs give equal bytes."""
        made: dict[str, Callable[[], bytes]] = {
            ".csv": lambda: csv_bytes(self.long),
            ".wide.csv": lambda: csv_bytes(wide(self.long)),
            ".md": lambda: markdown(self.long, self.table.missing).encode(
                "utf-8", "backslashreplace"
            ),
            ".runs.csv": lambda: csv_bytes(per_run(self.table)),
            ".cost.csv": lambda: csv_bytes(cost(self.table)),
            ".matched.csv": lambda: csv_bytes(self.matched),
        }
        return {f"{self.stem}{suffix}": made[suffix]() for suffix in SUFFIXES}


def prepare(table: Table, baseline: str | None = None, level: float = 0.95) -> list[Board]:
    """Every table in what was collected, ready to be written.

    Args:
        table: what `collect` read; may hold several suites, profiles and splits.
        baseline: for all of them; None for the one that each configuration names.
        level: confidence level of all intervals.

    Raises:
        HarnessError: a table has no run of its baseline, or two would be written to one file.
    """
    made = []
    for part in table.groups:
        named = baseline or _configured(part)
        made.append(Board(part, named, build(part, named, level), matched(part, named, level)))
    _refuse_collisions(made)
    return made


def _configured(part: Table) -> str | None:
    named = sorted({str(run.manifest.config.get("baseline") or "") for run in part.runs})
    return named[0] or None


def _refuse_collisions(made: Sequence[Board]) -> None:
    """Names are compared as file systems do that ignore case."""
    seen: dict[str, Board] = {}
    for board in made:
        other = seen.setdefault(board.stem.casefold(), board)
        if other is not board:
            raise HarnessError(
                f"{' / '.join(board.table.names)} and {' / '.join(other.table.names)} would both "
                f"be written to {board.stem}.csv; collect them apart, into two --out folders"
            )


def file_stem(suite: str, profile: str, split: str = "") -> str:
    """``<suite>-<profile>[-<split>]`` as a file name that every system takes.

    What a name can't hold becomes ``_`` and a hash of the whole is added, so that two tables never
    share a file by that.
    """
    plain = "-".join(part for part in (suite, profile, split.replace(" ", "_")) if part)
    safe = re.sub(r"[^A-Za-z0-9_.+=,-]", "_", plain)[:_LONGEST].strip(".-")
    if safe == plain:
        return safe
    digest = hashlib.sha256("\x1f".join((suite, profile, split)).encode()).hexdigest()[:8]
    return f"{safe or 'table'}-{digest}"
