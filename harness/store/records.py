"""The JSON files of a run folder: typed, versioned, validated when written and when read.

The version that new runs write is `SCHEMA`. A file of an older one is brought up to date while it
is read, one explicit step per version (`_UPGRADES`); a file of a later one is refused. What the
versions hold is in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from harness.errors import HarnessError
from harness.store.atomic import write_json

SCHEMA = 2
"""The result schema version of what is written now."""
SUPPORTED = (1, 2)
"""The versions that are read."""
ADVICE = "resume the run or leave its folder out"

_MAX_NAME = 1000
T = TypeVar("T")


def _harmless(text: str) -> str:
    """A name that may stand in a table: tables are read by terminals and spreadsheets, too."""
    if len(text) > _MAX_NAME:
        raise ValueError(f"longer than {_MAX_NAME} characters")
    if not text.isprintable():
        raise ValueError("holds control characters")
    if text[:1] in tuple("=+-@"):
        raise ValueError(f"starts with {text[0]!r}, which a spreadsheet would run")
    return text


Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(allow_inf_nan=False, strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Label = Annotated[str, AfterValidator(_harmless)]
"""Text that tables show: printable, at most 1000 characters, nothing a spreadsheet would run."""
Slug = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+-]{0,99})?$")]
"""Text that becomes part of a file's name, or nothing."""


