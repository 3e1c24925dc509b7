"""A finished run in about 100 KB: what a leaderboard needs, and a sample of what was asked.

A compact run is a run folder without checkpoints, responses and votes: manifest, status, cost,
every iteration's metrics, each evaluation's scores by item, and some questions of every iteration.
`collect` reads it as it reads the run itself, so a board can be recomputed from compact runs, and a
sweep that finds one need not repeat the run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.leaderboard import schema
from harness.rng import stream
from harness.store import RunFolder, Status, atomic_folder, read_json, read_parquet, write_parquet

QUESTIONS = 24
"""Questions kept of an iteration, drawn evenly among valid and invalid ones."""
_SCORES = [*schema.EVAL_KEYS, "group", "found", "verdict", "score", "truncated"]
_ASKED = ["question_id", "question", "valid", "label", "p_hat", "selected"]
_CHECKED = ["question_id", "topic", "tier", "well_posed", "true_answer"]


def compact(run: Path, into: Path) -> Path:
    """Write the compact form of a finished run as a folder of the same name.

    Args:
        run: a run folder.
        into: the folder of compact runs.

    Returns:
        The folder written. The same run gives the same bytes.

    Raises:
        HarnessError: the run isn't finished, a file of it is missing or corrupt, or ``into`` is
            where the run itself lies.
    """
    source, target = RunFolder(run), RunFolder(into / run.name)
    if source.status is Status.INCOMPLETE:
        raise HarnessError(f"{run}: not finished; give the same command again, then publish it")
    if run.resolve() == target.path.resolve():
        raise HarnessError(f"{into}: holds the runs themselves; choose another --results folder")
    done = schema.read_record(source.done_path, schema.DONE)
    seed = int(read_json(source.manifest_path)["seed"])
    with atomic_folder(target.path) as path:
        new = RunFolder(path)
        for name in ("manifest.json", "done.json", "cost.json"):
            if (run / name).exists():
                shutil.copyfile(run / name, path / name)
        for t in range(1, done.iterations + 1):
            new.iteration(t).mkdir(parents=True)
            metrics = source.iteration(t) / "metrics.json"
            shutil.copyfile(metrics, new.iteration(t) / "metrics.json")
            sample = _questions(source, t, seed)
            write_parquet(new.iteration(t) / "questions.parquet", sample)
        for evaluation in sorted((run / "eval").glob("[0-9][0-9].parquet")):
            scores = read_parquet(evaluation)
            kept = [name for name in _SCORES if name in scores.columns]
            write_parquet(path / "eval" / evaluation.name, scores[kept])
    return target.path


def _questions(run: RunFolder, t: int, seed: int) -> pd.DataFrame:
    """Some questions of an iteration, with what the checker read in them, if there is one."""
    folder = run.iteration(t)
    asked = read_parquet(folder / "questions.parquet")[_ASKED]
    order = stream(seed, "compact questions", t).permutation(len(asked))
    picked = asked.iloc[sorted(order[:QUESTIONS])]
    if (folder / "checks.parquet").exists():
        checks = read_parquet(folder / "checks.parquet")
        known = [name for name in _CHECKED if name in checks.columns]
        picked = picked.merge(checks[known], on="question_id", how="left")
    return picked.reset_index(drop=True)
