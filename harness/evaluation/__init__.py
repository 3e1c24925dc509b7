"""Evaluation is lm-eval's: its tasks, its evaluator, our engines and our grading.

lm-eval is imported when tasks are first loaded (seconds), not with this package.
"""

from harness.evaluation.runner import EVAL_COLUMNS, Evaluator
from harness.evaluation.summary import summary

__all__ = ["EVAL_COLUMNS", "Evaluator", "summary"]
