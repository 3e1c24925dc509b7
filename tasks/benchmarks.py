"""What the benchmarks' YAMLs call: their data and their scoring.

lm-eval loads this file by path, so it imports nothing of its own package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets

try:
    from harness.data import load_items
    from harness.grading import score_responses
except ModuleNotFoundError:  # a clone that is not installed: the repository is one folder up
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from harness.data import load_items
    from harness.grading import score_responses


def load(source: str, rel_tol: float = 0.0, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split of a set of the catalogue, without its solutions.

    Columns: id, problem, answer, also (other answers that are right too), subject and level
    ("level_3"), both "" where the set has none, and the tolerances within which a numeric answer
    counts: ``rel_tol`` as given, ``abs_tol`` the item's own. The other arguments are lm-eval's
    metadata. Raises HarnessError as ``harness.data.load_items`` does.
    """
    docs = [
        {
            "id": item["id"],
            "problem": item["problem"],
            "answer": item["answer"],
            "also": item.get("also", []),
            "subject": item.get("subject", ""),
            "level": f"level_{item['level']}" if "level" in item else "",
            "rel_tol": float(rel_tol),
            "abs_tol": item.get("tolerance", 0.0),
        }
        for item in load_items(source)
    ]
    features = datasets.Features(
        {key: datasets.Value("string") for key in ("id", "problem", "answer")}
        | {"also": [datasets.Value("string")]}
        | {key: datasets.Value("string") for key in ("subject", "level")}
        | {key: datasets.Value("float64") for key in ("rel_tol", "abs_tol")}
    )
    return {"test": datasets.Dataset.from_list(docs, features=features)}


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Scores of a document's response, or of its list of samples under ``take_first_k``."""
    responses = results[0] if isinstance(results[0], list) else results
    tolerances = {key: doc[key] for key in ("rel_tol", "abs_tol") if doc[key]}
    if not doc["also"]:
        return score_responses(gold=doc["answer"], responses=responses, **tolerances)
    # Any of several answers is right: each response counts as what its best match makes of it.
    total: dict[str, float] = {}
    for response in responses:
        graded = [
            score_responses(gold=gold, responses=[response], **tolerances)
            for gold in (doc["answer"], *doc["also"])
        ]
        best = max(graded, key=lambda scores: (scores["exact_match"], scores["timeout"]))
        for metric, value in best.items():
            total[metric] = total.get(metric, 0.0) + value / len(responses)
    return total
