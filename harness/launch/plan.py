"""What a sweep would do and cost, from its configuration alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.base import base_label, find_base, read_warm_start
from harness.config.published import diff, published
from harness.data import without_hub
from harness.launch.bounds import evaluation_bound, evaluation_tokens_at_most, tokens_at_most
from harness.launch.estimate import estimate
from harness.launch.show_plan import show_plan
from harness.run import RunSpec
from harness.store import RunFolder, Status, read_json

__all__ = ["evaluation_tokens_at_most", "make_plan", "print_plan", "tokens_at_most"]


def make_plan(
    specs: Sequence[RunSpec], places: Sequence[Path], jobs: int, missing: str = ""
) -> dict[str, Any]:
    """Runs with their state, the bound on tokens, time and memory where known, and what is
    estimated or published. Nothing is fetched.

    Args:
        places: folders of runs, the one to run in first.
        missing: what a run would stop at, if something is known to be missing.
    """
    spec = specs[0]
    config, model = spec.config, spec.config.model
    with without_hub():
        evaluations, unseen = evaluation_bound(config)
    rows = [_run(s, places) for s in specs]
    todo = [r for r in rows if r["state"] in ("missing", "incomplete")]
    seconds, memory = _measured([s.find(places) for s in specs])
    compared = diff(config, spec.passed)
    return {
        "profile": config.profile,
        "base_model": base_label(
            model.path, read_warm_start(find_base(model.path), model.revision, local=True)
        ),
        "runs": rows,
        "missing": len(todo),
        "jobs": jobs,
        "tokens_at_most_per_run": {**tokens_at_most(config), "evaluations": evaluations},
        "missing_data": missing or unseen or None,
        "seconds_per_run": seconds,
        "estimated_wall_seconds": seconds and seconds * -(-len(todo) // jobs),
        "peak_memory_bytes_per_run": memory,
        "estimate": estimate(config, evaluations),
        "published": [asdict(row) for row in compared],
        "deviations": [d.model_dump() for d in published().loop] if compared else [],
    }


def print_plan(
    specs: Sequence[RunSpec],
    places: Sequence[Path],
    jobs: int,
    as_json: bool,
    missing: str = "",
) -> None:
    """Print `make_plan`, for people or as JSON."""
    plan = make_plan(specs, places, jobs, missing)
    if as_json:
        print(json.dumps(plan, indent=1))
    else:
        show_plan(plan, Console())


def _run(spec: RunSpec, places: Sequence[Path]) -> dict[str, Any]:
    """A run and its state."""
    folder = spec.find(places)
    started = (folder.path / "manifest.json").exists()
    unstarted = folder.status is Status.INCOMPLETE and not started
    state = "missing" if unstarted else str(folder.status)
    return {"method": spec.method, "seed": spec.seed, "state": state, "folder": str(folder)}


def _measured(folders: Sequence[RunFolder]) -> tuple[float | None, int | None]:
    """Mean seconds and largest memory of this sweep's finished runs."""
    costs = [read_json(f.cost_path) for f in folders if f.cost_path.exists()]
    if not costs:
        return None, None
    mean = sum(float(c["wall_seconds"]) for c in costs) / len(costs)
    return mean, max(int(c["peak_rss_bytes"]) for c in costs)
