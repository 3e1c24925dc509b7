"""Evaluate an engine on lm-eval tasks: one row for each item and sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.evaluation.clusters import answer_clusters
from harness.evaluation.tasks import load_tasks, quiet_lm_eval, sampling_hash, task_hash
from harness.grading import Verdict, extract_final
from harness.grading.pool import shared_grader

if TYPE_CHECKING:
    import pandas as pd

    from harness.engines.base import Engine
    from harness.evaluation.cache import ResponseCache

#: Between the groups of an item that is in several (its subject, its level).
GROUP_SEPARATOR = ";"

#: Columns of an evaluation, in order. ``task`` is the benchmark's name, shared by its greedy and
#: sampled variants; ``doc_id`` is lm-eval's index of the item; ``group`` is "" where a task names
#: none, and several joined by ``GROUP_SEPARATOR``; ``prompt_hash`` is the sha256 of the rendered
#: prompt; ``found`` says where the answer was (``harness.grading.How``); ``n_tokens`` counts the
#: end token, and what was sampled behind a stop string; ``cluster`` numbers an item's different
#: answers, the most frequent first, -1 for none.
EVAL_COLUMNS = (
    "task",
    "doc_id",
    "sample",
    "mode",
    "group",
    "prompt_hash",
    "response",
    "answer",
    "found",
    "verdict",
    "score",
    "truncated",
    "n_tokens",
    "cluster",
)


class Evaluator:
    """A set of lm-eval tasks, loaded once, for any number of evaluations.

    Args:
        task_names: names of lm-eval tasks, groups or tags.
        include_path: folder (or folders) with task YAMLs. lm-eval's own tasks are indexed only if
            a name isn't found here: that takes seconds.
        apply_chat_template: render prompts as a chat with the tokenizer's template. A tokenizer
            without one is then an error; False gives the plain prompt.
        max_new_tokens: overrides the tasks' own limit.
        samples: overrides the number of samples in tasks that repeat their items.

    What a task's YAML may say for the harness, in ``metadata``: ``benchmark`` (the name its rows
    carry; by default the task's own), ``group_field`` (a document field, or a list of them, to
    break results down by) and ``chat_template: false`` (a prompt for base models, never rendered
    as a chat). The score is the first metric in ``metric_list``; its ``no_answer`` and ``timeout``
    metrics, where present, refine the verdict.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        include_path: str | Path | Sequence[str | Path] | None = None,
        *,
        apply_chat_template: bool = True,
        max_new_tokens: int | None = None,
        samples: int | None = None,
    ) -> None:
        if not task_names:
            raise HarnessError("evaluation: no tasks named")
        for name, value in (("max_new_tokens", max_new_tokens), ("samples", samples)):
            if value is not None and value < 1:
                raise HarnessError(f"evaluation: {name} {value}: needs at least 1")
        self.task_names = tuple(dict.fromkeys(task_names))
        paths = [include_path] if isinstance(include_path, (str, Path)) else (include_path or [])
        self.include_path = [Path(p) for p in paths]
        self.apply_chat_template = apply_chat_template
        self.max_new_tokens = max_new_tokens
        self.samples = samples
        if missing := [str(p) for p in self.include_path if not p.is_dir()]:
            raise HarnessError(f"evaluation: no such task folder: {', '.join(missing)}")

    @functools.cached_property
    def tasks(self) -> Mapping[str, Any]:
        """lm-eval's task objects by name; loads them at first use."""
        with quiet_lm_eval():
            return load_tasks(
                self.task_names,
                self.include_path,
                max_new_tokens=self.max_new_tokens,
                samples=self.samples,
            )

    def as_chat(self, task: Any) -> bool:
        """Whether a task's prompts are rendered as a chat."""
        stated = (task.config.metadata or {}).get("chat_template", True)
        return self.apply_chat_template and bool(stated)

    def n_responses(self, limit: int | None = None) -> int:
        """Responses that an evaluation samples."""
        sizes = [(len(t.eval_docs), int(t.config.repeats)) for t in self.tasks.values()]
        return sum(min(n, limit or n) * repeats for n, repeats in sizes)

    def task_hashes(self) -> dict[str, str]:
        """sha256 of each task: its resolved YAML, the source of its functions, its documents."""
        return {name: task_hash(task) for name, task in sorted(self.tasks.items())}

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
                    apply_chat_template=self.as_chat(task),
                    fewshot_as_multiturn=True,
                    chat_template=lm.apply_chat_template if self.as_chat(task) else None,
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
        batch_rows: int | None = None,
        cache: ResponseCache | None = None,
    ) -> pd.DataFrame:
        """Run every task and return one row for each item and sample (``EVAL_COLUMNS``).

        Rows are sorted by task, mode, doc_id and sample, and are a function of the engine's
        weights and ``seed``. ``limit`` keeps the first items of each task; ``progress`` is called
        with (responses done, responses in all); ``batch_rows`` responses are sampled at a time and
        go into ``cache``, which is asked first.
        """
        import pandas as pd

        from harness.evaluation.lm import BATCH_ROWS, EngineLM

        if limit is not None and limit < 1:
            raise HarnessError(f"evaluation: limit {limit}: needs at least 1 item per task")
        total, done = self.n_responses(limit), 0

        def advance(responses: int) -> None:
            nonlocal done
            done += responses
            if progress is not None:
                progress(done, total)

        lm = EngineLM(
            engine,
            seed,
            advance,
            batch_rows=batch_rows or BATCH_ROWS,
            cache=cache,
            task_hashes={name: sampling_hash(task) for name, task in self.tasks.items()},
        )
        rows: list[dict[str, Any]] = []
        for chat in (True, False):
            part = {name: task for name, task in self.tasks.items() if self.as_chat(task) is chat}
            lm.chat = chat
            for name, logged in _logged_samples(lm, part, limit, chat).items():
                rows.extend(_task_rows(name, part[name], logged, lm.generations))
        frame = pd.DataFrame(rows, columns=list(EVAL_COLUMNS[:-1]))
        order = ["task", "mode", "doc_id", "sample"]
        frame = frame.sort_values(order, kind="stable").reset_index(drop=True)
        return frame.assign(cluster=answer_clusters(frame, shared_grader()))


