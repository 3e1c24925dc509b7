"""`leaderboard merge`, `check` and `noise`: what they print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.cli.publish import check_writable, publish_table
from harness.leaderboard.check import check_folder
from harness.leaderboard.collect import split_names
from harness.leaderboard.merge import Merged, merge, write_results
from harness.leaderboard.noise import Noise, noise

_SHOWN = 20
"""Differences that `check` prints; JSON holds all."""


def merge_folders(
    places: Sequence[Path],
    results: Path | None,
    out: Path | None,
    split_by: str,
    baseline: str | None,
    as_json: bool,
) -> None:
    """Join the runs of several folders, say what was joined, and write what was asked for.

    Raises:
        HarnessError: a run can't be read, the runs contradict each other or can't be compared.
    """
    names = split_names(split_by.split(","))
    there = [results] if results is not None and results.is_dir() and any(results.iterdir()) else []
    merged = merge([*places, *there], names)
    check_writable(*(folder for folder in (results, out) if folder is not None))
    written = write_results(merged.table, results) if results is not None else []
    if as_json:
        print(json.dumps(_merged_json(merged, written), indent=1))
    else:
        _print_merged(merged, results, written)
    if out is not None:
        # With JSON, the standard output holds what was merged and nothing else.
        publish_table(merged.table, out, baseline, quiet=as_json)


def _merged_json(merged: Merged, written: Sequence[Path]) -> dict[str, object]:
    return {
        "runs": [
            {
                "folder": str(run.folder),
                "suite": run.manifest.suite,
                "profile": run.manifest.profile,
                "split": run.split,
                "method": run.manifest.method,
                "seed": run.manifest.seed,
                "status": run.status.value,
                "schema": run.manifest.schema_version,
            }
            for run in merged.table.runs
        ],
        "copies": list(merged.copies),
        "versions": merged.table.versions,
        "missing": [str(gap) for gap in merged.table.missing],
        "written": [str(path) for path in written],
    }


def _print_merged(merged: Merged, results: Path | None, written: Sequence[Path]) -> None:
    for line in merged.copies:
        print(_printable(line))
    for line in merged.table.notes:
        print(line)
    for part in merged.table.groups:
        methods = {run.manifest.method for run in part.runs}
        label = ", ".join(name for name in part.names if name)
        print(f"{label}: {len(part.runs)} runs of {len(methods)} methods")
    for gap in merged.table.missing:
        print(_printable(f"not averaged: {gap}"))
    if results is not None:
        print(f"written: {results} ({len(written)} runs added)")


def _printable(line: str) -> str:
    """Folder names may hold what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in line)


def check_results(folder: Path, data: Path | None, include: str, as_json: bool) -> int:
    """Validate a submitted folder. Returns 0, or 1 where something differs.

    Raises:
        HarnessError: it holds no runs, or one can't be read.
    """
    from harness.data import use_folder

    use_folder(data)
    report = check_folder(folder, include)
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
        return int(bool(report.differences))
    for line in report.checked_lines():
        print(line)
    for line in report.unchecked:
        print(_printable(f"not checked: {line}"))
    for difference in report.differences[:_SHOWN]:
        print(f"differs: {difference}")
    if (more := len(report.differences) - _SHOWN) > 0:
        print(f"... and {more} more; --json names all")
    n = len(report.differences)
    print(f"{folder}: {f'{n} differences' if n else 'nothing differs'}")
    return int(bool(n))


def show_noise(places: Sequence[Path], metric: str | None, level: float, as_json: bool) -> None:
    """Print how far executions of the same method and seed lie apart, by metric.

    Raises:
        HarnessError: nothing was executed twice.
    """
    found = noise(places, metric, level)
    if as_json:
        print(json.dumps([row.as_dict() for row in found], indent=1))
        return
    if not any(row.sd for row in found):
        groups = max(row.groups for row in found)
        executions = max(row.executions for row in found)
        print(
            f"zero: {executions} executions of {groups} runs agree exactly in all "
            f"{len(found)} metrics"
        )
        return
    Console().print(_noise_table(found, level))
    same = sum(not row.sd for row in found)
    if same:
        print(f"{same} further metrics agree exactly")


def _noise_table(found: Sequence[Noise], level: float) -> RichTable:
    table = RichTable(
        title="same method, seed and configuration, executed several times",
        caption=f"difference: what two single runs may differ by from noise alone ({level:.0%})",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for header in ("metric", "unit", "runs", "executions", "SD", "difference"):
        table.add_column(header, overflow="fold")
    for row in found:
        if row.sd:
            cells = (row.metric, row.unit, str(row.groups), str(row.executions))
            table.add_row(*(Text(c) for c in (*cells, f"{row.sd:.4g}", f"{row.difference:.4g}")))
    return table
