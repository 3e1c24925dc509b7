"""The generated questions of many runs, sampled evenly, each with its nearest earlier question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow.parquet import ParquetFile

from harness.diversity.embedders import Embedder, HashingEmbedder
from harness.errors import HarnessError
from harness.grading.equivalence import decide_graded
from harness.leaderboard import Run
from harness.rng import key64, stream
from harness.store import RunFolder, Status

COLUMNS = (
    "method",
    "seed",
    "iteration",
    "question_id",
    "question",
    "valid",
    "well_posed",
    "selected",
    "topic",
    "label",
    "true_answer",
    "right",
    "p_hat",
    "votes",
    "answers",
    "nearest",
    "nearest_iteration",
    "similarity",
)
"""Columns of `Questions.frame`; what isn't known is None."""
MOST_ROWS = 4000
MOST_BYTES = 1_500_000
"""Of all sampled texts in UTF-8: a page of a few MB opens at once."""
MOST_CHARACTERS = 2000
"""A longer text is cut: a model that doesn't stop must not fill the page."""
_SHORT = 200
"""The same for answers and topics."""
_MOST_ANSWERS = 4
_COPIED = {
    "question_id": "question_id",
    "question": "question",
    "valid": "valid",
    "well_posed": "well_posed",
    "selected": "selected",
    "topic": "topic",
    "label": "label",
    "true_answer": "true_answer",
    "p_hat": "p_hat",
    "nearest_question": "nearest",
    "nearest_iteration": "nearest_iteration",
    "nearest_similarity": "similarity",
}
"""Columns of the files, and their names here."""
_TEXTS = {
    "question": MOST_CHARACTERS,
    "nearest": MOST_CHARACTERS,
    "label": _SHORT,
    "true_answer": _SHORT,
    "topic": _SHORT,
}
"""Columns that models wrote, and how many characters of each are shown."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Questions:
    """A sample of the generated questions.

    Attributes:
        frame: a row per question with the columns `COLUMNS`, sorted by method, seed, iteration and
            question. ``answers`` is a list of (answer, votes), most frequent first, where the
            votes were kept; ``nearest`` the most similar valid question of an earlier iteration of
            the same run, ``similarity`` their cosine; ``right`` whether label and true answer are
            equal, None where only algebra could tell.
        kept: how many questions the run folders hold (a compact run has some of each iteration).
        generated: how many were generated, as the runs' metrics say.
        embedder: name of what ``similarity`` is measured with where it was measured here.
        recorded: in how many of the runs it was recorded, then among all earlier questions and by
            the run's own embedder.
        runs: how many runs have questions.
    """

    frame: pd.DataFrame
    kept: int
    generated: int
    embedder: str
    recorded: int
    runs: int


def read_questions(
    runs: Iterable[Run],
    embedder: Embedder | None = None,
    *,
    most_rows: int = MOST_ROWS,
    most_bytes: int = MOST_BYTES,
) -> Questions:
    """Sample the questions that finished runs asked; the same runs give the same sample.

    Every run and iteration gets the same number of rows, as far as it has them and the caps allow.

    Args:
        embedder: default: the hashing embedder, which works offline and ignores numbers.
        most_rows: rows at most.
        most_bytes: bytes of all texts at most, in UTF-8.

    Raises:
        HarnessError: a table of questions is corrupt or lacks a column.
    """
    embed = HashingEmbedder() if embedder is None else embedder
    finished = [run for run in runs if run.status is not Status.INCOMPLETE]
    parts = [part for part in map(_of_run, finished) if part]
    last = _last_turn((row["turn"] for part in parts for row in part), most_rows)
    recorded = 0
    picked: list[Row] = []
    for part in parts:
        sampled = [row for row in part if row["turn"] <= last]
        if any(row["nearest"] is not None for row in part):
            recorded += 1
        else:
            _find_nearest(part, sampled, embed)
        picked += sampled
    picked = _within(sorted(picked, key=itemgetter("turn", "order"))[:most_rows], most_bytes)
    picked.sort(key=itemgetter("method", "seed", "iteration", "place"))
    _count_votes(picked)
    for row in picked:
        row["right"] = _right(row["label"], row["true_answer"])
    kept = sum(map(len, parts))
    asked = [m.get("curriculum/questions") for run in finished for m in run.iterations]
    generated = max(kept, int(sum(n for n in asked if n is not None)))
    frame = pd.DataFrame(
        {name: pd.Series([row.get(name) for row in picked], dtype=object) for name in COLUMNS}
    )
    return Questions(frame, kept, generated, embed.name, recorded, len(parts))


def _last_turn(turns: Iterable[int], most: int) -> int:
    """The turn by which all runs and iterations together have filled the cap."""
    counts = Counter(turns)
    total = 0
    for turn in sorted(counts):
        total += counts[turn]
        if total >= most:
            return turn
    return max(counts, default=0)


def _of_run(run: Run) -> list[Row]:
    """All questions that a run's folder holds, with the turn at which each is sampled."""
    manifest = run.manifest
    cast = manifest.config.get("votes")
    votes = cast.get("n") if isinstance(cast, dict) else None
    shared = {
        "method": manifest.method,
        "seed": manifest.seed,
        "votes": votes if isinstance(votes, int) else None,
    }
    rows: list[Row] = []
    for t in range(1, len(run.iterations) + 1):
        folder = RunFolder(run.folder).iteration(t)
        if not (folder / "questions.parquet").exists():
            continue
        found = _of_iteration(folder)
        key = key64(manifest.seed, "report", manifest.method, t)
        turns = stream(key, "questions").permutation(len(found)).tolist()
        for place, (row, turn) in enumerate(zip(found, turns, strict=True)):
            row |= {**shared, "iteration": t, "place": place, "folder": folder}
            row |= {"turn": turn, "order": key}
        rows += found
    return rows


