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
Results = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of compact runs: what is there isn't repeated, new ones are added."),
]
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
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the data sets; default: $COEVOLUTION_DATA, else the hub."),
]
Include = Annotated[str, typer.Option(help="Folder of the task YAMLs.")]
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
    results: Results = None,
    data: Data = None,
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
    from harness.data import use_folder

    use_folder(data)
    sweep = Sweep.create([method], seeds, profile, baseline, smoke, settings, plugin, results)
    return sweep.plan(runs, jobs, as_json) if dry_run else sweep.run(runs, out, jobs, as_json)


@app.command()
def sweep(
    methods: Annotated[
        str, typer.Option(help="Entries, separated by spaces; 'all' for every one.")
    ],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    results: Results = None,
    data: Data = None,
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
    from harness.data import use_folder

    use_folder(data)
    if not methods.split():
        raise HarnessError("--methods: name at least one method")
    made = Sweep.create(methods.split(), seeds, profile, baseline, smoke, settings, plugin, results)
    return made.plan(runs, jobs, as_json) if dry_run else made.run(runs, out, jobs, as_json)


@app.command()
def plan(
    method: Annotated[str, typer.Option(help=METHOD_HELP)],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    results: Results = None,
    data: Data = None,
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """What `run` would do: runs done and missing, tokens, time, memory. Changes nothing."""
    from harness.cli.sweep import Sweep
    from harness.data import use_folder

    use_folder(data)
    sweep = Sweep.create([method], seeds, profile, baseline, smoke, settings, plugin, results)
    return sweep.plan(runs, jobs, as_json)


@app.command()
def resume(
    runs: Runs = Path("runs"),
    jobs: Jobs = 0,
    data: Data = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Finish every incomplete run of a folder as its own manifest says."""
    from harness.cli.sweep import resume_runs
    from harness.data import use_folder

    use_folder(data)
    return resume_runs(runs, jobs, plugin or [], as_json)


@app.command()
def leaderboard(
    runs: Runs = Path("runs"),
    results: Results = None,
    out: Out = Path("leaderboards"),
    baseline: Baseline = None,
    as_json: AsJson = False,
) -> int:
    """Collect run folders into leaderboard CSVs, one set per profile, and print the tables.

    With --results, finished runs are added there in compact form, and those there are collected.
    """
    from harness.cli.sweep import publish_folder

    publish_folder(runs, results, out, baseline, as_json)
    return 0


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Option(help="A hub id, a folder or a .gguf file.")],
    tasks: Annotated[str, typer.Option(help="Names of tasks or groups, separated by commas.")],
    data: Data = None,
    limit: Annotated[Optional[int], typer.Option(help="First items of each task.")] = None,  # noqa: UP045
    samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Samples of an item where a task repeats its items; default: its own."),
    ] = None,
    max_new_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Longest response; default: the task's own."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    revision: Annotated[Optional[str], typer.Option(help="Hub revision of the model.")] = None,  # noqa: UP045
    out: Annotated[Path, typer.Option(help="Folder of evaluations.")] = Path("evals"),
    include: Include = "tasks",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Torch device; default: cuda if there is one."),
    ] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    batch_rows: Annotated[int, typer.Option(help="Responses sampled at once.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: every response graded and kept. Stopped, it goes on where it was."""
    from harness.cli.evaluate import EvalRequest
    from harness.cli.evaluate import evaluate as run_evaluation
    from harness.data import use_folder

    use_folder(data)

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    request = EvalRequest(
        model=model,
        tasks=names,
        out=out,
        revision=revision,
        include=include,
        limit=limit,
        samples=samples,
        max_new_tokens=max_new_tokens,
        seed=seed,
        dtype=dtype,
        device=device,
        threads=threads,
        batch_rows=batch_rows,
    )
    run_evaluation(request, as_json)


@app.command()
def tasks(include: Include = "tasks", as_json: AsJson = False) -> None:
    """List the evaluation tasks."""
    from harness.cli.evaluate import list_tasks

    list_tasks(include, as_json)


@methods_app.callback()
def methods(
    context: typer.Context,
    plugin: Plugins = None,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Bring the table of this Markdown page up to date instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List all methods."""
    if write is not None:
        from harness.cli.methods_page import write_methods_page

        write_methods_page(write, plugin or [])
    elif context.invoked_subcommand is None:
        from harness.cli.show import list_methods

        list_methods(plugin or [], as_json)


@methods_app.command("show")
def methods_show(name: str, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """One method: paper, equation, parameters, hooks."""
    from harness.cli.show import show_method

    show_method(name, plugin or [], as_json)


@app.command()
def check(
    methods: Annotated[
        list[str], typer.Argument(help="Names of methods, Python files, or 'all'.", metavar="NAME")
    ],
    jobs: Annotated[int, typer.Option(help="Methods side by side; 0: one per core.", min=0)] = 0,
    as_json: AsJson = False,
) -> int:
    """Check that methods keep the harness's promises: seeds, states, masks, shapes, edges."""
    from harness.cli.check import check_methods

    return check_methods(methods, jobs, as_json)


@app.command()
def diversity(
    file: Annotated[Path, typer.Argument(help="Parquet or JSON Lines with a column of questions.")],
    profile: Profile = "ladder",
    n: Annotated[int, typer.Option(help="Questions per measurement.", min=2)] = 200,
    n_well_posed: Annotated[int, typer.Option(help="The same, well-posed only.", min=2)] = 64,
    text: Annotated[str, typer.Option(help="Name of the column of questions.")] = "question",
    embedder: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="'hashing', a sentence-transformers id or folder; default: profile's."),
    ] = None,
    topics: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Data set whose nearest problems name topics; default: the profile's."),
    ] = None,
    data: Data = None,
    seed: Annotated[int, typer.Option(help="Seed of the subsample.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Diversity of any table of questions, with the profile's embedder, topics and checker."""
    from harness.cli.show import show_diversity
    from harness.data import use_folder

    use_folder(data)
    show_diversity(file, profile, n, n_well_posed, text, seed, as_json, embedder, topics)


@app.command()
def contamination(
    file: Annotated[Path, typer.Argument(help="A run folder, or a table of questions.")],
    data: Data = None,
    tasks: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Data sets, separated by commas; default: all test sets there are."),
    ] = None,
    text: Annotated[str, typer.Option(help="Name of the column of questions.")] = "question",
    embedder: Annotated[
        str,
        typer.Option(help="'hashing', a sentence-transformers id or folder, or 'none'."),
    ] = "hashing",
    threshold: Annotated[float, typer.Option(help="Cosine that counts as close.")] = 0.9,
    top: Annotated[int, typer.Option(help="Pairs to keep per test set.", min=1)] = 100,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the closest pairs to this .csv or .parquet."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How much of a curriculum is in the test sets: shared words, copies, close embeddings."""
    from harness.cli.contamination import show_contamination
    from harness.data import use_folder

    use_folder(data)
    show_contamination(file, tasks, text, embedder, threshold, top, out, as_json)


@app.command()
def warmstart(
    model: Annotated[str, typer.Option(help="Hub id, folder or .gguf file to start from.")],
    out: Annotated[Path, typer.Option(help="Folder of the new checkpoint; must not exist.")],
    data: Data = None,
    source: Annotated[str, typer.Option(help="The training set.")] = "gsm8k_train",
    profile: Annotated[str, typer.Option(help="Whose prompts and formats to learn.")] = "smollm2",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 200,
    rows: Annotated[int, typer.Option(help="Rows to train on; 0: all not held out.")] = 0,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    batch_tokens: Annotated[int, typer.Option(help="Tokens per step, prompts included.")] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of rows, order and samples.")] = 0,
    held_out: Annotated[int, typer.Option(help="Rows kept out to measure the loss.")] = 32,
    probe: Annotated[int, typer.Option(help="Samples per role to measure formats; 0: none.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Teach a base model both role formats on a training set: a declared warm start."""
    from harness.cli.warmstart import run_warm_start
    from harness.warmstart import Settings

    settings = Settings(
        steps=steps,
        rows=rows,
        lr=lr,
        batch_tokens=batch_tokens,
        seed=seed,
        held_out=held_out,
        probe=probe,
    )
    run_warm_start(model, data, out, source, profile, settings, as_json)


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="JSON Lines with 'gold' and 'pred'.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Where the verdicts go; default: the standard output."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes at most.", min=1)] = 2,
    deadline: Annotated[float, typer.Option(help="Seconds for one comparison.")] = 5.0,
) -> None:
    """Grade pairs: correct, wrong, no_answer or timeout, one JSON verdict a line."""
    from harness.cli.grade import grade_file

    grade_file(file, out, workers, deadline)


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """List the shipped profiles."""
    from harness.config import list_profiles

    names = list_profiles()
    print(json.dumps(names) if as_json else "\n".join(names))
