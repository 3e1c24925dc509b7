"""Whole runs of a few seconds on the shipped ladder base, and what they left behind."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config import load_config
from harness.run import RunSpec, execute
from harness.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "iterations=2",
    "proposer.steps=1",
    "proposer.prompts_per_step=2",
    "proposer.group_size=4",
    "proposer.max_new_tokens=64",
    "solver.steps=2",
    "solver.prompts_per_step=4",
    "solver.group_size=4",
    "solver.max_new_tokens=24",
    "votes.n=4",
    "votes.max_new_tokens=24",
    "curriculum.questions=24",
    "curriculum.batch_size=12",
    "curriculum.min_survivors=1",
    "diversity.n=8",
    "diversity.n_well_posed=3",
    "evaluation.limit=8",
)
"""Overrides of the ladder profile."""
VOLATILE = {"events.jsonl", "cost.json", "lock", "manifest.json"}
"""What may differ between two executions of the same run."""

_CACHE = tempfile.TemporaryDirectory(prefix="tiny-runs-")


def spec(method: str, seed: int = 0, *settings: str) -> RunSpec:
    """A tiny run."""
    config, passed = load_config("ladder", overrides=[*TINY, *settings])
    return RunSpec(method, seed, config, tuple(passed))


@functools.cache
def finished(method: str, seed: int = 0, *settings: str) -> RunFolder:
    """The folder of a finished tiny run; made once, not to be changed."""
    made = spec(method, seed, *settings)
    execute(made, Path(_CACHE.name))
    return made.folder(Path(_CACHE.name))


def results(folder: Path) -> dict[str, bytes]:
    """All result files, checkpoints included, by relative path."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in VOLATILE
    }


def metrics(folder: RunFolder, t: int) -> dict[str, Any]:
    """The metrics of iteration ``t``."""
    found: dict[str, Any] = json.loads((folder.iteration(t) / "metrics.json").read_text())
    return found


def settings(overrides: Sequence[str] = TINY) -> list[str]:
    """The overrides as command-line arguments."""
    return [part for item in overrides for part in ("--set", item)]
