"""What the ladder's YAMLs call: its data and its scoring.

lm-eval loads this file by path, so it imports nothing of its own package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets

try:
    from harness.data import read_rows
    from harness.grading import score_responses
except ModuleNotFoundError:  # a clone that is not installed: the repository is two folders up
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from harness.data import read_rows
    from harness.grading import score_responses

FIELDS = ("id", "question", "answer", "topic", "tier")


def load(file: str, sha256: str, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split, from the JSON Lines file of that name beside this one.

    Raises HarnessError for a missing file, a wrong checksum, a row without one of ``FIELDS``, or a
    repeated id. The other arguments are lm-eval's metadata.
    """
    path = Path(__file__).resolve().parent / file
    rows = read_rows(path, FIELDS, sha256=sha256, name="ladder")
    return {"test": datasets.Dataset.from_list([{f: row[f] for f in FIELDS} for row in rows])}


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Scores of a document's response, or of its list of samples under ``take_first_k``."""
    responses = results[0] if isinstance(results[0], list) else results
    return score_responses(gold=str(doc["answer"]), responses=responses)
