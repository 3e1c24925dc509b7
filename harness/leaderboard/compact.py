"""A finished run in about 100 KB: what a leaderboard needs, and a sample of what was asked.

A compact run is a run folder without checkpoints, responses and votes: manifest, status, cost,
every iteration's metrics, each evaluation's scores by item, and some questions of every iteration.
`collect` reads it as it reads the run itself, so a board can be recomputed from compact runs, and a
sweep that finds one need not repeat the run.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.errors import HarnessError
from harness.leaderboard import schema
from harness.rng import stream
from harness.store import RunFolder, Status, atomic_folder, read_parquet, write_parquet
from harness.store.layouts import COMPACT_EVALUATION, COMPACT_QUESTIONS, Layout, write_table
from harness.store.records import SCHEMA

if TYPE_CHECKING:
    from harness.diversity.embedders import Embedder

QUESTIONS = 24
"""Questions kept of an iteration, drawn evenly among valid and invalid ones."""
_RECORDS = ("manifest.json", "done.json", "cost.json")
_ASKED = ["question_id", "question", "valid", "label", "p_hat", "selected"]
_CHECKED = ["question_id", "topic", "tier", "well_posed", "true_answer"]


def compact(run: Path, into: Path, name: str | None = None) -> Path:
    """Write the compact form of a finished run, by default as a folder of the same name.

    The result schema version stays that of the run. A run that is compact already is copied.

    Args:
        run: a run folder.
        into: the folder of compact runs.
        name: of the new folder; None for that of the run.

    Returns:
        The folder written. The same run gives the same bytes.

    Raises:
        HarnessError: the run isn't finished, a file of it is missing or corrupt, or ``into`` is
            where the run itself lies.
    """
    source, target = RunFolder(run), RunFolder(into / (name or run.name))
    if source.status is Status.INCOMPLETE:
        raise HarnessError(f"{run}: not finished; give the same command again, then publish it")
    if run.resolve() == target.path.resolve():
        raise HarnessError(f"{into}: holds the runs themselves; choose another --results folder")
    done = schema.read_record(source.done_path, schema.DONE)
    manifest = schema.read_record(source.manifest_path, schema.MANIFEST)
    whole = not is_compact(run)
    with atomic_folder(target.path) as path:
        new = RunFolder(path)
        for name in _RECORDS:
            if (run / name).exists():
                shutil.copyfile(run / name, path / name)
        for t in range(1, done.iterations + 1):
            new.iteration(t).mkdir(parents=True)
            metrics = source.iteration(t) / "metrics.json"
            shutil.copyfile(metrics, new.iteration(t) / "metrics.json")
            table = "questions.parquet"
            if not whole:
                shutil.copyfile(source.iteration(t) / table, new.iteration(t) / table)
                continue
            sample = _questions(source, t, manifest)
            _write(new.iteration(t) / table, sample, COMPACT_QUESTIONS, manifest.schema_version)
        new.evaluation(0).parent.mkdir()
        for evaluation in source.evaluations().values():
            if not whole:
                shutil.copyfile(evaluation, path / "eval" / evaluation.name)
                continue
            scores = read_parquet(evaluation)
            kept = [c.name for c in COMPACT_EVALUATION if c.name in scores.columns]
            place = path / "eval" / evaluation.name
            _write(place, scores[kept], COMPACT_EVALUATION, manifest.schema_version)
    return target.path


def is_compact(run: Path) -> bool:
    """Whether a run folder holds neither responses nor votes."""
    if any(run.glob("iterations/*/votes.parquet")):
        return False
    evaluations = list(RunFolder(run).evaluations().values())
    return not any("response" in read_parquet(path).columns for path in evaluations[:1])


def _write(path: Path, frame: pd.DataFrame, layout: Layout, version: int) -> None:
    """Write a table of the run's own version; an older one need not be complete."""
    if version == SCHEMA:
        write_table(path, frame, layout)
    else:
        write_parquet(path, frame)


def _questions(run: RunFolder, t: int, manifest: schema.Manifest) -> pd.DataFrame:
    """What is kept of an iteration's questions."""
    picked = sampled_questions(run, t, manifest.seed)
    return picked if manifest.schema_version < 2 else _with_nearest(run, t, manifest, picked)


def sampled_questions(run: RunFolder, t: int, seed: int) -> pd.DataFrame:
    """Some questions of an iteration, with what the checker read in them, if there is one.

    The same for a run and for its compact form.
    """
    folder = run.iteration(t)
    asked = read_parquet(folder / "questions.parquet")
    asked = asked[[name for name in (*_ASKED, *_CHECKED[1:]) if name in asked.columns]]
    order = stream(seed, "compact questions", t).permutation(len(asked))
    picked = asked.iloc[sorted(order[:QUESTIONS])]
    if (folder / "checks.parquet").exists():
        checks = read_parquet(folder / "checks.parquet")
        known = [name for name in _CHECKED if name in checks.columns]
        picked = picked.merge(checks[known], on="question_id", how="left")
    return picked.reset_index(drop=True)


def _with_nearest(
    run: RunFolder, t: int, manifest: schema.Manifest, picked: pd.DataFrame
) -> pd.DataFrame:
    """The questions, each valid one with the nearest valid one of all earlier iterations.

    Empty cells where there is none, or where the run's embedder isn't on this machine.
    """
    texts: list[str] = []
    asked_in: list[int] = []
    for earlier in range(1, t):
        table = read_parquet(run.iteration(earlier) / "questions.parquet")
        own = [str(q) for q in table.loc[table["valid"], "question"]]
        texts += own
        asked_in += [earlier] * len(own)
    question: list[str | None] = [None] * len(picked)
    iteration: list[int | None] = [None] * len(picked)
    similarity = np.full(len(picked), np.nan)
    embed = _embedder(manifest)
    rows = np.flatnonzero(picked["valid"].to_numpy(dtype=bool))
    if texts and len(rows) and embed is not None:
        cosine = embed([str(picked["question"].iloc[i]) for i in rows]) @ embed(texts).T
        for i, best, value in zip(rows, cosine.argmax(axis=1), cosine.max(axis=1), strict=True):
            question[i], iteration[i] = texts[best], asked_in[best]
            similarity[i] = float(np.clip(value, -1.0, 1.0))
    return picked.assign(
        nearest_question=pd.array(question, dtype="str"),
        nearest_iteration=pd.array(iteration, dtype="Int64"),
        nearest_similarity=similarity,
    )


def _embedder(manifest: schema.Manifest) -> Embedder | None:
    """The embedder that the run measured its diversity with, if it is at hand."""
    diversity = manifest.config.get("diversity")
    name = diversity.get("embedder") if isinstance(diversity, dict) else None
    return _loaded(name) if isinstance(name, str) else None


@lru_cache(maxsize=2)
def _loaded(name: str) -> Embedder | None:
    from harness.diversity.embedders import load_embedder  # slow to import

    try:
        return load_embedder(name)
    except HarnessError:
        return None
