"""Commands and their options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.errors import HarnessError

app = typer.Typer(
    help="Train, evaluate and compare diversity interventions in LLM co-evolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
methods_app = typer.Typer(help="List the methods, or show one.", invoke_without_command=True)
app.add_typer(methods_app, name="methods")

# typer reads annotations at run time; Optional keeps it happy on every Python it supports.
Profile = Annotated[str, typer.Option(help="A shipped profile or a YAML file.")]
Seeds = Annotated[str, typer.Option(help="How many seeds (0, 1, ...), or a list such as 0,3,7.")]
Baseline = Annotated[
    Optional[str], typer.Option(help="What the method is compared with; default: the profile's.")  # noqa: UP045
]
Runs = Annotated[Path, typer.Option(help="Folder of the run folders.")]
Out = Annotated[Path, typer.Option(help="Folder of the leaderboards.")]
Jobs = Annotated[int, typer.Option(help="Runs side by side; 0: one per core.", min=0)]
Smoke = Annotated[bool, typer.Option("--smoke", help="The profile's small size, for a look.")]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Override a profile value: section.key=value. Repeatable."),
]
Plugins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--plugin", help="A Python file that registers methods. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
METHOD_HELP = (
    "An entry: NAME, NAME:key=value,key=value, or several joined by '+', applied in that order."
)


@app.command()
def run(
    method: Annotated[str, typer.Option(help=METHOD_HELP)],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    out: Out = Path("leaderboards"),
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
) -> int:
    """Train a method and its missing baseline runs, evaluate, and write the leaderboard."""
    from harness.cli.sweep import Sweep

    sweep = Sweep.create([method], seeds, profile, baseline, smoke, settings, plugin)
    return sweep.plan(runs, jobs, as_json) if dry_run else sweep.run(runs, out, jobs, as_json)


@app.command()
def sweep(
    methods: Annotated[str, typer.Option(help="Entries, separated by spaces.")],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    out: Out = Path("leaderboards"),
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
) -> int:
    """As `run`, for several methods with one baseline."""
    from harness.cli.sweep import Sweep

    if not methods.split():
        raise HarnessError("--methods: name at least one method")
    made = Sweep.create(methods.split(), seeds, profile, baseline, smoke, settings, plugin)
    return made.plan(runs, jobs, as_json) if dry_run else made.run(runs, out, jobs, as_json)


@app.command()
def plan(
    method: Annotated[str, typer.Option(help=METHOD_HELP)],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """What `run` would do: runs done and missing, tokens, time, memory. Changes nothing."""
    from harness.cli.sweep import Sweep

    sweep = Sweep.create([method], seeds, profile, baseline, smoke, settings, plugin)
    return sweep.plan(runs, jobs, as_json)


@app.command()
def resume(
    runs: Runs = Path("runs"),
    jobs: Jobs = 0,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Finish every incomplete run of a folder as its own manifest says."""
    from harness.cli.sweep import resume_runs

    return resume_runs(runs, jobs, plugin or [], as_json)


@app.command()
def leaderboard(
    runs: Runs = Path("runs"),
    out: Out = Path("leaderboards"),
    baseline: Baseline = None,
    as_json: AsJson = False,
) -> int:
    """Collect run folders into leaderboard CSVs, one set per profile, and print the tables."""
    from harness.cli.sweep import publish

    folders = sorted(p.parent for p in runs.glob("*/manifest.json"))
    if not folders:
        raise HarnessError(f"{runs}: no run folders here; give --runs DIR")
    publish(folders, out, baseline, as_json=as_json)
    return 0


@methods_app.callback()
def methods(context: typer.Context, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List all methods."""
    if context.invoked_subcommand is None:
        from harness.cli.show import list_methods

        list_methods(plugin or [], as_json)


@methods_app.command("show")
def methods_show(name: str, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """One method: paper, equation, parameters, hooks."""
    from harness.cli.show import show_method

    show_method(name, plugin or [], as_json)


@app.command()
def diversity(
    file: Annotated[Path, typer.Argument(help="A parquet file with a column of questions.")],
    profile: Profile = "ladder",
    n: Annotated[int, typer.Option(help="Questions per measurement.", min=2)] = 200,
    n_well_posed: Annotated[int, typer.Option(help="The same, well-posed only.", min=2)] = 64,
    text: Annotated[str, typer.Option(help="Name of the column of questions.")] = "question",
    seed: Annotated[int, typer.Option(help="Seed of the subsample.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Diversity of any table of questions, with the profile's embedder and checker."""
    from harness.cli.show import show_diversity

    show_diversity(file, profile, n, n_well_posed, text, seed, as_json)


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """List the shipped profiles."""
    from harness.config import list_profiles

    names = list_profiles()
    print(json.dumps(names) if as_json else "\n".join(names))
