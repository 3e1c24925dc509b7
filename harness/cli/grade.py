"""`grade`: verdicts on a file of pairs, so that anyone can test the grader on their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from harness.errors import HarnessError
from harness.grading import Grader, read_answer

_BATCH = 256
"""Pairs graded together: large enough to keep the workers busy, small enough to stream."""


@dataclass(frozen=True)
class _Pair:
    number: int  # line of the file, from 1
    id: Any
    gold: str
    pred: str | None


def grade_file(path: Path, out: Path | None, workers: int, deadline_s: float) -> None:
    """Write one JSON verdict for each row of a JSON Lines file, in order, to ``out`` or stdout.

    Rows need ``gold`` (text) and ``pred`` (text or null); ``id`` is passed through. Each may be an
    answer or a whole response (``harness.grading.read_answer``). The whole file is checked first:
    raises HarnessError naming the line, and writes nothing, if a row can't be used.
    """
    if not path.is_file():
        raise HarnessError(f"{path}: no such file")
    if out is not None and out.exists() and out.samefile(path):
        raise HarnessError(f"--out {out}: is the file to be graded; name another")
    if sum(1 for _ in _pairs(path)) == 0:
        raise HarnessError(f"{path}: no rows; one JSON object with 'gold' and 'pred' a line")
    with ExitStack() as stack:
        grader = stack.enter_context(Grader(workers=workers, deadline_s=deadline_s))
        target: TextIO = sys.stdout
        if out is not None:
            try:
                target = stack.enter_context(open(out, "w", encoding="utf-8"))
            except OSError as error:
                raise HarnessError(f"--out {out}: can't write: {error.strerror}") from error
        batch: list[_Pair] = []
        for pair in _pairs(path):
            batch.append(pair)
            if len(batch) == _BATCH:
                _grade(batch, grader, target)
                batch = []
        _grade(batch, grader, target)


def _pairs(path: Path) -> Iterator[_Pair]:
    """The file's rows, checked; empty lines are passed over."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise HarnessError(f"{where}: not JSON: {error}") from error
            if not isinstance(row, dict) or not {"gold", "pred"} <= row.keys():
                raise HarnessError(f"{where}: needs an object with 'gold' and 'pred'")
            gold, pred = row["gold"], row["pred"]
            if not isinstance(gold, str):
                raise HarnessError(f"{where}: 'gold' must be text")
            if pred is not None and not isinstance(pred, str):
                raise HarnessError(f"{where}: 'pred' must be text or null")
            yield _Pair(number, row.get("id"), gold, pred)


def _grade(batch: list[_Pair], grader: Grader, target: TextIO) -> None:
    golds = [read_answer(p.gold).answer or "" for p in batch]
    found = [
        None if p.pred is None else read_answer(p.pred, gold=gold)
        for p, gold in zip(batch, golds, strict=True)
    ]
    verdicts = grader.grade(gold=golds, pred=[None if f is None else f.answer for f in found])
    for pair, extraction, verdict in zip(batch, found, verdicts, strict=True):
        row: dict[str, Any] = {"line": pair.number}
        if pair.id is not None:
            row["id"] = pair.id
        row["verdict"] = verdict.value
        row["found"] = "none" if extraction is None else extraction.how.value
        target.write(json.dumps(row) + "\n")  # ASCII: an id may hold a lone surrogate
    target.flush()
