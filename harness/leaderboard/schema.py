"""The files of a run folder as a leaderboard reads them: typed, validated, refused in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import HarnessError
from harness.store import read_parquet

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(allow_inf_nan=False, ge=0)]
T = TypeVar("T")

EVAL_KEYS = ["task", "mode", "doc_id", "sample"]
"""What makes a row of an evaluation unique."""


class Record(BaseModel):
    """Frozen; fields that a leaderboard doesn't need may be there as well."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    schema_version: Literal[1] = Field(alias="schema")


class Manifest(Record):
    """``manifest.json``: what was run."""

    method: str = Field(min_length=1)
    profile: str = Field(min_length=1)
    suite: str = ""
    seed: int
    config: dict[str, Any] = {}
    config_hash: str
    base_model: str = ""
    base_model_hash: str
    data_hashes: dict[str, Any] = {}
    prompt_hash: dict[str, Any] | str = {}
    engine: dict[str, Any] | str = {}

    @property
    def evaluates(self) -> bool:
        """Whether the configuration names evaluation tasks."""
        evaluation = self.config.get("evaluation")
        return isinstance(evaluation, dict) and bool(evaluation.get("tasks"))


class Done(Record):
    """``done.json``: how it ended."""

    status: Literal["completed", "curriculum_exhausted", "diverged", "failed"]
    iterations: int = Field(ge=0)
    detail: str = ""


class Cost(BaseModel):
    """``cost.json``: seconds and bytes, which differ from one execution to the next."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    phases: dict[str, NonNegative] = {}
    cpu_seconds: NonNegative | None = None
    wall_seconds: NonNegative | None = None
    peak_rss_bytes: NonNegative | None = None


MANIFEST = TypeAdapter(Manifest)
DONE = TypeAdapter(Done)
COST = TypeAdapter(Cost)
METRICS: TypeAdapter[dict[str, float | None]] = TypeAdapter(dict[str, Finite | None])


def read_record(path: Path, kind: TypeAdapter[T]) -> T:
    """Read and validate a JSON file.

    Raises:
        HarnessError: missing, truncated, not finite, or of another schema.
    """
    try:
        return kind.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise HarnessError(
            f"{path}: missing; remove the run's folder and run again, or leave it out"
        ) from None
    except OSError as error:
        raise HarnessError(f"{path}: not readable ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HarnessError(
            f"{path}: {f'{where}: ' if where else ''}{first['msg'].splitlines()[0]}; resume the "
            "run or leave its folder out"
        ) from error


def read_evaluation(path: Path) -> pd.DataFrame:
    """Read ``eval/NN.parquet`` and check its keys and scores.

    Raises:
        HarnessError: missing, corrupt, a column missing, a score that is no number in [0, 1], or
            one item scored twice.
    """
    frame = read_parquet(path)
    if missing := {*EVAL_KEYS, "group", "score", "truncated", "verdict"} - set(frame.columns):
        raise HarnessError(f"{path}: no column {', '.join(sorted(missing))}; not an evaluation")
    if frame.empty:
        raise HarnessError(f"{path}: no rows; evaluate the run again")
    score = pd.to_numeric(frame["score"], errors="coerce")
    if not score.between(0, 1).all():  # NaN isn't between
        raise HarnessError(f"{path}: a score is NaN or outside [0, 1]; evaluate the run again")
    if frame.duplicated(EVAL_KEYS).any():
        raise HarnessError(f"{path}: an item's sample is scored twice; evaluate the run again")
    return frame


def frame_digest(frame: pd.DataFrame, columns: list[str]) -> str:
    """sha256 over the rows of some columns, whatever the order of the rows."""
    hashes = pd.util.hash_pandas_object(frame[columns], index=False).to_numpy().copy()
    hashes.sort()
    return hashlib.sha256(hashes.tobytes()).hexdigest()[:16]


def short_hash(value: Any) -> str:
    """12 hexadecimal digits for any JSON value; a hash that is text already stays as it is."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
