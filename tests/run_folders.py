"""Run folders made by hand: small, and of known numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.evaluation.summary import summary

GREEDY, SAMPLED = "solver/macro/greedy", "solver/macro/sampled"
TOPIC, VENDI = "diversity/functional/topic_entropy", "diversity/semantic/vendi"
CHECKED = "proposer/well_posed"
Items = Mapping[tuple[str, str], Sequence[float]]
"""Scores of a run's items, by task and mode."""
Metrics = Mapping[str, float | None]


def evaluation(scores: list[float], mode: str = "greedy") -> pd.DataFrame:
    """One task's evaluation, items in two groups by turns."""
    n = len(scores)
    return pd.DataFrame(
        {
            "task": "ladder",
            "doc_id": range(n),
            "sample": 0,
            "mode": mode,
            "group": [str(1 + i % 2) for i in range(n)],
            "score": scores,
            "truncated": False,
            "found": "box",
            "verdict": ["correct" if s == 1 else "wrong" for s in scores],
        }
    )


def evaluated(items: Items) -> pd.DataFrame:
    """An evaluation of several tasks, one sample of each item."""
    parts = []
    for (task, mode), scores in sorted(items.items()):
        parts.append(evaluation(list(scores), mode).assign(task=task, group=""))
    return pd.concat(parts, ignore_index=True)


def write_run(
    root: Path,
    method: str = "rzero",
    seed: int = 0,
    finals: Metrics | None = None,
    *,
    first: Metrics | None = None,
    iterations: Sequence[Metrics] | None = None,
    items: Items | None = None,
    base: list[float] | None = None,
    base_items: Items | None = None,
    status: str | None = "completed",
    name: str | None = None,
    cost: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """A run of two iterations, of those given, or of none where there are neither.

    Args:
        finals: metrics of the last iteration; ``first`` those of the first, else the same.
        items: scores after the last iteration; its accuracies are added to its metrics.
        base: scores of the base model on one task, or ``base_items`` on several.
        status: None for a run that isn't finished.
    """
    folder = root / (name or f"{method}-ladder-s{seed}-abc")
    folder.mkdir(parents=True)
    fields = {
        "schema": 1,
        "method": method,
        "profile": "ladder",
        "suite": "ladder",
        "seed": seed,
        "config": {"evaluation": {"tasks": ["ladder"]}},
        "config_hash": "abc",
        "base_model_hash": "b0",
        "data_hashes": {"ladder": "d0"},
        "prompt_hash": {"ladder": "p0"},
        "engine": {"name": "torch", "dtype": "float32"},
        "git": {"commit": None, "dirty": None},
    }
    (folder / "manifest.json").write_text(json.dumps({**fields, **manifest}))
    made = list(iterations or ([] if finals is None else [first or finals, finals]))
    if items is not None and made:
        made[-1] = {**made[-1], **summary(evaluated(items))}
    for t, metrics in enumerate(made, 1):
        (folder / "iterations" / f"{t:02d}").mkdir(parents=True)
        (folder / "iterations" / f"{t:02d}" / "metrics.json").write_text(json.dumps(metrics))
        questions(t).to_parquet(folder / "iterations" / f"{t:02d}" / "questions.parquet")
    (folder / "eval").mkdir()
    start = evaluated(base_items) if base_items is not None else evaluation(base or [1, 0, 0, 0])
    start.to_parquet(folder / "eval" / "00.parquet")
    if made:
        end = evaluated(items) if items is not None else evaluation([1, 1, 0, 0])
        if items is None and base_items is not None:
            end = start
        end.to_parquet(folder / "eval" / f"{len(made):02d}.parquet")
    spent = {"phases": {"solve": 2.5}, "cpu_seconds": 9, "wall_seconds": 5.0}
    (folder / "cost.json").write_text(json.dumps(spent if cost is None else dict(cost)))
    if status:
        done = {"schema": 1, "status": status, "iterations": len(made), "detail": ""}
        (folder / "done.json").write_text(json.dumps(done))
    return folder


def questions(t: int) -> pd.DataFrame:
    """Two questions of an iteration, the second one not valid."""
    return pd.DataFrame(
        {
            "question_id": [0, 1],
            "question": [f"how much is {t} + 1?", None],
            "valid": [True, False],
            "label": [str(t + 1), None],
            "p_hat": [0.5, None],
            "selected": [True, False],
        }
    )
