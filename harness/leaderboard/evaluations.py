"""Reading evaluations: item scores and digests, quickly, whatever a file claims to hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.evaluation.summary import summary
from harness.store.layouts import COMPACT_EVALUATION, check_columns

Scores = Mapping[tuple[str, str], NDArray[np.float32]]
"""Mean score of each item [I], ordered by doc_id, by (task, mode)."""

_TEXTS = ["task", "mode", "group", "found", "verdict"]
_MAX_NAME = 200
_MOST_ROWS = 20_000_000
_AGAIN = "evaluate the run again, or leave its folder out"


@dataclass(frozen=True)
class Evaluation:
    """One ``eval/NN.parquet`` as a leaderboard needs it.

    Attributes:
        items: identifies which items and samples were evaluated.
        digest: identifies items, groups, scores and verdicts.
        scores: by (task, mode), the mean score of each item.
        columns: the file's columns, rows sorted by task, mode, item and sample.
    """

    items: str
    digest: str
    scores: Scores
    columns: Mapping[str, NDArray[Any]] = field(repr=False, compare=False)
    names: Mapping[str, list[str]] = field(repr=False, compare=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows, with texts as categories."""
        return pd.DataFrame(
            {
                name: pd.Categorical.from_codes(values.astype(np.int64), pd.Index(self.names[name]))
                if name in self.names
                else values
                for name, values in self.columns.items()
            }
        )

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The ``solver/...`` metrics of the evaluation."""
        frame = self.frame
        texts = {name: frame[name].astype(str) for name in self.names}
        return summary(frame.assign(**texts))


class EvaluationReader:
    """Reads evaluations; the base model's once, since runs of one seed share it byte for byte."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Evaluation] = {}

    def read(self, path: Path, version: int, *, shared: bool = False) -> Evaluation:
        """Read and check an evaluation of a result schema version.

        Args:
            shared: other runs may have the same; it is then kept.

        Raises:
            HarnessError: missing, corrupt, a column missing or of another type, a score that is no
                number in [0, 1], or one item's sample scored twice.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise HarnessError(f"{path}: missing; {_AGAIN}") from None
        except OSError as error:
            raise HarnessError(f"{path}: not readable ({error.strerror})") from error
        if not shared:
            return _parse(path, data, version)
        key = (hashlib.sha256(data).digest(), version)
        if key not in self._known:
            self._known[key] = _parse(path, data, version)
        return self._known[key]


def _parse(path: Path, data: bytes, version: int) -> Evaluation:
    table = _read(path, data, version)
    if table.num_rows == 0:
        raise HarnessError(f"{path}: no rows; {_AGAIN}")
    columns: dict[str, NDArray[Any]] = {}
    names: dict[str, list[str]] = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count:
            raise HarnessError(f"{path}: column {name} has empty cells; {_AGAIN}")
        if name in _TEXTS:
            columns[name], names[name] = _codes(path, name, column)
        else:
            columns[name] = column.to_numpy()
    score = columns["score"] = columns["score"].astype(np.float64)
    if not ((score >= 0) & (score <= 1)).all():  # NaN is neither
        raise HarnessError(f"{path}: a score is NaN or outside [0, 1]; {_AGAIN}")
    if unknown := sorted(set(names["mode"]) - {"greedy", "sampled"}):
        raise HarnessError(f"{path}: mode {unknown[0][:40]!a}: not greedy or sampled; {_AGAIN}")
    order = _order(columns)
    if order is not None:
        columns = {name: values[order] for name, values in columns.items()}
    task, mode, doc, sample = (columns[k] for k in ("task", "mode", "doc_id", "sample"))
    new_item = np.ones(len(doc), dtype=bool)
    new_item[1:] = (task[1:] != task[:-1]) | (mode[1:] != mode[:-1]) | (doc[1:] != doc[:-1])
    if (~new_item[1:] & (sample[1:] == sample[:-1])).any():
        raise HarnessError(f"{path}: an item's sample is scored twice; {_AGAIN}")
    starts = np.flatnonzero(new_item)
    means = np.add.reduceat(columns["score"], starts) / np.diff([*starts, len(doc)])
    scores = {}
    pair = columns["task"][starts].astype(np.int64) * 2 + columns["mode"][starts].astype(np.int64)
    edges = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1], True])
    for first, last in pairwise(edges):
        row = starts[first]
        key = (names["task"][int(task[row])], names["mode"][int(mode[row])])
        values = means[first:last].astype(np.float32)
        values.setflags(write=False)
        scores[key] = values
    keys = _digest(columns, names, ["task", "mode", "doc_id", "sample"])
    rest = _digest(columns, names, ["group", "score", "truncated", "verdict"])
    return Evaluation(keys, f"{keys}-{rest}", MappingProxyType(scores), columns, names)


def _read(path: Path, data: bytes, version: int) -> pa.Table:
    try:
        names = pq.read_schema(pa.BufferReader(data)).names
        texts = [name for name in _TEXTS if name in names]  # the first evaluations lack one
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        found = file.schema_arrow
    except Exception as error:  # pyarrow raises several kinds
        raise _corrupt(path, error) from error
    if file.metadata.num_rows > _MOST_ROWS:
        raise HarnessError(f"{path}: {file.metadata.num_rows} rows; no evaluation has so many")
    known = check_columns(path, found, COMPACT_EVALUATION, version)
    try:
        return file.read([c.name for c in known], use_threads=False)
    except Exception as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> HarnessError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return HarnessError(f"{path}: corrupt or truncated parquet ({reason[:100]}); {_AGAIN}")


def _codes(path: Path, name: str, column: pa.ChunkedArray) -> tuple[NDArray[Any], list[str]]:
    """A text column as codes into its sorted distinct values."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    joined = column.unify_dictionaries().combine_chunks()
    part = joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined
    codes = part.indices.to_numpy()
    used = np.unique(codes)
    texts = part.dictionary.to_pylist()
    found = sorted(str(texts[i]) for i in used)
    for text in found:
        if len(text) > _MAX_NAME or not text.isprintable():
            raise HarnessError(
                f"{path}: column {name} holds {text[:40]!a}: too long, or control characters; "
                f"{_AGAIN}"
            )
    rank = np.zeros(len(texts), dtype=np.int32)
    rank[sorted(used.tolist(), key=lambda i: str(texts[i]))] = np.arange(len(used))
    return rank[codes], found


def _order(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
    """The order by task, mode, item and sample; None where the rows are in it."""
    keys = [columns[k] for k in ("task", "mode", "doc_id", "sample")]
    undecided = np.ones(len(keys[0]) - 1, dtype=bool)
    for key in keys:
        if (undecided & (key[1:] < key[:-1])).any():
            return np.lexsort(keys[::-1])
        undecided &= key[1:] == key[:-1]
    return None


def _digest(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, list[str]], chosen: list[str]
) -> str:
    digest = hashlib.sha256()
    for name in chosen:
        digest.update(repr(names.get(name)).encode("ascii", "backslashreplace"))
        kind = np.float64 if name == "score" else np.int64
        digest.update(np.ascontiguousarray(columns[name], dtype=kind).tobytes())
    return digest.hexdigest()[:16]
