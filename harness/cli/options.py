"""Options that several commands share, and the applications that commands join."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Train, evaluate and compare diversity interventions in LLM co-evolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
methods_app = typer.Typer(help="List the methods, or show one.", invoke_without_command=True)
app.add_typer(methods_app, name="methods")
leaderboard_app = typer.Typer(
    help="Leaderboards: collect them from runs, merge and check results.", no_args_is_help=True
)
app.add_typer(leaderboard_app, name="leaderboard")

# typer reads annotations at run time; Optional keeps it happy on every Python it supports.
Profile = Annotated[str, typer.Option(help="A shipped profile or a YAML file.")]
Seeds = Annotated[str, typer.Option(help="How many seeds (0, 1, ...), or a list such as 0,3,7.")]
Baseline = Annotated[
    Optional[str], typer.Option(help="What the method is compared with; default: the profile's.")  # noqa: UP045
]
Runs = Annotated[Path, typer.Option(help="Folder of the run folders.")]
Out = Annotated[Path, typer.Option(help="Folder of the leaderboards.")]
Results = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of compact runs: what is there isn't repeated, new ones are added."),
]
Jobs = Annotated[
    int,
    typer.Option(help="Runs side by side; 0: one per core, or all that a cluster holds.", min=0),
]
LauncherName = Annotated[
    str, typer.Option("--launcher", help="Where runs are done: local, or ray for a cluster.")
]
RayAddress = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="HOST:PORT of a Ray cluster; default: $RAY_ADDRESS, else this machine."),
]
Cpus = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="CPUs that a run asks of Ray; default: its threads.", min=0.01),
]
Gpus = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="GPUs that a run asks of Ray; default: as its profile needs.", min=0),
]
Memory = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="GiB that a run asks of Ray; default: the most that one took.", min=0),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="The profile's small size, for a look.")]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Override a profile value: section.key=value. Repeatable."),
]
Plugins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--plugin", help="A Python file that registers methods. Repeatable."),
]
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the data sets; default: $COEVOLUTION_DATA, else the hub."),
]
Trackers = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        help="Mirror the runs to tensorboard, wandb, trackio. Repeatable, or with commas."
    ),
]
LogDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the trackers' files; default: .tracking in the runs' folder."),
]
Include = Annotated[str, typer.Option(help="Folder of the task YAMLs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
METHOD_HELP = (
    "An entry: NAME, NAME:key=value,key=value, or several joined by '+', applied in that order."
)
