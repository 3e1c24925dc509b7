"""What is written from runs once they are there: the tables of each profile."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness import leaderboard as boards
from harness.errors import HarnessError
from harness.store import RunFolder, Status, write_bytes

_MOST_GAPS = 12
"""Missing runs that are named on the terminal; the Markdown file names all."""


def publish_folder(
    runs: Path,
    results: Path | None,
    out: Path,
    baseline: str | None,
    as_json: bool,
    *,
    dataset: Path | None = None,
    split_by: Sequence[str] = (),
) -> None:
    """Collect all runs of a folder, those in compact form among them.

    Raises:
        HarnessError: there are none, or what `publish` raises.
    """
    places = [p for p in (runs, results) if p is not None and p.is_dir()]
    folders = boards.find_runs(*places)
    if not folders:
        raise HarnessError(f"{runs}: no run folders here; give --runs DIR")
    if results is not None:
        check_writable(results)
        for folder in folders:
            if folder.parent == runs and RunFolder(folder).status is not Status.INCOMPLETE:
                boards.compact(folder, results)
    publish(folders, out, baseline, as_json=as_json, dataset=dataset, split_by=split_by)


def publish(
    folders: Sequence[Path],
    out: Path,
    baseline: str | None,
    *,
    as_json: bool = False,
    dataset: Path | None = None,
    split_by: Sequence[str] = (),
) -> None:
    """Write the files of each table and print it; with JSON, one array of all tables' rows.

    Everything is read and made before the first file is written: an unreadable run leaves every
    table as it was.

    Args:
        folders: run folders, whole or compact.
        split_by: what the runs of a profile may differ in, a table each.
        out, baseline, as_json, dataset: as for `publish_table`.

    Raises:
        HarnessError: a run can't be read, runs can't be compared, or what `publish_table` raises.
    """
    table = boards.collect(folders, split_by)
    publish_table(table, out, baseline, as_json=as_json, dataset=dataset)


def publish_table(
    table: boards.Table,
    out: Path,
    baseline: str | None,
    *,
    as_json: bool = False,
    dataset: Path | None = None,
    quiet: bool = False,
) -> None:
    """As `publish`, for runs that are read already.

    Args:
        table: the runs.
        out: folder of the tables.
        baseline: for all tables; None for the one that each configuration names.
        as_json: print one array of all tables' rows.
        dataset: folder of the dataset; None for none.
        quiet: write only.

    Raises:
        HarnessError: a baseline wasn't run, or a folder can't be written.
    """
    from harness.report import board_data, page_bytes  # the charting library takes a second

    made = boards.prepare(table, baseline)
    files = {out / name: data for board in made for name, data in board.files().items()}
    files |= {out / f"{board.stem}.html": page_bytes(board_data(board)) for board in made}
    whole = pd.concat([board.long for board in made], ignore_index=True)
    if dataset is not None:
        at_equal_compute = pd.concat([board.matched for board in made], ignore_index=True)
        parts = boards.dataset_files(table, whole, at_equal_compute)
        files |= {dataset / name: data for name, data in parts.items()}
    check_writable(out, *([dataset] if dataset is not None else []))
    for path, data in files.items():
        write_bytes(path, data)
    if quiet:
        return
    if as_json:
        print(whole.to_json(orient="records"))
        for line in (*(f"not averaged: {gap}" for gap in table.missing), *table.notes):
            print(line, file=sys.stderr)
        return
    console = Console()
    if not console.is_terminal:  # a log has room
        console = Console(width=140)
    for board in made:
        _show(console, board, out)
    for note in table.notes:
        console.print(note, markup=False)
    if dataset is not None:
        console.print(f"written: {dataset}", markup=False)


def _show(console: Console, board: boards.Board, out: Path) -> None:
    """A table, what is missing in it, and where it was written."""
    console.print(boards.terminal_table(board.long))
    gaps = board.table.missing
    for gap in gaps[:_MOST_GAPS]:
        console.print(f"not averaged: {gap}", markup=False)
    if len(gaps) > _MOST_GAPS:
        more = len(gaps) - _MOST_GAPS
        console.print(f"... and {more} more, all in {board.stem}.md", markup=False)
    controls = {str(r.manifest.config.get("control") or "") for r in board.table.runs} - {""}
    for control in sorted(controls - set(board.long["method"])):
        console.print(
            f"no '{control}' in this table: without it no gain can be called one of co-evolution; "
            f"add it with --method {control}",
            markup=False,
        )
    others = ", ".join([*boards.SUFFIXES[1:], ".html"])
    console.print(f"written: {out / board.stem}.csv ({others})", markup=False)


def check_writable(*folders: Path) -> None:
    """Fail before hours of work rather than after, and leave no new folder when failing.

    Raises:
        HarnessError: a folder can't be made or written.
    """
    made: list[Path] = []
    for folder in folders:
        try:
            made += [p for p in (folder, *folder.parents) if not p.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".write-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            for path in sorted(made, key=lambda p: len(p.parts), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise HarnessError(
                f"cannot write to {folder}: {error.strerror}; choose another --runs or --out folder"
            ) from error
