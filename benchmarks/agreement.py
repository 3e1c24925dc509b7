"""Agreement with published graders' test cases: math-verify called plainly, and this grader.

    COEVOLUTION_DATA=DIR python -m benchmarks.agreement

Prints the table of docs/grading.md and the ids of the rows on which this grader disagrees. Needs
``grader_pairs.jsonl`` in the data folder; only rows marked ``firm`` count.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from harness.data import data_folder
from harness.errors import HarnessError
from harness.grading import Grader, Verdict, read_answer


def _as_it_is(text: str) -> str:
    return text


def _latex_in_dollars(text: str) -> str:
    """math-verify reads LaTeX between delimiters only."""
    bare = not any(mark in text for mark in ("$", "\\boxed", "\\(", "\\["))
    return f"${text}$" if bare and "\\" in text else text


def _plain(rows: list[dict[str, Any]], prepare: Callable[[str], str]) -> list[bool]:
    from math_verify import parse, verify  # type: ignore[import-untyped, unused-ignore]

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return [bool(verify(*(parse(prepare(r[side])) for side in ("gold", "pred")))) for r in rows]


def _ours(rows: list[dict[str, Any]]) -> list[bool]:
    golds = [read_answer(row["gold"]).answer or "" for row in rows]
    preds = [read_answer(r["pred"], gold=g).answer for r, g in zip(rows, golds, strict=True)]
    with Grader(workers=2) as grader:
        verdicts = grader.grade(gold=golds, pred=preds)
    return [verdict is Verdict.CORRECT for verdict in verdicts]


def main() -> int:
    folder = data_folder()
    if folder is None:
        raise HarnessError("agreement: set COEVOLUTION_DATA to the folder of grader_pairs.jsonl")
    lines = (folder / "grader_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["firm"]]
    print("| grader | rows | agreement | false accepts | false rejects |\n|---|---|---|---|---|")
    for name, found in [
        ("math-verify, texts as they are", _plain(rows, _as_it_is)),
        ("math-verify, `$` around bare LaTeX", _plain(rows, _latex_in_dollars)),
        ("this grader", _ours(rows)),
    ]:
        wrong = [(r, c) for r, c in zip(rows, found, strict=True) if c != r["expected"]]
        accepts = sum(correct for _, correct in wrong)
        share = 100 * (1 - len(wrong) / len(rows))
        print(f"| {name} | {len(rows)} | {share:.1f} % | {accepts} | {len(wrong) - accepts} |")
    print("this grader disagrees on:", ", ".join(row["id"] for row, _ in wrong) or "none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