def _logged_samples(
    lm: Any, tasks: dict[str, Any], limit: int | None, chat: bool
) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's sample log of each task."""
    from lm_eval.evaluator import evaluate

    if not tasks:
        return {}
    with quiet_lm_eval():
        result = evaluate(
            lm=lm,
            task_dict={"tasks": tasks, "groups": {}, "group_map": {}},
            limit=limit,
            bootstrap_iters=0,  # intervals are over seeds, and lm-eval's bootstrap is slow
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=True,
        )
    logged: dict[str, list[dict[str, Any]]] = result["samples"]
    return logged


def _task_rows(
    name: str, task: Any, logged: Sequence[Mapping[str, Any]], generations: Mapping[Any, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of one task from lm-eval's sample log."""
    benchmark, mode = benchmark_and_mode(name, task)
    first_filter = logged[0]["filter"]
    for entry in logged:
        if entry["filter"] != first_filter:  # a second reading of the same responses
            continue
        doc, doc_id = entry["doc"], int(entry["doc_id"])
        responses = entry["resps"][0]
        for sample, response in enumerate(responses):
            metrics = entry if len(responses) == 1 else _score_alone(name, task, entry, sample)
            score = float(metrics[primary_metric(task)])
            generation = generations[(name, doc_id, sample)]
            extraction = extract_final(response, gold=str(entry["target"]))
            yield {
                "task": benchmark,
                "doc_id": doc_id,
                "sample": sample,
                "mode": mode,
                "group": groups_of(task, doc),
                "prompt_hash": entry["prompt_hash"],
                "response": response,
                "answer": extraction.answer,
                "found": str(extraction.how),
                "verdict": str(verdict_of(score, metrics)),
                "score": score,
                "truncated": generation.truncated,
                "n_tokens": generation.n_tokens,
            }


def benchmark_and_mode(name: str, task: Any) -> tuple[str, str]:
    """What rows call a task: its benchmark, and greedy or sampled."""
    from harness.evaluation.lm import sampling_params

    metadata = task.config.metadata or {}
    params = sampling_params(task.config.generation_kwargs)
    return str(metadata.get("benchmark", name)), "sampled" if params.temperature > 0 else "greedy"


def groups_of(task: Any, doc: Mapping[str, Any]) -> str:
    """The groups that a document counts in, joined."""
    stated = (task.config.metadata or {}).get("group_field") or []
    fields = [stated] if isinstance(stated, str) else list(stated)
    return GROUP_SEPARATOR.join(str(doc[field]) for field in fields)


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


def primary_metric(task: Any) -> str:
    """The metric of a task that is its score: the first that its YAML names."""
    return str(next(iter(task.aggregation())))


def verdict_of(score: float, metrics: Mapping[str, Any]) -> Verdict:
    """What a response's score and its task's further metrics say."""
    if score == 1:
        return Verdict.CORRECT
    if metrics.get("no_answer") == 1:
        return Verdict.NO_ANSWER
    if metrics.get("timeout") == 1:
        return Verdict.TIMEOUT
    return Verdict.WRONG
