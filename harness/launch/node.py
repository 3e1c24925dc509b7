"""The part of the Ray launcher that runs on a node: one run in a process of its own."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from harness import __version__
from harness.launch.process import LOCK_PATIENCE_SECONDS, Ending, RunProcess, Task
from harness.versions import package_versions

_POLL_SECONDS = 0.5


def versions() -> dict[str, str]:
    """What must be the same on all nodes for results to be the same."""
    return {"coevolution-harness": __version__, **package_versions()}


def do(
    name: str, task: Task, there: dict[str, str], folder: str, variables: dict[str, str]
) -> Ending:
    """Do a run on this node.

    Args:
        name: of the run's folder, which the driver has made.
        there: the driver's versions.
        folder: where the driver was started, so that relative paths mean the same.
        variables: of the driver's environment.
    """
    if wrong := _different(there) or _unshared(Path(task["runs"]) / name):
        return Ending(2, f"node {platform.node()}: {wrong}")
    os.environ.update(variables)
    return RunProcess(task, Path(folder) if Path(folder).is_dir() else None).wait()


def _different(there: dict[str, str]) -> str:
    here = versions()
    found = [f"{k} {here.get(k)} (here {there[k]})" for k in there if here.get(k) != there[k]]
    return f"has {', '.join(found)}; install the same versions on all nodes" if found else ""


def _unshared(run: Path) -> str:
    """A folder on a shared file system may take a moment to be seen."""
    until = time.monotonic() + LOCK_PATIENCE_SECONDS
    while not run.is_dir():
        if time.monotonic() > until:
            return f"doesn't see {run}; --runs must be a folder that all nodes share"
        time.sleep(_POLL_SECONDS)
    return ""
