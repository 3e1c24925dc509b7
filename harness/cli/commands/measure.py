"""Commands that measure one thing: a model, a file of questions, pairs of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import AsJson, Data, Include, Profile, app


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
    engine: Annotated[str, typer.Option(help="torch or vllm.")] = "torch",
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", help="engine.key=value, as for `run`; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: every response graded and kept. Stopped, it goes on where it was."""
    from harness.cli.evaluate import EvalRequest
    from harness.cli.evaluate import evaluate as run_evaluation
    from harness.config import load_engine
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
        engine=load_engine(engine, settings or []),
    )
    run_evaluation(request, as_json)


@app.command()
def tasks(include: Include = "tasks", as_json: AsJson = False) -> None:
    """List the evaluation tasks."""
    from harness.cli.evaluate import list_tasks

    list_tasks(include, as_json)


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
