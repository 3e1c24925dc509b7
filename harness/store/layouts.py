"""The tables of a run folder: their columns, each with a type, since which version, and meaning.

Checked when a table is written (every column, in order) and when it is read (what is there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.store.atomic import write_parquet
from harness.store.files import read_parquet

Type = Literal["text", "integer", "number", "truth"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        type: text (UTF-8), integer (64 bits), number (double) or truth (boolean).
        null: whether cells may be empty.
        since: the result schema version that requires it; older tables may have it.
        optional: not in every table of the version.
    """

    name: str
    type: Type
    meaning: str
    null: bool = False
    since: int = 1
    optional: bool = False


Layout = tuple[Column, ...]

_TASK = Column("task", "text", "benchmark, the same for its greedy and its sampled variant")
_DOC = Column("doc_id", "integer", "index of the item in the task's data")
_SAMPLE = Column("sample", "integer", "0, 1, ... among the item's samples")
_MODE = Column("mode", "text", "greedy (temperature 0) or sampled")
_GROUP = Column("group", "text", "tier, subject or level; several joined by `;`, empty text: none")
_FOUND = Column("found", "text", "where the answer was: box, stated or none", since=2)
_VERDICT = Column("verdict", "text", "correct, wrong, no_answer or timeout")
_SCORE = Column("score", "number", "share in 0..1; 1 is correct")
_TRUNCATED = Column("truncated", "truth", "the limit of tokens cut the response")
_CLUSTER = Column(
    "cluster",
    "integer",
    "which of the item's different answers it is: 0 the most frequent, -1 no answer",
    since=2,
)

EVALUATION: Layout = (
    _TASK,
    _DOC,
    _SAMPLE,
    _MODE,
    _GROUP,
    Column("prompt_hash", "text", "sha256 of the rendered prompt"),
    Column("response", "text", "what the model wrote"),
    Column("answer", "text", "the answer read from it; empty: none", null=True),
    _FOUND,
    _VERDICT,
    _SCORE,
    _TRUNCATED,
    Column("n_tokens", "integer", "tokens sampled, the end token included"),
    _CLUSTER,
)
"""``eval/NN.parquet`` of a run folder."""

COMPACT_EVALUATION: Layout = (
    _TASK,
    _MODE,
    _DOC,
    _SAMPLE,
    _GROUP,
    _FOUND,
    _VERDICT,
    _SCORE,
    _TRUNCATED,
    _CLUSTER,
)
"""``eval/NN.parquet`` of a compact run."""

_ASKED: Layout = (
    Column("question", "text", "the question parsed from it; empty where not valid", null=True),
    Column("valid", "truth", "well-formed, so that it was put to the vote"),
)
_VOTED: Layout = (
    Column("label", "text", "the majority's answer; empty: nobody answered", null=True),
    Column("p_hat", "number", "share of all votes for the label", null=True),
)
_SELECTED = Column("selected", "truth", "in the curriculum")
_ID = Column("question_id", "integer", "0, 1, ... within the iteration")

QUESTIONS: Layout = (
    _ID,
    Column("response", "text", "what the proposer wrote"),
    *_ASKED,
    Column("truncated", "truth", "the limit of tokens cut the proposal"),
    Column("tokens", "integer", "tokens of the proposal"),
    Column("surprisal", "number", "mean -log-prob of its tokens, nats", null=True),
    *_VOTED,
    Column("solution", "text", "a response that gives the label, cut", null=True, since=2),
    _SELECTED,
)
"""``iterations/NN/questions.parquet``: every proposal."""

VOTES: Layout = (
    _ID,
    Column("vote", "integer", "0, 1, ... among the question's votes"),
    Column("answer", "text", "the last box's content; empty: none", null=True),
    Column("cluster", "integer", "rank of the answer's cluster; -1 no answer"),
)
"""``iterations/NN/votes.parquet``: every vote on every valid question."""

