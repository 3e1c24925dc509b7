"""Questions: votes counted again, the curriculum's rows and an iteration's metrics recomputed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.diversity.embedders import HASHING, HashingEmbedder
from harness.diversity.report import Snapshot, measure, snapshot
from harness.errors import HarnessError, one_line
from harness.grading import Verdict, shared_grader
from harness.grading.votes import tally
from harness.leaderboard.check.report import Place
from harness.leaderboard.runs import Run
from harness.methods import get
from harness.methods.base import overridden
from harness.store.layouts import CHECKS, CURRICULUM, QUESTIONS, VOTES, Layout, read_table

_TABLES: Mapping[str, Layout] = {
    "questions": QUESTIONS,
    "votes": VOTES,
    "curriculum": CURRICULUM,
    "checks": CHECKS,
}
_FREE = ("lexical/", "functional/")
"""Families that need no embedder."""
_EMBEDDED = ("semantic/",)
_TOPICS = "functional/topic_entropy"


@dataclass(frozen=True)
class _Read:
    """A checker's reading, as ``checks.parquet`` has it."""

    topic: str
    tier: int | None
    well_posed: bool
    answer: str | None


def check_questions(place: Place, run: Run) -> None:
    """Check every iteration of a run that holds its votes; a compact run doesn't."""
    labels = _labels_itself(run.manifest.method)
    if labels:
        place.report.skip(f"labels of {run.manifest.method}: {labels}; votes are counted")
    history: list[Snapshot] = []
    for t in range(1, len(run.iterations) + 1):
        folder = f"iterations/{t:02d}"
        if not place.at(f"{folder}/votes.parquet").path.exists():
            place.report.skip("votes of compact runs: they aren't there")
            return
        tables = _tables(place, folder, run.manifest.schema_version)
        at = place.at(f"{folder}/questions.parquet")
        _votes(at, tables, counted=not labels)
        _curriculum(place.at(f"{folder}/curriculum.parquet"), tables)
        recorded = run.iterations[t - 1]
        found = _shares(tables) | _known(tables)
        if labels:  # it decides which votes hold an answer, too
            found.pop("votes/no_answer", None)
        found |= _diversity(at, run, tables, history)
        known = {name: recorded[name] for name in found if name in recorded}
        if absent := sorted(set(found) - set(known)):  # an older harness measured less
            place.report.skip(f"{place.folder.name}: {', '.join(absent)}: not recorded")
        found = {name: value for name, value in found.items() if name in known}
        place.at(f"{folder}/metrics.json").metrics(known, found)


def _labels_itself(method: str) -> str:
    """Why a method's labels need not be the majority's answers; "" where they must be."""
    try:
        parts = [get(part.strip().partition(":")[0]) for part in method.split("+")]
    except HarnessError:
        return "the method isn't known here"
    own = any("label" in overridden(part.cls) for part in parts)
    return "the method labels by a rule of its own" if own else ""


def _tables(place: Place, folder: str, version: int) -> dict[str, pd.DataFrame]:
    found = {}
    for name, layout in _TABLES.items():
        path = place.at(f"{folder}/{name}.parquet").path
        if path.exists() or name != "checks":
            frame = read_table(path, layout, version)
            if name in ("questions", "checks") and not frame["question_id"].is_unique:
                twice = int(frame.loc[frame["question_id"].duplicated(), "question_id"].iloc[0])
                at = place.at(f"{folder}/{name}.parquet")
                at.differs("question", "there twice", "once", question_id=twice)
                frame = frame.drop_duplicates("question_id", ignore_index=True)
            found[name] = frame
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _votes(at: Place, tables: Mapping[str, pd.DataFrame], *, counted: bool) -> None:
    """Every valid question has its votes, and its label and share are the majority's."""
    questions = tables["questions"].set_index("question_id")
    votes = tables["votes"].sort_values(["question_id", "vote"], kind="stable")
    answers: dict[int, list[str | None]] = {}
    clusters: dict[int, list[int]] = {}
    columns = (votes[name].tolist() for name in ("question_id", "answer", "cluster"))
    for question, answer, cluster in zip(*columns, strict=True):
        answers.setdefault(question, []).append(_text(answer))
        clusters.setdefault(question, []).append(cluster)
    valid = set(questions.index[questions["valid"].astype(bool)].tolist())
    for question in sorted(valid ^ set(answers)):
        has = "has votes" if question in answers else "has no votes"
        is_valid = "valid" if question in valid else "not valid"
        at.differs("question", is_valid, has, question_id=question)
    at.report.counts["votes"] += len(votes)
    if not counted:
        return
    recorded = {row["question_id"]: row for row in tables["questions"].to_dict("records")}
    tallies = tally(list(answers.values()), shared_grader())
    for question, one in zip(answers, tallies, strict=True):
        row = recorded.get(question)
        if row is not None:
            at.same("label", _text(row["label"]), one.answer, question_id=question)
            at.same("p_hat", row["p_hat"], one.p_hat, question_id=question)
            votes_file = at.at(at.file.replace("questions", "votes"))
            votes_file.same("clusters", clusters[question], list(one.cluster), question_id=question)


