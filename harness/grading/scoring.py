"""Scores of one document's responses, in the shape that lm-eval's ``process_results`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.grading.final import extract_final
from harness.grading.pool import Verdict, shared_grader

if TYPE_CHECKING:
    from collections.abc import Sequence


def score_responses(
    *, gold: str, responses: Sequence[str], rel_tol: float = 0.0, abs_tol: float = 0.0
) -> dict[str, float]:
    """Shares of a document's responses that are correct, without an answer, and timed out.

    The answer is that of ``extract_final``: the last box of the response alone, else the answer
    that it states in words; ``fallback`` is the share that had no box but such a statement.
    Tolerances are those of ``Grader.grade``. Keys: ``exact_match``, ``no_answer``, ``timeout``,
    ``fallback``. Raises ValueError if there is no response.
    """
    if not responses:
        raise ValueError("score_responses: a document without responses")
    found = [extract_final(response, gold=gold) for response in responses]
    verdicts = shared_grader().grade(
        gold=[gold] * len(found),
        pred=[extraction.answer for extraction in found],
        rel_tol=rel_tol,
        abs_tol=abs_tol,
    )
    named = {
        "exact_match": Verdict.CORRECT,
        "no_answer": Verdict.NO_ANSWER,
        "timeout": Verdict.TIMEOUT,
    }
    shares = {name: verdicts.count(verdict) / len(found) for name, verdict in named.items()}
    return shares | {"fallback": sum(extraction.fallback for extraction in found) / len(found)}
