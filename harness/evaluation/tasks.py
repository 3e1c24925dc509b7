"""lm-eval's tasks: found, loaded, overridden and hashed."""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def load_tasks(
    names: Sequence[str],
    include_path: Sequence[Path],
    *,
    max_new_tokens: int | None = None,
    samples: int | None = None,
) -> dict[str, Any]:
    """lm-eval's tasks by name, groups and tags spelled out.

    Args:
        names: names of tasks, groups or tags.
        include_path: folders with task YAMLs. lm-eval's own tasks are indexed only if a name isn't
            found here: that takes seconds.
        max_new_tokens: overrides each task's limit.
        samples: overrides the number of samples of each item in tasks that repeat their items.

    Raises:
        HarnessError: an unknown name or bad data.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=list(include_path), include_defaults=False)
    if any(name not in manager.task_index for name in names):
        manager = TaskManager(include_path=list(include_path))
    if unknown := [name for name in names if name not in manager.task_index]:
        near = difflib.get_close_matches(unknown[0], manager.all_tasks, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise HarnessError(f"evaluation: unknown task {unknown[0]!r}{hint}")
    try:
        loaded: dict[str, Any] = dict(manager.load(list(names))["tasks"])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise HarnessError(f"evaluation: can't load {', '.join(names)}: {error}") from error
    for name, task in loaded.items():
        if task.OUTPUT_TYPE != "generate_until":
            raise HarnessError(
                f"evaluation: {name} is of type {task.OUTPUT_TYPE}; only generate_until tasks run"
            )
        task.set_fewshot_seed(seed=1234)  # lm-eval's default
        if max_new_tokens is not None:
            task.config.generation_kwargs["max_gen_toks"] = max_new_tokens
        if samples is not None and int(task.config.repeats) > 1:
            _repeat(task, samples)
    return loaded


def describe_tasks(include_path: Path) -> list[dict[str, Any]]:
    """What the YAMLs of a folder say, without loading any data.

    Keys: task, benchmark, mode, samples (of an item), prompt ("chat" or "plain"), max_new_tokens,
    source (its set in the catalogue of `harness.data`, if it names one); a group has its members as
    ``tasks`` and nothing else.
    """
    from lm_eval.tasks import TaskManager

    index = TaskManager(include_path=[include_path], include_defaults=False).task_index
    found: list[dict[str, Any]] = []
    for name, entry in sorted(index.items()):
        config = entry.cfg or {}
        if "group" in config:
            found.append({"task": name, "tasks": config["task"]})
            continue
        metadata = config.get("metadata") or {}
        kwargs = config.get("generation_kwargs") or {}
        found.append(
            {
                "task": name,
                "benchmark": str(metadata.get("benchmark", name)),
                "mode": "sampled" if kwargs.get("do_sample") else "greedy",
                "samples": int(config.get("repeats", 1)),
                "prompt": "chat" if metadata.get("chat_template", True) else "plain",
                "max_new_tokens": kwargs.get("max_gen_toks"),
                "source": (config.get("dataset_kwargs") or {}).get("source"),
            }
        )
    return found


def _repeat(task: Any, samples: int) -> None:
    """Sample each item ``samples`` times and keep all of them."""
    from lm_eval.filters import build_filter_ensemble

    kept = {"function": "take_first_k", "k": samples}
    task.config.repeats = samples
    task.config.filter_list = [{"name": "all_samples", "filter": [kept]}]
    # lm-eval has built its filters from the YAML by now.
    task._filters = [build_filter_ensemble("all_samples", [["take_first_k", {"k": samples}]])]


def task_hash(task: Any) -> str:
    """sha256 of a task: its resolved YAML, the source of its functions, its documents."""
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


def sampling_hash(task: Any) -> str:
    """sha256 of what a task says of sampling: its name, which row keys hold, and parameters.

    With the prompt it fixes a response. Data and scoring are left out: after a change of either,
    the responses to the prompts that stayed are as good as before.
    """
    said = {"task": task.config.task, "generation": task.config.generation_kwargs}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def quiet_lm_eval() -> Iterator[None]:
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