def _curriculum(at: Place, tables: Mapping[str, pd.DataFrame]) -> None:
    """The solver's rows are selected questions with their labels."""
    questions = tables["questions"].set_index("question_id")
    rows = tables["curriculum"]
    rows = rows[rows["question_id"] >= 0]
    selected = set(questions.index[questions["selected"].astype(bool)])
    for question in sorted(selected ^ set(rows["question_id"])):
        there = "in the curriculum" if question not in selected else "not in the curriculum"
        chosen = "selected" if question in selected else "not selected"
        at.differs("question", there, chosen, question_id=int(question))
    for row in rows.to_dict("records"):
        if row["question_id"] in questions.index:
            source = questions.loc[row["question_id"]]
            for name in ("question", "label"):
                key = int(row["question_id"])
                at.same(name, _text(row[name]), _text(source[name]), question_id=key)
    at.report.counts["curriculum rows"] += len(tables["curriculum"])


def _shares(tables: Mapping[str, pd.DataFrame]) -> dict[str, float | None]:
    """The metrics that count rows."""
    questions, votes, rows = (tables[name] for name in ("questions", "votes", "curriculum"))
    n = len(questions)
    if not n:
        return {}
    own = int((rows["question_id"] >= 0).sum())
    return {
        "proposer/valid": float(questions["valid"].sum()) / n,
        "proposer/truncated": float(questions["truncated"].mean()),
        "proposer/tokens": float(questions["tokens"].mean()),
        "curriculum/questions": float(n),
        **({"curriculum/survivors": float(len(rows))} if own == len(rows) else {}),
        **({"curriculum/survivor_share": len(rows) / n} if own == len(rows) else {}),
        "votes/no_answer": float((votes["cluster"] < 0).mean()) if len(votes) else 1.0,
    }


def _known(tables: Mapping[str, pd.DataFrame]) -> dict[str, float | None]:
    """The metrics that a checker's readings give."""
    if "checks" not in tables or tables["questions"].empty:
        return {}
    checks = tables["checks"].set_index("question_id")
    rows = tables["curriculum"]
    chosen = [i for i in rows["question_id"] if i in checks.index]
    labels = dict(zip(rows["question_id"], rows["label"], strict=True))
    posed = [i for i in chosen if checks.loc[i, "well_posed"]]
    verdicts = shared_grader().grade(
        gold=[str(checks.loc[i, "true_answer"]) for i in posed],
        pred=[_text(labels[i]) for i in posed],
    )
    right = sum(v is Verdict.CORRECT for v in verdicts)
    n = len(tables["questions"])
    tiers = Counter(checks.loc[checks["well_posed"], "tier"].dropna().astype(int))
    return {
        "proposer/well_posed": float(checks["well_posed"].sum()) / n,
        "curriculum/well_posed": len(posed) / len(chosen) if chosen else None,
        "curriculum/label_accuracy": right / len(posed) if posed else None,
        **{f"proposer/tier_{tier}": tiers[tier] / n for tier in sorted(tiers)},
    }


def _diversity(
    at: Place, run: Run, tables: Mapping[str, pd.DataFrame], history: list[Snapshot]
) -> dict[str, float | None]:
    """Diversity metrics, those of the embedding family only where the embedder is at hand."""
    stated = run.manifest.config.get("diversity")
    if not isinstance(stated, dict):
        return {}
    embedder, topics = stated.get("embedder"), stated.get("topics")
    wanted = _FREE + (_EMBEDDED if embedder == HASHING else ())
    if embedder != HASHING:
        # A name in somebody's manifest must not make this machine fetch a model.
        at.report.skip(f"semantic diversity: the embedder {str(embedder)[:60]!a} isn't built in")
    questions = tables["questions"]
    valid = questions[questions["valid"].astype(bool)]
    texts = [str(q) for q in valid["question"]]
    checks = _checks(tables, valid["question_id"].tolist())
    embed = HashingEmbedder()
    now = snapshot(texts, checks, embed)
    n, n_well_posed = (stated.get(name) for name in ("n", "n_well_posed"))
    if not (isinstance(n, int) and isinstance(n_well_posed, int)) or min(n, n_well_posed) < 2:
        return {}
    cast = tables["votes"].groupby("question_id").size()
    earlier = list(history)
    history.append(now)
    try:
        values = measure(
            texts,
            p_hat=valid["p_hat"].to_numpy(dtype=np.float64),
            answers=[_text(x) for x in valid["label"]],
            checks=checks,
            embed=embed,
            history=earlier,
            n=n,
            n_well_posed=n_well_posed,
            votes=int(cast.max()) if len(cast) else 1,
            seed=run.manifest.seed,
            now=now,
            solutions=[_text(x) for x in valid["solution"]] if "solution" in valid else None,
        )
    except (HarnessError, ValueError) as error:
        at.differs("diversity metrics", "present", f"not to be had: {one_line(error)}")
        return {}
    if topics is not None:
        at.report.skip(f"topic entropy: topics are named after {str(topics)[:60]!a}")
    return {
        name: value
        for name, value in values.items()
        if name.partition("/")[2].startswith(wanted)
        and not (name.endswith(_TOPICS) and topics is not None)
    }


def _checks(tables: Mapping[str, pd.DataFrame], ids: Sequence[int]) -> list[_Read] | None:
    if "checks" not in tables:
        return None
    rows = {int(row["question_id"]): row for row in tables["checks"].to_dict("records")}
    missing = _Read("other", None, False, None)
    return [
        _Read(
            str(rows[i]["topic"]),
            None if pd.isna(rows[i]["tier"]) else int(rows[i]["tier"]),
            bool(rows[i]["well_posed"]),
            _text(rows[i]["true_answer"]),
        )
        if i in rows
        else missing
        for i in map(int, ids)
    ]
