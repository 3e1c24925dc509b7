"""The held-out test of the ladder: ``python -m tasks.ladder.heldout`` rewrites ``test.jsonl``.

50 items a topic (300 a tier, 1200 in all) from a fixed seed. Their problems (topic, steps and
numbers, whatever the wording) belong to a split that pre-training never draws from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from tasks.ladder.world import TOPICS, parse, render, sample_problem

TEST: Final = Path(__file__).parent / "test.jsonl"
SEED: Final = 4077
PER_TOPIC: Final = 50


def items(seed: int = SEED, per_topic: int = PER_TOPIC) -> list[dict[str, str | int]]:
    """The test items, topics in turn, so that the head of the file is balanced; texts distinct.

    Where a topic has fewer reserved problems than items (tier 1), a problem recurs in other words.
    """
    rng = np.random.default_rng(seed)
    out: list[dict[str, str | int]] = []
    for topic in TOPICS:
        seen: set[str] = set()
        while len(seen) < per_topic:
            problem = sample_problem(rng, topic)
            if not problem.held_out or (question := render(rng, problem)) in seen:
                continue
            if parse(question).answer != problem.answer:
                raise AssertionError(f"the two evaluators disagree: {question}")
            seen.add(question)
            out.append(
                {
                    "id": f"{topic}-{len(seen):02d}",
                    "question": question,
                    "answer": str(problem.answer),
                    "topic": topic,
                    "tier": problem.tier,
                }
            )
    return sorted(out, key=lambda item: str(item["id"]).rsplit("-", 1)[1])  # stable


def text() -> str:
    """The file's content: one JSON object a line."""
    return "".join(json.dumps(item) + "\n" for item in items())


if __name__ == "__main__":
    TEST.write_text(text(), encoding="utf-8")
    print(f"wrote {TEST}: {len(items())} items")
