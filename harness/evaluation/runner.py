"""Evaluate an engine on lm-eval tasks: one row for each item and sample."""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.grading import Verdict, extract_answer

if TYPE_CHECKING:
    import pandas as pd

    from harness.engines.base import Engine

#: Columns of an evaluation, in order. ``task`` is the benchmark's name, shared by its greedy and
#: sampled variants; ``doc_id`` is lm-eval's index of the item; ``group`` is "" where a task names
#: none; ``prompt_hash`` is the sha256 of the rendered prompt; ``n_tokens`` counts the end token.
EVAL_COLUMNS = (
    "task",
    "doc_id",
    "sample",
    "mode",
    "group",
    "prompt_hash",
    "response",
    "answer",
    "verdict",
    "score",
    "truncated",
    "n_tokens",
)


class Evaluator:
    """A set of lm-eval tasks, loaded once, for any number of evaluations.

    Args:
        task_names: names of lm-eval tasks, groups or tags.
        include_path: folder (or folders) with task YAMLs. lm-eval's own tasks are indexed only if
            a name isn't found here: that takes seconds.
        apply_chat_template: render prompts as a chat with the tokenizer's template. A tokenizer
            without one is then an error; False gives the plain prompt.

    What a task's YAML may say for the harness, in ``metadata``: ``benchmark`` (the name its rows
    carry; by default the task's own) and ``group_field`` (a document field to break results
    down by). The score is the first metric in ``metric_list``; its ``no_answer`` and ``timeout``
    metrics, where present, refine the verdict.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        include_path: str | Path | Sequence[str | Path] | None = None,
        *,
        apply_chat_template: bool = True,
    ) -> None:
        if not task_names:
            raise HarnessError("evaluation: no tasks named")
        self.task_names = tuple(dict.fromkeys(task_names))
        paths = [include_path] if isinstance(include_path, (str, Path)) else (include_path or [])
        self.include_path = [Path(p) for p in paths]
        self.apply_chat_template = apply_chat_template
        if missing := [str(p) for p in self.include_path if not p.is_dir()]:
            raise HarnessError(f"evaluation: no such task folder: {', '.join(missing)}")

    @functools.cached_property
    def _loaded(self) -> dict[str, Any]:
        with _quiet_lm_eval():
            return _load(self.task_names, self.include_path)

    @property
    def tasks(self) -> Mapping[str, Any]:
        """lm-eval's task objects by name; loads them at first use."""
        tasks: Mapping[str, Any] = self._loaded["tasks"]
        return tasks

    def n_responses(self, limit: int | None = None) -> int:
        """Responses that an evaluation samples."""
        sizes = [(len(t.eval_docs), int(t.config.repeats)) for t in self.tasks.values()]
        return sum(min(n, limit or n) * repeats for n, repeats in sizes)

    def task_hashes(self) -> dict[str, str]:
        """sha256 of each task: its resolved YAML, the source of its functions, its documents."""
        return {name: _task_hash(task) for name, task in sorted(self.tasks.items())}

    def prompt_hashes(self, tokenizer: Any) -> dict[str, str]:
        """sha256 of each task's first prompt as this tokenizer renders it.

        Equal to ``prompt_hash`` of the row with ``doc_id`` 0.
        """
        from harness.evaluation.lm import EngineLM, prompt_hash

        class _Renderer:
            def __init__(self, tokenizer: Any) -> None:
                self.tokenizer = tokenizer

        lm: Any = EngineLM(_Renderer(tokenizer), 0)  # type: ignore[arg-type]
        return {
            name: prompt_hash(
                task.fewshot_context(
                    task.eval_docs[0],
                    num_fewshot=task.config.num_fewshot or 0,
                    apply_chat_template=self.apply_chat_template,
                    fewshot_as_multiturn=True,
                    chat_template=lm.apply_chat_template if self.apply_chat_template else None,
                    gen_prefix=task.doc_to_prefix(task.eval_docs[0]),
                )
            )
            for name, task in sorted(self.tasks.items())
        }

    def evaluate(
        self,
        engine: Engine,
        seed: int,
        *,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pd.DataFrame:
        """Run every task and return one row for each item and sample (``EVAL_COLUMNS``).

        Rows are sorted by task, mode, doc_id and sample, and are a function of the engine's
        weights and ``seed``. ``limit`` keeps the first items of each task; ``progress`` is called
        with (responses done, responses in all).
        """
        import pandas as pd
        from lm_eval.evaluator import evaluate

        from harness.evaluation.lm import EngineLM

        if limit is not None and limit < 1:
            raise HarnessError(f"evaluation: limit {limit}: needs at least 1 item per task")
        loaded = self._loaded
        lm = EngineLM(engine, seed, progress)
        with _quiet_lm_eval():
            result = evaluate(
                lm=lm,
                task_dict=loaded,
                limit=limit,
                bootstrap_iters=0,  # intervals are over seeds, and lm-eval's bootstrap is slow
                log_samples=True,
                apply_chat_template=self.apply_chat_template,
                fewshot_as_multiturn=True,
            )
        rows: list[dict[str, Any]] = []
        for name, logged in result["samples"].items():
            rows.extend(_task_rows(name, loaded["tasks"][name], logged, lm.generations))
        frame = pd.DataFrame(rows, columns=list(EVAL_COLUMNS))
        order = ["task", "mode", "doc_id", "sample"]
        return frame.sort_values(order, kind="stable").reset_index(drop=True)


def _load(names: Sequence[str], include_path: list[Path]) -> dict[str, Any]:
    """lm-eval's TaskDict for the names. Raises HarnessError for an unknown name or bad data."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=list(include_path), include_defaults=False)
    if any(name not in manager.task_index for name in names):
        manager = TaskManager(include_path=list(include_path))
    if unknown := [name for name in names if name not in manager.task_index]:
        near = difflib.get_close_matches(unknown[0], manager.all_tasks, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise HarnessError(f"evaluation: unknown task {unknown[0]!r}{hint}")
    try:
        loaded: dict[str, Any] = dict(manager.load(list(names)))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise HarnessError(f"evaluation: can't load {', '.join(names)}: {error}") from error
    for name, task in loaded["tasks"].items():
        if task.OUTPUT_TYPE != "generate_until":
            raise HarnessError(
                f"evaluation: {name} is of type {task.OUTPUT_TYPE}; only generate_until tasks run"
            )
        task.set_fewshot_seed(seed=1234)  # lm-eval's default
    return loaded


def _task_rows(
    name: str, task: Any, logged: Sequence[Mapping[str, Any]], generations: Mapping[Any, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of one task from lm-eval's sample log."""
    from harness.evaluation.lm import sampling_params

    metadata = task.config.metadata or {}
    params, _ = sampling_params(task.config.generation_kwargs)
    mode = "sampled" if params.temperature > 0 else "greedy"
    group_field = metadata.get("group_field")
    first_filter = logged[0]["filter"]
    for entry in logged:
        if entry["filter"] != first_filter:  # a second reading of the same responses
            continue
        doc, doc_id = entry["doc"], int(entry["doc_id"])
        responses = entry["resps"][0]
        for sample, response in enumerate(responses):
            metrics = entry if len(responses) == 1 else _score_alone(name, task, entry, sample)
            score = float(metrics[_primary_metric(task)])
            generation = generations[(name, doc_id, sample)]
            yield {
                "task": str(metadata.get("benchmark", name)),
                "doc_id": doc_id,
                "sample": sample,
                "mode": mode,
                "group": "" if group_field is None else str(doc[group_field]),
                "prompt_hash": entry["prompt_hash"],
                "response": response,
                "answer": extract_answer(response),
                "verdict": str(_verdict(score, metrics)),
                "score": score,
                "truncated": generation.truncated,
                "n_tokens": generation.n_tokens,
            }


def _score_alone(name: str, task: Any, entry: Mapping[str, Any], sample: int) -> Mapping[str, Any]:
    """The task's own metrics for one of several samples, as its filters left it."""
    kept = entry["filtered_resps"][0]
    whole = isinstance(kept, list) and len(kept) == len(entry["resps"][0])
    if not whole or not callable(task.config.process_results):
        raise HarnessError(
            f"evaluation: {name} repeats each document, but its samples can't be scored one by "
            "one; give the YAML a take_first_k filter with k = repeats, and a process_results"
        )
    metrics: Mapping[str, Any] = task.process_results(entry["doc"], [[kept[sample]]])
    return metrics


def _primary_metric(task: Any) -> str:
    return str(next(iter(task.aggregation())))


def _verdict(score: float, metrics: Mapping[str, Any]) -> Verdict:
    if score == 1:
        return Verdict.CORRECT
    if metrics.get("no_answer") == 1:
        return Verdict.NO_ANSWER
    if metrics.get("timeout") == 1:
        return Verdict.TIMEOUT
    return Verdict.WRONG


def _task_hash(task: Any) -> str:
    config = task.dump_config()
    # Where the YAML lies is not what it says; an unused few-shot part prints object addresses.
    metadata = {k: v for k, v in (config.get("metadata") or {}).items() if k != "config_source"}
    config |= {"metadata": metadata}
    if not task.config.num_fewshot:
        config.pop("fewshot_config", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for doc in task.eval_docs:
        digest.update(json.dumps(doc, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet_lm_eval() -> Iterator[None]:
    """Errors only, and no progress bar over the building of prompts."""
    import lm_eval.api.task as task_module

    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, task_module.tqdm
    logger.setLevel(logging.ERROR)
    task_module.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        logger.setLevel(level)
        task_module.tqdm = bar
