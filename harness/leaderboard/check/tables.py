"""Leaderboard files beside submitted runs: every cell against the one recomputed from the runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError, one_line
from harness.leaderboard.check.report import Place
from harness.leaderboard.collect import SPLITS
from harness.leaderboard.merge import join
from harness.leaderboard.publishing import SUFFIXES, prepare
from harness.leaderboard.runs import Run

_KEYS = (
    "suite",
    "profile",
    "split",
    "by",
    "at",
    "base_model",
    "method",
    "seed",
    "status",
    "metric",
    "iteration",
    "cost",
)
"""Columns that say which row it is, in whatever table has them."""
_MOST_BYTES = 100_000_000

Rows = dict[tuple[str, ...], dict[str, str]]


def check_tables(place: Place, runs: Sequence[Run]) -> None:
    """Check every leaderboard file that lies directly in the submitted folder."""
    names = [p for p in sorted(place.folder.iterdir()) if p.name.endswith(SUFFIXES)]
    files = [p for p in names if p.is_file() and p.name != "README.md"]
    if not files:
        return
    expected = _recomputed(place, runs, files)
    for path in files:
        if path.name not in expected:
            place.report.skip(f"{path.name}: no table of these runs has that name")
            continue
        place.report.counts["leaderboard files"] += 1
        if path.read_bytes() == expected[path.name]:
            continue
        at = place.at(path.name)
        if path.suffix == ".csv":
            _cells(at, _parse(path, path.read_bytes()), _parse(path, expected[path.name]))
        else:
            at.differs("text", "other than", "the table made from the runs")


def _recomputed(place: Place, runs: Sequence[Run], files: Sequence[Path]) -> dict[str, bytes]:
    """The files that these runs make, by name, with the submission's own baseline and split."""
    stated: dict[str, set[str]] = {"baseline": set(), "split": set()}
    for path in (p for p in files if p.suffix == ".csv"):
        for row in _parse(path, path.read_bytes())[1].values():
            for name, values in stated.items():
                values.add(row.get(name) or "")
    baselines = sorted(stated["baseline"] - {""})
    parts = {part.partition("=")[0].strip() for text in stated["split"] for part in text.split(",")}
    try:
        table = join(runs, [name for name in SPLITS if name in parts]).table
        made = prepare(table, baselines[0] if len(baselines) == 1 else None)
    except HarnessError as error:
        at = place.at(min(path.name for path in files))
        reason = one_line(error).replace(f"{place.folder}/", "")
        at.differs(f"these runs make no table: {reason}", "present", "absent")
        return {}
    return {name: data for board in made for name, data in board.files().items()}


def _parse(path: Path, data: bytes) -> tuple[list[str], Rows]:
    """A CSV's header, and its rows by what tells them apart.

    Raises:
        HarnessError: not a CSV that a leaderboard could be.
    """
    if len(data) > _MOST_BYTES:
        raise HarnessError(f"{path}: {len(data)} bytes; no leaderboard is that large")
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        header = list(reader.fieldnames or [])
        keys = [name for name in header if name in _KEYS]
        rows: Rows = {}
        for number, row in enumerate(reader):
            if None in row or None in row.values():
                raise HarnessError(f"{path}: row {number + 2} has another number of cells")
            key = tuple(row[name] for name in keys)
            if key in rows:
                raise HarnessError(f"{path}: row {number + 2}: {ascii(key)[:120]} is there twice")
            rows[key] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path}: not readable as CSV ({str(error)[:100]})") from error
    return header, rows


def _cells(at: Place, recorded: tuple[list[str], Rows], made: tuple[list[str], Rows]) -> None:
    if recorded[0] != made[0]:
        at.differs("columns", ",".join(recorded[0]), ",".join(made[0]))
        return
    keys = [name for name in made[0] if name in _KEYS]
    for key in sorted({*recorded[1], *made[1]}):
        where = {name: value for name, value in zip(keys, key, strict=True) if value}
        if key not in made[1]:
            at.differs("row", "present", "absent", **where)
        elif key not in recorded[1]:
            at.differs("row", "absent", "present", **where)
        else:
            for name in made[0]:
                one, two = recorded[1][key][name], made[1][key][name]
                if not _same(one, two):
                    at.differs(f"cell {name}", one, two, **where)


def _same(one: str, two: str) -> bool:
    """Equal, or numbers that agree to the digits that are written."""
    if one == two:
        return True
    try:
        a, b = float(one), float(two)
    except ValueError:
        return False
    return abs(a - b) <= 2e-5 * max(abs(a), abs(b))