CURRICULUM: Layout = (
    Column("question_id", "integer", "as in questions.parquet; -1 for a replayed row"),
    Column("question", "text", "what the solver trains on"),
    Column("label", "text", "the answer it is rewarded for"),
    Column("p_hat", "number", "share of the votes; empty for a replayed row", null=True),
)
"""``iterations/NN/curriculum.parquet``."""

_CHECKS: Layout = (
    Column("topic", "text", "what the world's checker calls its topic", null=True),
    Column("tier", "integer", "difficulty tier, where well-posed", null=True),
    Column("well_posed", "truth", "has exactly one answer"),
    Column("true_answer", "text", "that answer", null=True),
)
CHECKS: Layout = (_ID, *_CHECKS)
"""``iterations/NN/checks.parquet``: the checker's reading of every valid question."""

COMPACT_QUESTIONS: Layout = (
    _ID,
    *_ASKED,
    *_VOTED,
    _SELECTED,
    *(Column(c.name, c.type, c.meaning, null=True, since=c.since, optional=True) for c in _CHECKS),
    Column("nearest_question", "text", "nearest earlier valid question", null=True, since=2),
    Column("nearest_iteration", "integer", "the iteration that asked it", null=True, since=2),
    Column("nearest_similarity", "number", "cosine, by the embedder", null=True, since=2),
)
"""``iterations/NN/questions.parquet`` of a compact run: a sample of the proposals."""


def check_columns(
    path: Path, found: pa.Schema, layout: Sequence[Column], version: int
) -> list[Column]:
    """Check the columns of a table that is about to be read.

    Returns:
        The layout's columns that are there. Columns beyond the layout are passed over.

    Raises:
        HarnessError: one that the version requires is missing, or one has another type.
    """
    there = set(found.names)
    required = {c.name for c in layout if not c.optional and c.since <= version}
    if missing := sorted(required - there):
        raise HarnessError(
            f"{path}: no column {', '.join(missing)} (schema {version}); make the file again or "
            "leave the run's folder out"
        )
    known = [c for c in layout if c.name in there]
    for column in known:
        kind = found.field(column.name).type
        if not _is(kind, column):
            raise HarnessError(
                f"{path}: column {column.name} is of type {kind}, not {column.type}; make the "
                "file again or leave the run's folder out"
            )
    return known


def read_table(path: Path, layout: Sequence[Column], version: int) -> pd.DataFrame:
    """Read a table of a run folder and check it.

    Args:
        version: the result schema version of the run.

    Raises:
        HarnessError: missing or corrupt; a column is missing, of another type, or empty where it
            must not be.
    """
    frame = read_parquet(path)
    known = check_columns(path, pq.read_schema(path), layout, version)
    for column in known:
        if not column.null and frame[column.name].isna().any():
            raise HarnessError(
                f"{path}: column {column.name} has empty cells; make the file again or leave the "
                "run's folder out"
            )
    return frame


def _is(kind: pa.DataType, column: Column) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):  # no row, or no cell that holds anything
        return True
    tests = {
        "text": lambda k: pa.types.is_string(k) or pa.types.is_large_string(k),
        "integer": pa.types.is_integer,
        "number": lambda k: pa.types.is_floating(k) or pa.types.is_integer(k),
        "truth": pa.types.is_boolean,
    }
    return bool(tests[column.type](kind))


def write_table(path: Path, frame: pd.DataFrame, layout: Sequence[Column]) -> None:
    """Check a table against the current version's layout and write it.

    Raises:
        HarnessError: a column is missing, too many, out of order, of another type, or empty where
            it must not be; or the file can't be written.
    """
    names = [str(name) for name in frame.columns]
    expected = [c.name for c in layout if not c.optional or c.name in names]
    if names != expected:
        raise HarnessError(f"{path}: columns {', '.join(names)}; expected {', '.join(expected)}")
    check_columns(path, pa.Schema.from_pandas(frame, preserve_index=False), layout, version=1)
    for column in layout:
        if column.name in names and not column.null and frame[column.name].isna().any():
            raise HarnessError(f"{path}: column {column.name} has empty cells")
    write_parquet(path, frame)
