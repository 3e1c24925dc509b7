"""Result files of two runs, compared in the order in which a run makes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_NO_RESULT = {"events.jsonl", "lock"}
_ORDER = ("propose", "proposer", "questions", "votes", "curriculum", "solve", "solver")


def read_results(folder: Path) -> dict[str, Any]:
    """Result files by name: JSON records as they are read, of other files a hash.

    Earlier iterations come first, and each one's files in the order in which they were made.
    """
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in _NO_RESULT:
            name = str(path.relative_to(folder))
            data = path.read_bytes()
            is_record = path.suffix == ".json"
            found[name] = json.loads(data) if is_record else hashlib.sha256(data).hexdigest()

    def place(name: str) -> tuple[str, int, str]:
        _, _, rest = name.partition("/")
        number, _, rest = rest.partition("/")
        stem = rest.partition("/")[0].partition(".")[0]
        return (number, _ORDER.index(stem) if stem in _ORDER else len(_ORDER), name)

    return {name: found[name] for name in sorted(found, key=place)}


def first_difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The first of two runs' results that differs, and how; "" where none does."""
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name) and (told := _difference(a.get(name), b.get(name))):
            return f"{name}{told}"
    return ""


def as_base(value: Any, base: Any) -> Any:
    """A JSON record cut to what a run of the base method has too, but for counts and compute."""
    if not isinstance(value, dict):
        return value
    record = value.get("metrics", value)
    theirs = base.get("metrics", base)
    notes = ("method/", "compute/")
    return {k: v for k, v in record.items() if k in theirs and not k.startswith(notes)}


def _difference(a: Any, b: Any) -> str:
    """Where two results differ, in a few words; "" where they agree after all."""
    if a is None or b is None:
        return " is there in only one of them"
    if not isinstance(a, dict):
        return " differs"
    for key in dict.fromkeys([*a, *b]):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            told = _difference(x, y)
            if told:
                return f", {key}{told}"
        elif x != y and not (x != x and y != y):
            return f", {key}: {_short(x)} and {_short(y)}"
    return ""


def _short(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
