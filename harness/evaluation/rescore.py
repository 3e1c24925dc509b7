"""Recorded responses scored again, by the tasks that lie here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError
from harness.evaluation.runner import (
    Evaluator,
    benchmark_and_mode,
    groups_of,
    primary_metric,
    verdict_of,
)
from harness.grading import extract_final


@dataclass(frozen=True)
class Rescored:
    """What a response is worth.

    Attributes:
        gold: the task's own answer, as text.
    """

    answer: str | None
    found: str
    verdict: str
    score: float
    gold: str


@dataclass(frozen=True)
class Items:
    """What a task asks: how many samples of which documents, by doc_id."""

    samples: int
    groups: tuple[str, ...]


class Rescorer:
    """Scores responses again; a response that was scored before isn't graded anew.

    Args:
        evaluator: the tasks, as the run's configuration names them and this machine has them.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.tasks: dict[tuple[str, str], tuple[str, Any]] = {
            benchmark_and_mode(name, task): (name, task) for name, task in evaluator.tasks.items()
        }
        self._known: dict[tuple[str, int, bytes], Rescored] = {}

    def items(self, limit: int | None) -> Mapping[tuple[str, str], Items]:
        """What each (benchmark, mode) should hold; ``limit`` keeps a task's first documents."""
        return {
            key: Items(
                int(task.config.repeats),
                tuple(groups_of(task, doc) for doc in list(task.eval_docs)[:limit]),
            )
            for key, (_, task) in self.tasks.items()
        }

    def rescore(self, benchmark: str, mode: str, doc_id: int, response: str) -> Rescored:
        """Extract and grade one response, with the task's gold answer.

        Raises:
            HarnessError: no such task, or no such document in it.
        """
        if (benchmark, mode) not in self.tasks:
            raise HarnessError(f"no task here is {benchmark}, {mode}")
        name, task = self.tasks[benchmark, mode]
        if not 0 <= doc_id < len(task.eval_docs):
            raise HarnessError(f"{name} has no document {doc_id}")
        digest = hashlib.sha256(response.encode("utf-8", "surrogatepass")).digest()
        key = (name, doc_id, digest)
        if key not in self._known:
            self._known[key] = _rescore(name, task, task.eval_docs[doc_id], response)
        return self._known[key]


def _rescore(name: str, task: Any, doc: Mapping[str, Any], response: str) -> Rescored:
    gold = str(task.doc_to_target(doc))
    try:
        metrics = task.process_results(doc, [_filtered(task, doc, response)])
        score = float(metrics[primary_metric(task)])
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(f"{name} can't score a response alone: {error}") from error
    extraction = extract_final(response, gold=gold)
    verdict = str(verdict_of(score, metrics))
    return Rescored(extraction.answer, str(extraction.how), verdict, score, gold)


def _filtered(task: Any, doc: Mapping[str, Any], response: str) -> Any:
    """The response as the task's first filter leaves it; a task that repeats gets a list."""
    from lm_eval.api.instance import Instance

    if int(task.config.repeats) > 1:
        return [response]
    instance = Instance(request_type="generate_until", doc=dict(doc), arguments=("", {}), idx=0)
    instance.resps = [response]
    ensemble = task._filters[0]
    ensemble.apply([instance])
    return instance.filtered_resps[ensemble.name]
