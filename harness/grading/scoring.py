"""Scores of one document's responses, in the shape that lm-eval's ``process_results`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.grading.extract import extract_answer
from harness.grading.pool import Verdict, shared_grader

if TYPE_CHECKING:
    from collections.abc import Sequence


def score_responses(*, gold: str, responses: Sequence[str]) -> dict[str, float]:
    """Shares of a document's responses that are correct, without an answer, and timed out.

    The answer is the last box of the response alone. Keys: ``exact_match``, ``no_answer``,
    ``timeout``. Raises ValueError if there is no response.
    """
    if not responses:
        raise ValueError("score_responses: a document without responses")
    verdicts = shared_grader().grade(
        gold=[gold] * len(responses), pred=[extract_answer(r) for r in responses]
    )
    named = {
        "exact_match": Verdict.CORRECT,
        "no_answer": Verdict.NO_ANSWER,
        "timeout": Verdict.TIMEOUT,
    }
    return {name: verdicts.count(verdict) / len(verdicts) for name, verdict in named.items()}