class Record(BaseModel):
    """Frozen; ``schema_version`` is the version of the file that was read.

    Fields that a later harness adds without a new version may be there as well.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    schema_version: int = Field(alias="schema")


class Manifest(Record):
    """``manifest.json``: what was run. Its version is that of the whole folder."""

    method: Label = Field(min_length=1)
    profile: Slug = Field(min_length=1)
    suite: Slug
    seed: Count
    config: dict[str, Any]
    config_hash: Label
    plugin_hash: str | None = None
    passed: list[str] = []
    base_model: Label
    base_model_hash: Label
    warm_start: dict[str, Any] | None = None
    zero_data: bool | None = None
    data_hashes: dict[Label, Any]
    prompt_hash: dict[Label, Any] | Label
    engine: dict[str, Any] | Label
    protected: dict[str, int] = {}
    vocabulary: int | None = None
    harness: Label
    versions: dict[str, str | None]
    hardware: dict[str, Any] = {}
    git: dict[str, Any] = {}

    @property
    def evaluates(self) -> bool:
        """Whether the configuration names evaluation tasks."""
        evaluation = self.config.get("evaluation")
        return isinstance(evaluation, dict) and bool(evaluation.get("tasks"))


class Done(Record):
    """``done.json``: how it ended."""

    status: Literal["completed", "curriculum_exhausted", "diverged", "failed"]
    iterations: Annotated[int, Field(strict=True, ge=0, lt=10**6)]
    detail: str = ""


class Cost(Record):
    """``cost.json``: seconds and bytes, which differ from one execution to the next.

    Attributes:
        phases: seconds of wall clock by phase, over the whole run.
        iterations: the same by iteration and phase; 0 holds the base model's evaluation. Empty
            where nobody recorded it.
    """

    phases: dict[Label, NonNegative] = {}
    iterations: dict[int, dict[Label, NonNegative]] = {}
    cpu_seconds: NonNegative | None = None
    wall_seconds: NonNegative | None = None
    peak_rss_bytes: NonNegative | None = None


def _manifest_1(old: dict[str, Any]) -> dict[str, Any]:
    """Version 2 requires what version 1 did not always say."""
    unknown: dict[str, Any] = {"suite": "", "base_model": "", "harness": "", "versions": {}}
    unknown |= {"config": {}, "data_hashes": {}, "prompt_hash": {}, "engine": {}}
    return {**unknown, **old}


def _done_1(old: dict[str, Any]) -> dict[str, Any]:
    """Nothing changed."""
    return old


def _cost_1(old: dict[str, Any]) -> dict[str, Any]:
    """Version 2 adds the seconds by iteration, which version 1 did not keep."""
    return {**old, "iterations": {}}


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
_UPGRADES: dict[str, dict[int, Upgrade]] = {
    "manifest": {1: _manifest_1},
    "done": {1: _done_1},
    "cost": {1: _cost_1},
}
"""By record and version, the step to the next version."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of record.

    Attributes:
        adapter: what validates it.
        upgrades: steps from older versions.
        implied: the version of a file that states none; None: it has to.
        versioned: whether files of this kind state a version at all.
    """

    adapter: TypeAdapter[T]
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)
    implied: int | None = None
    versioned: bool = True


MANIFEST = Kind(TypeAdapter(Manifest), _UPGRADES["manifest"])
DONE = Kind(TypeAdapter(Done), _UPGRADES["done"])
COST = Kind(TypeAdapter(Cost), _UPGRADES["cost"], implied=1)
METRICS: Kind[dict[str, float | None]] = Kind(
    TypeAdapter(dict[Label, Finite | None]), versioned=False
)


def read_record(path: Path, kind: Kind[T]) -> T:
    """Read, bring up to date and validate a JSON file.

    Raises:
        HarnessError: missing, truncated, not finite, or of a version that isn't supported.
    """
    try:
        return parse_record(path.read_bytes(), kind, path)
    except FileNotFoundError:
        raise HarnessError(
            f"{path}: missing; remove the run's folder and run again, or leave it out"
        ) from None
    except OSError as error:
        raise HarnessError(f"{path}: not readable ({error.strerror})") from error


def parse_record(data: bytes, kind: Kind[T], path: Path) -> T:
    """As `read_record`, for a file that was read already.

    Raises:
        HarnessError: as `read_record`.
    """
    try:
        raw = pydantic_core.from_json(data)
    except ValueError as error:
        raise HarnessError(f"{path}: Invalid JSON: {_short(error)}; {ADVICE}") from error
    if not isinstance(raw, dict):
        raise HarnessError(f"{path}: not a JSON object; {ADVICE}")
    if kind.versioned:
        found = check_version(path, raw.get("schema", kind.implied))
        raw["schema"] = found
        for version in range(found, SCHEMA):
            raw = kind.upgrades[version](raw)
    return _validate(raw, kind, path)


def check_version(path: Path, found: Any) -> int:
    """The version that a file states; one that isn't supported is refused.

    Raises:
        HarnessError: naming file, version and what is supported.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found not in SUPPORTED:
        shown = "none" if found is None else repr(found)[:40]
        readable = " and ".join(map(str, SUPPORTED))
        later = isinstance(found, int) and not isinstance(found, bool) and found > SCHEMA
        advice = "update the harness" if later else "restore the file"
        raise HarnessError(
            f"{path}: schema version {shown} is not supported (this harness reads {readable}); "
            f"{advice} or leave the run's folder out"
        )
    return found


def write_record(path: Path, value: Mapping[str, Any], kind: Kind[Any]) -> None:
    """Validate a record of the current version and write it, as it was given.

    Raises:
        HarnessError: a field is missing, unknown or of another type; or it can't be written.
    """
    stated = {"schema": SCHEMA, **value} if kind.versioned else dict(value)
    made = _validate(stated, kind, path)
    if isinstance(made, BaseModel):
        known = {info.alias or name for name, info in type(made).model_fields.items()}
        if unknown := sorted(set(stated) - known):
            raise HarnessError(f"{path}: {', '.join(unknown)}: no field of schema {SCHEMA}")
        if stated["schema"] != SCHEMA:
            raise HarnessError(f"{path}: schema {stated['schema']}: new files are {SCHEMA}")
    write_json(path, stated)


def _validate(raw: Any, kind: Kind[T], path: Path) -> T:
    try:
        return kind.adapter.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ascii(".".join(map(str, first["loc"])))[1:-1][:80]
        said = f"{where}: " if where else ""
        raise HarnessError(f"{path}: {said}{_short(first['msg'])}; {ADVICE}") from error


def _short(message: object) -> str:
    lines = str(message).splitlines() or [type(message).__name__]
    return lines[0].removeprefix("Value error, ")[:160]
