"""The report: a page that shows what happened, and figures for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import Baseline, Runs, app


@app.command()
def report(
    runs: Runs = Path("runs"),
    results: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of compact runs, shown with those of --runs."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="A folder, which gets a page per table, or one .html file.")
    ] = Path("leaderboards"),
    baseline: Baseline = None,
    figures: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also write charts as SVG and PDF and tables as LaTeX to this folder."),
    ] = None,
    methods: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Entries that --figures is limited to, separated by spaces."),
    ] = None,
    split_by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What a table is split by where runs differ in it. Repeatable."),
    ] = None,
) -> None:
    """Write one offline HTML page per table: leaderboard, charts, questions, manifests."""
    from harness.cli.report import write_reports

    chosen = methods.split() if methods else None
    write_reports(runs, results, out, baseline, figures, split_by or [], chosen)
