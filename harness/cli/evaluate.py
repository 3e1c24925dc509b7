"""`eval` and `tasks`: one checkpoint on lm-eval tasks, item by item."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from harness import __version__
from harness.base import describe_base, find_base, resolve
from harness.config import EngineConfig
from harness.engines import Engine, Rollouts
from harness.engines.base import Engines
from harness.engines.make import make_engines
from harness.errors import HarnessError
from harness.evaluation import Evaluator
from harness.evaluation.cache import ResponseCache
from harness.evaluation.runner import GROUP_SEPARATOR
from harness.evaluation.summary import item_scores
from harness.grading import How
from harness.leaderboard.output import write_csv
from harness.policy import Policy
from harness.statistics import item_interval
from harness.store import write_json, write_parquet
from harness.versions import package_versions

SCHEMA = 1
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class EvalRequest:
    """What `eval` was asked for."""

    model: str
    tasks: tuple[str, ...]
    out: Path
    revision: str | None = None
    include: str = "tasks"
    limit: int | None = None
    samples: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    dtype: str = "float32"
    device: str | None = None
    threads: int = 1
    batch_rows: int = 64
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise HarnessError("--tasks: name at least one task; `python -m harness tasks` lists")
        for name in ("limit", "samples", "max_new_tokens", "threads", "batch_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HarnessError(f"--{name.replace('_', '-')} {value}: needs at least 1")
        if self.dtype not in DTYPES:
            raise HarnessError(f"--dtype {self.dtype}: one of {', '.join(DTYPES)}")
        if not 0 <= self.seed < 2**63:
            raise HarnessError(f"--seed {self.seed}: needs 0 to 2^63 - 1")


def evaluate(request: EvalRequest, as_json: bool) -> None:
    """Sample, grade, write and print. Stopped and started again, it goes on where it was."""
    base = find_base(request.model)
    evaluator = Evaluator(
        request.tasks,
        resolve(request.include),
        max_new_tokens=request.max_new_tokens,
        samples=request.samples,
    )
    task_hashes = evaluator.task_hashes()  # loads data: what is missing shows before the model
    torch.set_num_threads(request.threads)
    policy = _load(base, request)
    engines = make_engines(request.engine, request.dtype, request.batch_rows)
    prompts = evaluator.prompt_hashes(policy.tokenizer)
    commit = getattr(policy.model.config, "_commit_hash", None)
    about = describe_base(request.model, base, request.revision, commit)
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "harness": __version__,
        "model": about["base_model"],
        "model_hash": about["base_model_hash"],
        "warm_start": about["warm_start"],
        "task_hashes": task_hashes,
        "prompt_hash": prompts,
        "generation": {
            name: {**task.config.generation_kwargs, "repeats": task.config.repeats}
            for name, task in sorted(evaluator.tasks.items())
        },
        "engine": _about(engines, policy),
        "seed": request.seed,
        "limit": request.limit,
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True, default=str).encode()).hexdigest()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(request.model).stem or "model")[:60]
    folder = request.out / f"{safe}-{digest[:8]}"
    identity = json.dumps([about["base_model_hash"], manifest["engine"]], sort_keys=True)
    cache = ResponseCache(request.out / "responses", identity, request.seed)
    started = time.perf_counter(), time.process_time()
    with (
        contextlib.closing(engines),
        _Bar(evaluator.n_responses(request.limit), quiet=as_json) as bar,
    ):
        engine = _Metered(engines.of(policy))
        rows = evaluator.evaluate(
            engine,
            request.seed,
            limit=request.limit,
            progress=bar.update,
            batch_rows=request.batch_rows,
            cache=cache,
        )
    table = results_table(rows)
    write_parquet(folder / "items.parquet", rows)
    write_csv(table, folder / "summary.csv")
    write_json(folder / "manifest.json", {**manifest, "versions": package_versions()})
    cost = {
        "wall_seconds": round(time.perf_counter() - started[0], 1),
        "cpu_seconds": round(time.process_time() - started[1], 1),
        "sampling_seconds": round(engine.seconds, 1),
        "tokens_sampled": engine.tokens,
        "tokens_kept": int(rows["n_tokens"].sum()),
    }
    write_json(folder / "cost.json", cost)
    if as_json:
        print(table.to_json(orient="records"))
        return
    _print(table, str(manifest["model"]), folder, cost)


def _about(engines: Engines, policy: Policy) -> dict[str, Any]:
    """The engine for the manifest; the torch engine's device is the model's."""
    about = dict(engines.about)
    return about if about["name"] != "torch" else {**about, "device": policy.model.device.type}


def results_table(rows: pd.DataFrame) -> pd.DataFrame:
    """An evaluation by task, mode and group, with Wilson intervals over the items.

    Columns: task, mode, group ("" for all items), items, samples (for each item), accuracy, low,
    high; shares of responses truncated, without an answer, timed out, and read by the fallback (no
    box, but an answer stated in words); mean n_tokens.
    """
    found = []
    for (task, mode), part in rows.groupby(["task", "mode"], sort=True):
        groups_of_row = part["group"].str.split(GROUP_SEPARATOR)
        groups = sorted({name for names in groups_of_row for name in names if name})
        for group in ["", *groups]:
            mine = part[[not group or group in names for names in groups_of_row]]
            scores = item_scores(mine)["score"]
            interval = item_interval(float(scores.mean()), len(scores))
            found.append(
                {
                    "task": task,
                    "mode": mode,
                    "group": group,
                    "items": len(scores),
                    "samples": len(mine) // len(scores),
                    "accuracy": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "truncated": float(mine["truncated"].mean()),
                    "no_answer": float((mine["verdict"] == "no_answer").mean()),
                    "timeout": float((mine["verdict"] == "timeout").mean()),
                    "fallback": float((mine["found"] == str(How.STATED)).mean()),
                    "tokens": float(mine["n_tokens"].mean()),
                }
            )
    return pd.DataFrame(found)


def list_tasks(include: str, as_json: bool) -> None:
    """The task YAMLs of a folder: benchmark, mode, samples, prompt, limit of tokens."""
    from harness.evaluation.tasks import describe_tasks

    found = describe_tasks(resolve(include))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table("task", "benchmark", "mode", "samples", "prompt", "max tokens", title="tasks")
    for row in found:
        members = row.get("tasks")
        told = ("task", "benchmark", "mode", "samples", "prompt", "max_new_tokens")
        cells = [row["task"], "both: " + ", ".join(members)] if members else [row[k] for k in told]
        table.add_row(*map(str, cells))
    Console().print(table)


def _load(base: Path, request: EvalRequest) -> Policy:
    extra = {} if base.exists() or not request.revision else {"revision": request.revision}
    policy = Policy.load(base, getattr(torch, request.dtype), **extra)
    if request.engine.name != "torch":  # its server reads the weights itself
        return policy
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        policy.model.to(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise HarnessError(f"--device {device}: {str(error).splitlines()[0]}") from error
    return policy


def _print(table: pd.DataFrame, model: str, folder: Path, cost: dict[str, Any]) -> None:
    """The results on the terminal, groups left to the CSV."""
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=Text(model),
        caption=Text(
            "95 % Wilson interval over items; k: samples of an item; shares of responses: cut at "
            "the limit, without an answer, timed out in grading, answered in words without a box"
        ),
    )
    shares = {"truncated": "cut", "no_answer": "none", "timeout": "time", "fallback": "words"}
    for header in ("task", "mode", "items", "k", "accuracy", *shares.values()):
        shown.add_column(header, overflow="fold")
    for row in table[table["group"] == ""].to_dict("records"):
        interval = f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        cells = (row["task"], row["mode"], row["items"], row["samples"], interval)
        shown.add_row(*map(str, cells), *(f"{row[name]:.2f}" for name in shares))
    console = Console(highlight=False)
    console.print(shown)
    console.print(
        f"{cost['wall_seconds']} s, {cost['tokens_sampled']} tokens sampled, the other "
        f"{cost['tokens_kept'] - cost['tokens_sampled']} were kept; by group and item by item:",
        soft_wrap=True,
    )
    console.print(str(folder), markup=False, soft_wrap=True)


class _Metered:
    """An engine that counts its tokens and seconds: what wasn't sampled was found on disk."""

    def __init__(self, engine: Engine) -> None:
        self.tokenizer = engine.tokenizer
        self.tokens, self.seconds = 0, 0.0
        self._engine = engine

    def generate(self, *args: Any, **kwargs: Any) -> Rollouts:
        """As the engine's own."""
        started = time.perf_counter()
        rollouts = self._engine.generate(*args, **kwargs)
        self.seconds += time.perf_counter() - started
        self.tokens += int(rollouts.lengths.sum())
        return rollouts


class _Bar:
    """A progress bar on stderr; nothing at all if quiet."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._progress = Progress(
            TextColumn("responses"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._bar = self._progress.add_task("responses", total=total)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """So many responses are there."""
        self._progress.update(self._bar, completed=done, total=total)
