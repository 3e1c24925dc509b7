"""Phase 6: diversity of what the proposer wrote, and what a checker knows of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from harness.checker import Checked
from harness.diversity.report import Snapshot, measure, snapshot
from harness.grading import Verdict
from harness.phases.workbench import Workbench

Metrics = dict[str, float | None]


def read_snapshot(bench: Workbench, questions: pd.DataFrame) -> Snapshot:
    """An iteration's valid questions, embedded and checked: what later iterations compare with."""
    texts = _valid_texts(questions)
    checks = [bench.checker.check(q) for q in texts] if bench.checker else None
    return snapshot(texts, checks, bench.embedder)


def measure_questions(
    bench: Workbench,
    questions: pd.DataFrame,
    votes: pd.DataFrame,
    curriculum: pd.DataFrame,
    now: Snapshot,
) -> Metrics:
    """Diversity of the valid questions at fixed n, with validity and posedness beside it."""
    valid = questions[questions["valid"]]
    checks = [bench.checker.check(q) for q in now.texts] if bench.checker else None
    metrics: Metrics = dict(
        measure(
            now.texts,
            p_hat=valid["p_hat"].to_numpy(dtype=np.float64),
            answers=_texts(valid["label"]),
            checks=checks,
            embed=bench.embedder,
            history=bench.archive,
            n=bench.config.diversity.n,
            n_well_posed=bench.config.diversity.n_well_posed,
            votes=int(votes["vote"].max()) + 1 if len(votes) else bench.config.votes.n,
            seed=bench.seed,
            now=now,
            topics=bench.topics(now.embeddings) if bench.topics else None,
            solutions=_texts(valid["solution"]) if "solution" in valid.columns else None,
        )
    )
    if checks is not None:
        metrics.update(_known(bench, questions, valid, checks, curriculum))
    return metrics


def _valid_texts(questions: pd.DataFrame) -> list[str]:
    return [str(q) for q in questions.loc[questions["valid"], "question"]]


def _texts(column: pd.Series[str]) -> list[str | None]:
    return [None if pd.isna(x) else str(x) for x in column]


def _known(
    bench: Workbench,
    questions: pd.DataFrame,
    valid: pd.DataFrame,
    checks: list[Checked],
    curriculum: pd.DataFrame,
) -> Metrics:
    """What the world's checker knows: posedness, topics, tiers, correctness of the labels."""
    by_id = dict(zip(valid["question_id"], checks, strict=True))
    chosen = [i for i in curriculum["question_id"] if i in by_id]
    labels = dict(zip(curriculum["question_id"], curriculum["label"], strict=True))
    posed = [i for i in chosen if by_id[i].well_posed]
    verdicts = bench.grader.grade(
        gold=[str(by_id[i].answer) for i in posed], pred=[labels[i] for i in posed]
    )
    right = sum(v is Verdict.CORRECT for v in verdicts)
    metrics: Metrics = {
        "proposer/well_posed": sum(c.well_posed for c in checks) / len(questions),
        "curriculum/well_posed": len(posed) / len(chosen) if chosen else None,
        "curriculum/label_accuracy": right / len(posed) if posed else None,
    }
    tiers = Counter(c.tier for c in checks if c.well_posed and c.tier is not None)
    for tier in sorted({c.tier for c in checks if c.tier is not None}):
        metrics[f"proposer/tier_{tier}"] = tiers[tier] / len(questions)
    return metrics


def checks_table(bench: Workbench, questions: pd.DataFrame) -> pd.DataFrame | None:
    """The checker's reading of every valid question; None without a checker."""
    if bench.checker is None:
        return None
    valid = questions[questions["valid"]]
    checks = [bench.checker.check(str(q)) for q in valid["question"]]
    return pd.DataFrame(
        {
            "question_id": valid["question_id"].to_numpy(),
            "topic": [c.topic for c in checks],
            "tier": pd.array([c.tier for c in checks], dtype="Int64"),
            "well_posed": [c.well_posed for c in checks],
            "true_answer": [c.answer for c in checks],
        }
    )
