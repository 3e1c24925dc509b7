"""Upper bounds of the tokens that a run samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.base import resolve
from harness.config.schema import EvaluationConfig, RunConfig
from harness.data import sources
from harness.errors import MissingDataError, one_line
from harness.run import load_evaluator


def tokens_at_most(config: RunConfig) -> dict[str, int]:
    """Upper bounds of the tokens one run samples, by purpose; real responses are shorter."""
    p, s, v, c = config.proposer, config.solver, config.votes, config.curriculum
    rollouts = p.prompts_per_step * p.group_size
    per_iteration = {
        "proposer rollouts": p.steps * rollouts * p.max_new_tokens,
        "reward votes": p.steps * rollouts * v.n * v.max_new_tokens,
        "curriculum": c.max_rounds * c.questions * p.max_new_tokens,
        "label votes": c.max_rounds * c.questions * v.n * v.max_new_tokens,
        "solver rollouts": s.steps * s.prompts_per_step * s.group_size * s.max_new_tokens,
    }
    return {name: tokens * config.iterations for name, tokens in per_iteration.items()}


def evaluation_tokens_at_most(config: RunConfig) -> int:
    """Upper bound of the tokens that one run's evaluations sample, the base's included.

    Raises:
        HarnessError: a task or its data is missing.
    """
    from harness.evaluation.lm import sampling_params

    once = 0
    for task in load_evaluator(config).tasks.values():
        items = min(len(task.eval_docs), config.evaluation.limit or len(task.eval_docs))
        longest = sampling_params(task.config.generation_kwargs).max_new_tokens
        once += items * int(task.config.repeats) * longest
    return _evaluations(config) * once


def evaluation_bound(config: RunConfig) -> tuple[int | None, str]:
    """`evaluation_tokens_at_most`, with the catalogue's numbers of items where data are missing.

    Returns:
        The bound, or None where the catalogue can't say either; and what is missing.

    Raises:
        HarnessError: an unknown task, or data that are there and broken.
    """
    try:
        return evaluation_tokens_at_most(config), ""
    except MissingDataError as error:
        missing = one_line(error)
    once = 0
    for task in _described(config.evaluation):
        items = _catalogued(str(task["source"]))
        if items is None or task["max_new_tokens"] is None:
            return None, missing
        once += min(items, config.evaluation.limit or items) * _responses(task, config.evaluation)
    return _evaluations(config) * once, missing


def _evaluations(config: RunConfig) -> int:
    """How often one run evaluates, the base included."""
    every, last = config.evaluation.every, config.iterations
    due = [t for t in range(1, last + 1) if t == last or (every and t % every == 0)]
    return 1 + len(due)


def _described(said: EvaluationConfig) -> list[dict[str, Any]]:
    """What the YAMLs say of the tasks, groups spelled out; data aren't looked at."""
    from harness.evaluation.tasks import describe_tasks

    known = {task["task"]: task for task in describe_tasks(Path(resolve(said.include_path)))}
    names = [n for name in said.tasks for n in known.get(name, {}).get("tasks", [name])]
    nothing = {"source": None, "max_new_tokens": None}
    return [known.get(name, nothing) for name in dict.fromkeys(names)]


def _catalogued(source: str) -> int | None:
    """The items of a set as the catalogue counts them; the larger of its file and the hub's."""
    known = sources().get(source)
    counts = [n for n in (known.rows, known.hub_rows) if n] if known else []
    return max(counts, default=None)


def _responses(task: dict[str, Any], said: EvaluationConfig) -> int:
    """Tokens of all responses to one item, at most."""
    repeats = int(task["samples"])
    samples = said.samples if said.samples is not None and repeats > 1 else repeats
    return samples * (said.max_new_tokens or int(task["max_new_tokens"]))
