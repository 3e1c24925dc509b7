"""What a leaderboard needs of the records: their kinds, and short hashes of JSON values."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from harness.store.records import (
    COST,
    DONE,
    MANIFEST,
    METRICS,
    Cost,
    Done,
    Manifest,
    read_record,
)

__all__ = [
    "COST",
    "DONE",
    "MANIFEST",
    "METRICS",
    "Cost",
    "Done",
    "Manifest",
    "read_record",
    "short_hash",
]


def short_hash(value: Any) -> str:
    """12 hexadecimal digits for any JSON value; a hash that is text already stays as it is."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
