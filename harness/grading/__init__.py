"""Grading: extraction of final answers, equivalence, verdicts and majority votes.

Imports nothing heavier than the standard library, so that tasks loaded by lm-eval and the worker
processes stay light.
"""

from harness.grading.extract import MAX_ANSWER_CHARS, extract_answer
from harness.grading.final import Extraction, How, extract_final, read_answer
from harness.grading.pool import Grader, Verdict, shared_grader
from harness.grading.scoring import score_responses
from harness.grading.votes import Tally, tally

__all__ = [
    "MAX_ANSWER_CHARS",
    "Extraction",
    "Grader",
    "How",
    "Tally",
    "Verdict",
    "extract_answer",
    "extract_final",
    "read_answer",
    "score_responses",
    "shared_grader",
    "tally",
]
