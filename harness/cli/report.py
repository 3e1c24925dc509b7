"""Writing report pages, and figures for papers, from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import leaderboard as boards
from harness.cli.publish import check_writable
from harness.errors import HarnessError
from harness.store import write_bytes


def write_reports(
    runs: Path,
    results: Path | None,
    out: Path,
    baseline: str | None,
    figures: Path | None,
    split_by: Sequence[str] = (),
    methods: Sequence[str] | None = None,
) -> None:
    """Write a page for each table in the runs of one or two folders.

    All pages are made before the first is written: what can't be read leaves older ones as they
    were.

    Args:
        runs: folder of run folders; need not exist where there are results.
        results: folder of compact runs; None for none.
        out: a file that ends in ``.html``, if there is one table; else a folder.
        baseline: for all tables; None for the one that each configuration names.
        figures: folder of the charts as SVG and PDF and the tables as LaTeX; None for none.
        split_by: what the runs of a profile may differ in, a page each.
        methods: draw the figures of these only; None for all.

    Raises:
        HarnessError: no runs, runs that can't be read or compared, or a folder that can't be
            written.
    """
    places = [p for p in (runs, results) if p is not None and p.is_dir()]
    folders = boards.find_runs(*places)
    if not folders:
        tried = " and ".join(str(p) for p in (runs, results) if p is not None)
        raise HarnessError(f"{tried}: no run folders here; give --runs DIR or --results DIR")
    from harness.report import board_data, page_bytes  # slow to import
    from harness.report.figures import only, write_figures

    tables = boards.prepare(boards.collect(folders, split_by), baseline)
    one_file = out.suffix.lower() in (".html", ".htm")
    if one_file and len(tables) > 1:
        stems = ", ".join(board.stem for board in tables)
        raise HarnessError(
            f"--out {out}: these runs make {len(tables)} pages ({stems}); give a folder"
        )
    data = {board.stem: board_data(board) for board in tables}
    drawn = data if methods is None else {stem: only(d, methods) for stem, d in data.items()}
    pages = {
        (out if one_file else out / f"{stem}.html"): page_bytes(each) for stem, each in data.items()
    }
    check_writable(out.parent if one_file else out, *([figures] if figures is not None else []))
    for path, page in pages.items():
        write_bytes(path, page)
        print(f"written: {path} ({len(page) / 1e6:.1f} MB)")
    if figures is not None:
        for stem, each in drawn.items():
            folder = figures if len(data) == 1 else figures / stem
            write_figures(each, folder)
            print(f"written: {folder}")
