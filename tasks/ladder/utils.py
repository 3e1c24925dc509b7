"""What the ladder's YAMLs call: its data and its scoring.

lm-eval loads this file by path, so it imports nothing of its own package.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import datasets

try:
    from harness.grading import score_responses
except ModuleNotFoundError:  # a clone that is not installed: the repository is two folders up
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from harness.grading import score_responses

FIELDS = ("id", "question", "answer", "topic", "tier")


def load(file: str, sha256: str, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split, from the JSON Lines file of that name beside this one.

    Raises FileNotFoundError for a missing file and ValueError for a wrong checksum, a row without
    one of ``FIELDS``, or a repeated id. The other arguments are lm-eval's metadata.
    """
    path = Path(__file__).resolve().parent / file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; rebuild the ladder (see its README)")
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(
            f"{path}: sha256 is {found}, the task's YAML says {sha256}; restore the file"
        )
    rows = [json.loads(line) for line in data.decode("utf-8").splitlines() if line.strip()]
    if not rows:
        raise ValueError(f"{path}: no items")
    for number, row in enumerate(rows, 1):
        if absent := [f for f in FIELDS if row.get(f) in (None, "")]:
            raise ValueError(f"{path}: row {number}: no {', '.join(absent)}")
    if len({row["id"] for row in rows}) < len(rows):
        raise ValueError(f"{path}: an id occurs twice")
    return {"test": datasets.Dataset.from_list([{f: row[f] for f in FIELDS} for row in rows])}


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Scores of a document's response, or of its list of samples under ``take_first_k``."""
    responses = results[0] if isinstance(results[0], list) else results
    return score_responses(gold=str(doc["answer"]), responses=responses)
