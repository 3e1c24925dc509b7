"""Body and entry point of a run's process: one run from standard input."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from harness.config.schema import RunConfig
from harness.errors import HarnessError, RunLockedError, one_line
from harness.launch.process import Task
from harness.methods import load_plugin
from harness.run import RunSpec, execute

_POLL_SECONDS = 0.5


def work() -> int:
    """Do the run. Returns the exit code."""
    task: Task = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    try:
        for plugin in task["plugins"]:
            load_plugin(plugin)
        config = RunConfig.model_validate(task["config"])
        spec = RunSpec(task["method"], task["seed"], config, tuple(task["passed"]))
        _execute_patiently(spec, Path(task["runs"]), task["patience"])
    except HarnessError as error:
        print(one_line(error), file=sys.stderr)
        return error.exit_code
    return 0


def _execute_patiently(spec: RunSpec, runs: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            execute(spec, runs)
            return
        except RunLockedError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)


def _die_with_launcher() -> None:
    sys.stdin.read()
    os._exit(75)


if __name__ == "__main__":
    sys.exit(work())
