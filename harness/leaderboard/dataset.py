"""A leaderboard as a folder that ``datasets.load_dataset`` reads, offline or from the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.leaderboard.card import card
from harness.leaderboard.collect import Run, Table
from harness.leaderboard.compact import sampled_questions
from harness.leaderboard.frames import per_run
from harness.leaderboard.matched import matched
from harness.store import RunFolder, read_parquet, write_bytes

CONFIGS = ("leaderboard", "runs", "items", "questions", "matched")
"""Names under which ``load_dataset`` finds the parts."""

_GROUP_ROWS = 2**16
_TEXT, _WHOLE, _REAL, _TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_RUN = {
    "profile": _TEXT,
    "suite": _TEXT,
    "split": _TEXT,
    "base_model": _TEXT,
    "method": _TEXT,
    "seed": _WHOLE,
    "status": _TEXT,
    "iteration": _WHOLE,
}
ITEMS = pa.schema(
    _RUN
    | {
        "task": _TEXT,
        "mode": _TEXT,
        "doc_id": _WHOLE,
        "sample": _WHOLE,
        "group": _TEXT,
        "found": _TEXT,
        "verdict": _TEXT,
        "score": _REAL,
        "truncated": _TRUTH,
        "cluster": _WHOLE,
    }
)
"""Columns of every evaluated sample; iteration 0 is the base model. Equal answers of an item share
a cluster."""
QUESTIONS = pa.schema(
    _RUN
    | {
        "question_id": _WHOLE,
        "question": _TEXT,
        "valid": _TRUTH,
        "label": _TEXT,
        "p_hat": _REAL,
        "selected": _TRUTH,
        "topic": _TEXT,
        "tier": _WHOLE,
        "well_posed": _TRUTH,
        "true_answer": _TEXT,
    }
)
"""Columns of the sampled questions; the last four are the checker's, where there is one."""


def write_dataset(table: Table, board: pd.DataFrame, into: Path) -> None:
    """Write the dataset folder: one Parquet file per configuration, and a card.

    Equal runs give equal bytes. Everything is read and made before the first file is written, and
    the card comes last; other files in the folder (a clone's ``.git``) are left alone.

    Args:
        table: what `collect` read; may hold several suites, profiles and splits.
        board: `build`'s frame of it.
        into: the folder; made if it isn't there.

    Raises:
        HarnessError: an evaluation or a question file is corrupt, or the folder can't be written.
    """
    baseline = next((str(name) for name in board["baseline"] if name), None)
    made = dataset_files(table, board, matched(table, baseline))
    for name, data in made.items():
        write_bytes(into / name, data)


def dataset_files(
    table: Table, board: pd.DataFrame, at_equal_compute: pd.DataFrame
) -> dict[str, bytes]:
    """The files of `write_dataset` by name, the card last.

    Args:
        at_equal_compute: `matched`'s frame of the table.

    Raises:
        HarnessError: an evaluation or a question file is corrupt.
    """
    made = {
        "leaderboard": _parquet(_typed(board)),
        "runs": _parquet(_typed(per_run(table))),
        "items": _parquet(_items(table), ITEMS),
        "questions": _parquet(_questions(table), QUESTIONS),
        "matched": _parquet(_typed(at_equal_compute)),
    }
    files = {f"{name}.parquet": made[name] for name in CONFIGS}
    # `load_dataset` refuses a part without rows, so that the card doesn't name it.
    named = [name for name in CONFIGS if pq.read_metadata(BytesIO(made[name])).num_rows]
    return files | {"README.md": card(table, named).encode("utf-8", "backslashreplace")}


def _typed(frame: pd.DataFrame) -> Iterator[pa.Table]:
    """A frame with the types that its columns say, whatever they hold: an empty one included."""
    kinds = {"f": _REAL, "i": _WHOLE, "b": _TRUTH}
    fields = {name: kinds.get(frame[name].dtype.kind, _TEXT) for name in frame.columns}
    yield _arrow(frame, pa.schema(fields))


def _items(table: Table) -> Iterator[pa.Table]:
    for run in _finished(table):
        for path in sorted((run.folder / "eval").glob("[0-9][0-9].parquet")):
            yield _of_run(run, int(path.stem), read_parquet(path), ITEMS)


def _questions(table: Table) -> Iterator[pa.Table]:
    for run in _finished(table):
        for t in range(1, len(run.iterations) + 1):
            asked = sampled_questions(RunFolder(run.folder), t, run.manifest.seed)
            yield _of_run(run, t, asked, QUESTIONS)


def _finished(table: Table) -> Iterator[Run]:
    return (run for run in table.runs if run.base is not None or run.iterations)


def _of_run(run: Run, iteration: int, frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows of one run's file in the columns of a schema; those that the file lacks are empty."""
    m = run.manifest
    shared: dict[str, str | int] = {
        "profile": m.profile,
        "suite": m.suite,
        "split": run.split,
        "base_model": m.base_model,
        "method": m.method,
        "seed": m.seed,
        "status": run.status.value,
        "iteration": iteration,
    }
    rows = frame.reindex(columns=[n for n in schema.names if n not in shared])
    columns = [
        pa.repeat(pa.scalar(shared[field.name], type=field.type), len(rows))
        if field.name in shared
        else _column(rows[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    columns = [_column(frame[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: pd.Series, kind: pa.DataType) -> pa.Array:
    if kind != _TEXT:
        return pa.array(values.array, from_pandas=True).cast(kind)
    try:
        return pa.array(values.astype(object), type=kind, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column of numbers where text is due
        return pa.array([None if pd.isna(v) else str(v) for v in values], type=kind)


def _parquet(parts: Iterable[pa.Table], schema: pa.Schema | None = None) -> bytes:
    """One file of all parts, in row groups of some size; `schema` where there may be no part."""
    buffer = BytesIO()
    writer: pq.ParquetWriter | None = None
    if schema is not None:
        writer = pq.ParquetWriter(buffer, schema, compression="zstd")
    for group in _gathered(parts):
        if writer is None:
            writer = pq.ParquetWriter(buffer, group.schema, compression="zstd")
        writer.write_table(group)
    if writer is not None:
        writer.close()
    return buffer.getvalue()


def _gathered(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small parts joined, so that a run of few rows is no row group of its own."""
    held: list[pa.Table] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= _GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
