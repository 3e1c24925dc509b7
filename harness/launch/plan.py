"""What a sweep would cost, from its configuration alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.base import base_label, find_base, read_warm_start
from harness.config.schema import RunConfig
from harness.run import RunSpec, load_evaluator
from harness.store import RunFolder, Status, read_json


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

    said, last = config.evaluation, config.iterations
    due = [t for t in range(1, last + 1) if t == last or (said.every and t % said.every == 0)]
    once = 0
    for task in load_evaluator(config).tasks.values():
        items = min(len(task.eval_docs), said.limit or len(task.eval_docs))
        longest = sampling_params(task.config.generation_kwargs).max_new_tokens
        once += items * int(task.config.repeats) * longest
    return (1 + len(due)) * once


def print_plan(specs: Sequence[RunSpec], places: Sequence[Path], jobs: int, as_json: bool) -> None:
    """Runs with their state, the bound on tokens, and time and memory where known.

    Args:
        places: folders of runs, the one to run in first.
    """
    rows = []
    for spec in specs:
        folder = spec.find(places)
        state = folder.status
        started = (folder.path / "manifest.json").exists()
        name = "missing" if state is Status.INCOMPLETE and not started else str(state)
        rows.append(
            {"method": spec.method, "seed": spec.seed, "state": name, "folder": str(folder)}
        )
    config = specs[0].config
    bound = {**tokens_at_most(config), "evaluations": evaluation_tokens_at_most(config)}
    missing = [r for r in rows if r["state"] in ("missing", "incomplete")]
    seconds, memory = _measured([spec.find(places) for spec in specs])
    model = config.model
    plan: dict[str, Any] = {
        "base_model": base_label(
            model.path, read_warm_start(find_base(model.path), model.revision)
        ),
        "runs": rows,
        "missing": len(missing),
        "jobs": jobs,
        "tokens_at_most_per_run": bound,
        "seconds_per_run": seconds,
        "estimated_wall_seconds": seconds and seconds * -(-len(missing) // jobs),
        "peak_memory_bytes_per_run": memory,
    }
    if as_json:
        print(json.dumps(plan, indent=1))
        return
    console = Console()
    title = f"profile {config.profile}\nbase model: {escape(plan['base_model'])}"
    table = Table("method", "seed", "state", "folder", title=title)
    for row in rows:
        table.add_row(str(row["method"]), str(row["seed"]), str(row["state"]), str(row["folder"]))
    console.print(table)
    for name, tokens in bound.items():
        console.print(f"  {name}: at most {tokens:,} tokens per run")
    if seconds and memory:
        console.print(
            f"  measured on earlier runs: {seconds:.0f} s and {memory / 2**20:.0f} MiB per run; "
            f"{len(missing)} to do, {jobs} side by side: about "
            f"{plan['estimated_wall_seconds'] or 0:.0f} s"
        )
    else:
        console.print(f"  {len(missing)} to do, {jobs} side by side; none has been timed here yet")


def _measured(folders: Sequence[RunFolder]) -> tuple[float | None, int | None]:
    """Mean seconds and largest memory of this sweep's finished runs."""
    costs = [read_json(f.cost_path) for f in folders if f.cost_path.exists()]
    if not costs:
        return None, None
    mean = sum(float(c["wall_seconds"]) for c in costs) / len(costs)
    return mean, max(int(c["peak_rss_bytes"]) for c in costs)
