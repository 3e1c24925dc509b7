"""Profiles beside what is published: R-Zero's paper and code, and the Vocabulary Dropout paper.

The table is ``published.yaml`` beside this file; its head explains sources and marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from harness.config.schema import RunConfig, Strict

TABLE = Path(__file__).with_name("published.yaml")
SOURCES = {"paper": "R-Zero paper", "code": "R-Zero code", "dropout": "Vocabulary Dropout"}
Mark = Literal["paper", "code", "derived", "second-hand", "unconfirmed"]
Verdict = Literal["same", "different", "sources differ", "ours"]
UNEXPLAINED = "(not explained)"
PASSED = "passed with --set"


class Published(Strict):
    """What one source says of a key: a value, or the several that it ran."""

    value: Any = None
    one_of: tuple[Any, ...] = ()
    mark: Mark

    @model_validator(mode="after")
    def _says_something(self) -> Published:
        if ("value" in self.model_fields_set) == bool(self.one_of):
            raise ValueError("needs either value or one_of")
        return self

    @property
    def values(self) -> tuple[Any, ...]:
        return self.one_of or (self.value,)

    def agrees(self, ours: Any) -> bool:
        """Whether a profile's value is what was published."""
        return any(_plain(ours) == _plain(value) for value in self.values)


class Entry(Strict):
    """A key of the configuration: its sources, or why it is ours alone."""

    paper: Published | None = None
    code: Published | None = None
    dropout: Published | None = None
    ours: str | None = Field(None, min_length=1, description="no source states it: whence it is")
    why: str | None = Field(None, min_length=1, description="of a difference, or of a choice")

    @model_validator(mode="after")
    def _has_a_source(self) -> Entry:
        if bool(self.sources) == (self.ours is not None):
            raise ValueError("needs sources, or 'ours' with a reason")
        return self

    @property
    def sources(self) -> dict[str, Published]:
        """What was published, by source."""
        found = {name: getattr(self, name) for name in SOURCES}
        return {name: said for name, said in found.items() if said is not None}


class Shape(Strict):
    """What the size of a decoder-only model of the Llama and Qwen kind follows from."""

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocab: int = Field(ge=1)
    tied: bool
    qk_norm: bool = Field(False, description="norms of queries and keys, as in Qwen3")


class Deviation(Strict):
    """What the loop does otherwise than R-Zero's code, on purpose and for every profile."""

    ours: str
    code: str
    entry: str | None = Field(None, description="the entry that does as the code does")


class PublishedTable(Strict):
    """The whole table."""

    profiles: tuple[str, ...]
    loop: tuple[Deviation, ...]
    models: dict[str, Shape]
    keys: dict[str, Entry]


@dataclass(frozen=True)
class Row:
    """One key of a profile beside what is published.

    Attributes:
        published: (value, source, mark) of each source.
        why: of a difference or a choice; for a key of ours, whence it is.
    """

    key: str
    ours: Any
    published: tuple[tuple[Any, str, str], ...]
    verdict: Verdict
    why: str


@cache
def published() -> PublishedTable:
    """The table."""
    return PublishedTable.model_validate(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def leaves(config: RunConfig) -> dict[str, Any]:
    """The values of a configuration by dotted key."""
    return _flat(config.model_dump(mode="json"))


def diff(config: RunConfig, passed: Sequence[str] = ()) -> list[Row]:
    """A profile beside the table, in the table's order; empty where the table is of others.

    Args:
        passed: the keys that were passed rather than stated by the profile.
    """
    table = published()
    if config.profile not in table.profiles:
        return []
    ours = leaves(config)
    # A section that the profile leaves out (no LoRA) has no keys below it.
    return [
        _row(key, ours[key], entry, _was_passed(key, passed))
        for key, entry in table.keys.items()
        if key in ours
    ]


def _row(key: str, value: Any, entry: Entry, was_passed: bool) -> Row:
    said = entry.sources
    agree = [source.agrees(value) for source in said.values()]
    verdict: Verdict = "same" if all(agree) else "sources differ" if any(agree) else "different"
    why = entry.why or ("" if verdict == "same" else UNEXPLAINED)
    if entry.ours is not None:
        verdict, why = "ours", entry.ours
    cells = (
        (list(s.one_of) if s.one_of else s.value, SOURCES[name], s.mark) for name, s in said.items()
    )
    return Row(key, value, tuple(cells), verdict, PASSED if was_passed else why)


def _was_passed(key: str, passed: Sequence[str]) -> bool:
    """Whether a key, or a section that it is in, was passed."""
    return any(key == p or key.startswith(f"{p}.") for p in passed)


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        below = _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        found |= below if below is not None else {prefix + name: value}
    return found


def _plain(value: Any) -> Any:
    """A value to compare by: the order of names in a list says nothing."""
    return sorted(value) if isinstance(value, (list, tuple)) else value