def _of_iteration(folder: Path) -> list[Row]:
    """Questions, and what the checker read in them, if there is one."""
    path = folder / "questions.parquet"
    asked = _records(path)
    if asked and (missing := {"question_id", "question"} - set(asked[0])):
        raise HarnessError(f"{path}: no column {', '.join(sorted(missing))}; not a curriculum")
    checks: dict[Any, Row] = {}
    if (folder / "checks.parquet").exists():
        checks = {row.get("question_id"): row for row in _records(folder / "checks.parquet")}
    rows = []
    for record in asked:
        both = record | checks.get(record["question_id"], {})
        row = {name: _known(both.get(source)) for source, name in _COPIED.items()}
        for name, most in _TEXTS.items():
            row[name] = _cut(row[name], most)
        row["question"] = row["question"] or ""
        rows.append(row)
    return rows


def _records(path: Path) -> list[Row]:
    """A table's rows. Frames of 24 rows each would take most of a report's time.

    Raises:
        HarnessError: truncated or corrupt.
    """
    try:
        rows: list[Row] = ParquetFile(path).read(use_threads=False).to_pylist()
    except Exception as error:  # pyarrow raises several kinds
        raise HarnessError(
            f"{path}: truncated or corrupt parquet; remove the run's folder and run again, or "
            "leave it out"
        ) from error
    return rows


def _known(value: Any) -> Any:
    return None if value is None or value != value else value  # NaN isn't itself


def _count_votes(sampled: Sequence[Row]) -> None:
    """Give each row the answers that got most votes, where the votes were kept."""
    folders: dict[Path, list[Row]] = {}
    for row in sampled:
        folders.setdefault(row["folder"], []).append(row)
    for folder, rows in folders.items():
        path = folder / "votes.parquet"
        if not path.exists():
            continue
        wanted = {row["question_id"] for row in rows}
        votes = [vote for vote in _records(path) if vote.get("question_id") in wanted]
        for row in rows:
            own = [vote for vote in votes if vote["question_id"] == row["question_id"]]
            row["answers"] = _tally(own)


def _tally(votes: Sequence[Row]) -> list[tuple[str, int]] | None:
    """The most frequent answers to a question; equal ones are one, named as first written."""
    counts = Counter(vote.get("cluster", -1) for vote in votes)
    if not counts:
        return None
    names: dict[Any, str] = {-1: "no answer"}
    for vote in votes:
        names.setdefault(vote.get("cluster", -1), _cut(vote.get("answer"), _SHORT) or "")
    return [(names[cluster], n) for cluster, n in counts.most_common(_MOST_ANSWERS)]


def _find_nearest(known: Sequence[Row], sampled: Sequence[Row], embed: Embedder) -> None:
    """Give each sampled row the most similar valid question of an earlier iteration."""
    usable = [row for row in known if row["valid"] is not False and row["question"]]
    if not usable:
        return
    cosine = embed([row["question"] for row in sampled]) @ embed([r["question"] for r in usable]).T
    asked_in = np.array([row["iteration"] for row in usable])
    earlier = asked_in[None, :] < np.array([row["iteration"] for row in sampled])[:, None]
    cosine[~earlier] = -np.inf
    for row, best, close in zip(sampled, cosine.argmax(axis=1), cosine.max(axis=1), strict=True):
        if np.isfinite(close):
            nearest = usable[int(best)]
            row["nearest"] = nearest["question"]
            row["nearest_iteration"] = nearest["iteration"]
            row["similarity"] = round(float(close), 3)


def _cut(value: Any, most: int) -> str | None:
    if value is None:
        return None
    text = str(value)
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text) - most} more characters)"


def _right(label: str | None, answer: str | None) -> bool | None:
    return None if label is None or answer is None else decide_graded(answer, label)


def _within(rows: Sequence[Row], most: int) -> list[Row]:
    """The first rows whose texts together keep within `most` bytes of UTF-8."""
    kept: list[Row] = []
    for row in rows:
        texts = [row[name] for name in _TEXTS if row[name] is not None]
        most -= sum(len(text.encode("utf-8", "backslashreplace")) for text in texts)
        if most < 0:
            break
        kept.append(row)
    return kept
