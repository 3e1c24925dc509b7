"""Agreement with published graders' own test cases, and no verdict lost that was right.

The pairs are read from the data folder; only their ids and this grader's verdicts are kept here.
After a rule is added, ``python -m tests.grading.test_grader_pairs`` writes the verdicts anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.data import ENV
from harness.grading import Grader, Verdict, read_answer

FROZEN = Path(__file__).with_name("grader_pairs_verdicts.json")


def _rows() -> list[dict[str, Any]]:
    folder = os.environ.get(ENV)
    file = Path(folder or "") / "grader_pairs.jsonl"
    if not folder or not file.is_file():
        pytest.skip(f"{ENV} names no folder with grader_pairs.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    golds = [read_answer(row["gold"]).answer or "" for row in rows]
    preds = [
        read_answer(row["pred"], gold=gold).answer for row, gold in zip(rows, golds, strict=True)
    ]
    with Grader(workers=2, deadline_s=10.0) as grader:
        verdicts = grader.grade(gold=golds, pred=preds)
    return {row["id"]: verdict.value for row, verdict in zip(rows, verdicts, strict=True)}


def _agrees(row: dict[str, Any], verdict: str) -> bool:
    return (verdict == Verdict.CORRECT) == row["expected"]


def test_agreement_false_accepts_and_no_regression() -> None:
    rows = _rows()
    found, frozen = _verdicts(rows), json.loads(FROZEN.read_text())
    lost = [
        row["id"]
        for row in rows
        if _agrees(row, frozen[row["id"]]) and not _agrees(row, found[row["id"]])
    ]
    assert lost == []
    firm = [row for row in rows if row["firm"]]
    agreed = sum(_agrees(row, found[row["id"]]) for row in firm)
    accepted = [r["id"] for r in firm if not r["expected"] and found[r["id"]] == Verdict.CORRECT]
    assert agreed >= 0.97 * len(firm)
    assert len(accepted) <= 1


if __name__ == "__main__":
    text = json.dumps(_verdicts(_rows()), indent=0, sort_keys=True)
    FROZEN.write_text(text + "\n")
