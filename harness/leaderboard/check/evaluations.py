"""Evaluations: responses extracted and graded again, items counted, metrics summed up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from harness.errors import HarnessError, one_line
from harness.evaluation.clusters import answer_clusters
from harness.evaluation.rescore import Items, Rescorer
from harness.evaluation.summary import summary
from harness.grading import shared_grader
from harness.leaderboard.check.report import Place
from harness.leaderboard.runs import Run
from harness.store.layouts import COMPACT_EVALUATION, EVALUATION, read_table

_MOST_ITEMS = 3


def check_evaluations(place: Place, run: Run, rescorer: Rescorer | None) -> None:
    """Check every evaluation of a run.

    Args:
        place: the run.
        run: as it was read, so that keys and scores are well-formed.
        rescorer: the run's tasks as they lie here; None: not to be had.
    """
    config = run.manifest.config.get("evaluation")
    limit = config.get("limit") if isinstance(config, dict) else None
    for t in sorted(run.digests):
        at = place.at(f"eval/{t:02d}.parquet")
        whole = "response" in pq.read_schema(at.path).names
        layout = EVALUATION if whole else COMPACT_EVALUATION
        rows = read_table(at.path, layout, run.manifest.schema_version)
        if rescorer is not None:
            _items(at, rows, rescorer.items(limit if isinstance(limit, int) else None))
        if whole:
            _prompts(at, rows, run)
            if rescorer is not None:
                _responses(at, rows, rescorer)
        else:
            place.report.skip("responses of compact runs: they aren't there; item scores are")
            _verdicts(at, rows)
        if t:
            recorded = run.iterations[t - 1] if t <= len(run.iterations) else {}
            solver = {name: v for name, v in recorded.items() if name.startswith("solver/")}
            place.at(f"iterations/{t:02d}/metrics.json").metrics(solver, summary(rows))


def _items(at: Place, rows: pd.DataFrame, expected: Mapping[tuple[str, str], Items]) -> None:
    """Every sample of every item of every task is there, in its group, and nothing else is."""
    wanted = {
        (task, mode, doc, sample): group
        for (task, mode), items in expected.items()
        for doc, group in enumerate(items.groups)
        for sample in range(items.samples)
    }
    columns = [rows[name].tolist() for name in ("task", "mode", "doc_id", "sample")]
    there = dict(zip(zip(*columns, strict=True), rows["group"].tolist(), strict=True))
    for what, keys in (
        ("a sample is missing", sorted(set(wanted) - set(there))),
        ("a sample that no task asks for", sorted(set(there) - set(wanted))),
    ):
        for task, mode, doc, sample in keys[:_MOST_ITEMS]:
            missing = (task, mode, doc, sample) in wanted
            said = ("absent", "present") if missing else ("present", "absent")
            at.differs(what, *said, task=task, mode=mode, doc_id=doc, sample=sample)
        if len(keys) > _MOST_ITEMS:
            at.differs(f"{what}, in all", len(keys), 0)
    for key in sorted(set(there) & set(wanted)):
        if str(there[key]) != wanted[key]:
            task, mode, doc, sample = key
            at.differs("group", there[key], wanted[key], task=task, mode=mode, doc_id=doc)
    at.report.counts["item samples"] += len(there)


def _responses(at: Place, rows: pd.DataFrame, rescorer: Rescorer) -> None:
    """Every response is extracted and graded again."""
    answers: list[str | None] = []
    for row in rows.to_dict("records"):
        task, mode, doc = str(row["task"]), str(row["mode"]), int(row["doc_id"])
        where: dict[str, Any] = {"task": task, "mode": mode, "doc_id": doc}
        where["sample"] = int(row["sample"])
        try:
            new = rescorer.rescore(task, mode, doc, str(row["response"]))
        except HarnessError as error:
            answers.append(None)
            at.differs("a response that can't be scored", row["score"], one_line(error), **where)
            continue
        answers.append(new.answer)
        recorded = row["answer"] if isinstance(row["answer"], str) else None
        at.same("answer", recorded, new.answer, **where, gold=new.gold)
        if "found" in row:
            at.same("found", row["found"], new.found, **where, answer=new.answer)
        if row["verdict"] != new.verdict or float(row["score"]) != new.score:
            at.differs(
                "score",
                f"{row['verdict']} {float(row['score']):g}",
                f"{new.verdict} {new.score:g}",
                **where,
                answer=new.answer,
                gold=new.gold,
            )
    at.report.counts["responses rescored"] += len(rows)
    if "cluster" in rows.columns:
        again = answer_clusters(rows.assign(answer=pd.array(answers, dtype="str")), shared_grader())
        for i in (again != rows["cluster"].to_numpy()).nonzero()[0]:
            row = rows.iloc[i]
            keys = {name: row[name] for name in ("task", "mode")}
            keys |= {name: int(row[name]) for name in ("doc_id", "sample")}
            at.differs("cluster", int(row["cluster"]), int(again[i]), **keys)


def _verdicts(at: Place, rows: pd.DataFrame) -> None:
    """Without responses: a verdict must go with its score, and an answer's place with both."""
    right = rows["score"] == 1
    odd = right != (rows["verdict"] == "correct")
    if "found" in rows.columns:
        odd |= (rows["found"] == "none") & right
    for row in rows[odd].to_dict("records"):
        keys = {name: row[name] for name in ("task", "mode", "doc_id", "sample")}
        at.differs("score", f"{row['score']:g}", f"not with the verdict {row['verdict']}", **keys)
    at.report.counts["item scores"] += len(rows)


def _prompts(at: Place, rows: pd.DataFrame, run: Run) -> None:
    """The prompts of the first items are those that the manifest was made with."""
    stated = run.manifest.prompt_hash
    if not isinstance(stated, dict) or "prompt_hash" not in rows.columns:
        return
    known = set(stated.values())
    first = rows[(rows["doc_id"] == 0) & (rows["sample"] == 0)]
    for row in first.to_dict("records"):
        if row["prompt_hash"] not in known:
            at.differs("prompt_hash", row["prompt_hash"], sorted(known), task=row["task"])
