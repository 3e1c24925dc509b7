"""Planning: how many seeds a difference needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import AsJson, app


@app.command()
def power(
    effect: Annotated[
        float,
        typer.Option(help="True difference to find: percentage points for a share, else as is."),
    ],
    metric: Annotated[str, typer.Option(help="Name of the metric.")] = "solver/macro/sampled",
    runs: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Take the spread from the run folders here.", metavar="DIR"),
    ] = None,
    board: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            help="Take it from this .runs.csv; default: leaderboards/*.runs.csv. Repeatable.",
            metavar="RUNS_CSV",
        ),
    ] = None,
    power: Annotated[float, typer.Option(help="Chance of finding the difference.")] = 0.8,
    level: Annotated[float, typer.Option(help="Confidence level of the interval.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Seeds per method that a difference needs, from the spread between seeds so far."""
    from harness.cli.power import Question, show_power

    show_power(Question(effect, metric, power, level), board or [], runs, as_json)
