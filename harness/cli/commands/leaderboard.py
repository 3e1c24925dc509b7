"""Leaderboards: collecting them from runs, joining and checking them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import (
    AsJson,
    Baseline,
    Data,
    Include,
    Out,
    Results,
    Runs,
    leaderboard_app,
)

SplitBy = Annotated[
    str,
    typer.Option(
        help="What runs of one profile may differ in, a table each: any of config, base, data, "
        "engine, prompt, separated by commas."
    ),
]
Places = Annotated[
    list[Path], typer.Argument(help="Runs, or folders of runs; whole or compact.", metavar="DIR")
]


@leaderboard_app.command()
def collect(
    runs: Runs = Path("runs"),
    results: Results = None,
    out: Out = Path("leaderboards"),
    baseline: Baseline = None,
    dataset: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also write a folder that datasets.load_dataset reads."),
    ] = None,
    split_by: SplitBy = "",
    as_json: AsJson = False,
) -> int:
    """Collect run folders into leaderboard files, one set per table, and print the tables.

    With --results, finished runs are added there in compact form, and those there are collected.
    """
    from harness.cli.publish import publish_folder

    names = split_by.split(",")
    publish_folder(runs, results, out, baseline, as_json, dataset=dataset, split_by=names)
    return 0


@leaderboard_app.command()
def merge(
    places: Places,
    results: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the joined runs there in compact form; what is there counts."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the joined leaderboards there."),
    ] = None,
    split_by: SplitBy = "",
    baseline: Baseline = None,
    as_json: AsJson = False,
) -> int:
    """Join the runs of several machines: copies count once, contradictions are refused.

    Without --results and --out nothing is written: what would be joined is printed.
    """
    from harness.cli.boards import merge_folders

    merge_folders(places, results, out, split_by, baseline, as_json)
    return 0


@leaderboard_app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A run, or a folder of runs with its tables.")],
    data: Data = None,
    include: Include = "tasks",
    as_json: AsJson = False,
) -> int:
    """Check submitted results from their raw samples: rescored, recounted, recomputed.

    Exit code 0: nothing differs; 1: something does, and is named; 2: it can't be read.
    """
    from harness.cli.boards import check_results

    return check_results(folder, data, include, as_json)


@leaderboard_app.command()
def noise(
    places: Places,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only this metric; default: all."),
    ] = None,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    as_json: AsJson = False,
) -> int:
    """How far executions of the same method, seed and configuration lie apart, by metric."""
    from harness.cli.boards import show_noise

    show_noise(places, metric, level, as_json)
    return 0
