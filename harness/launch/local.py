"""Runs as local processes, a few side by side; each has its own torch threads.

A worker reads its run from standard input and watches that pipe: when the launcher dies, however
it dies, the pipe closes and the worker stops, so the same command can be given again at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.schema import RunConfig
from harness.errors import HarnessError, RunLockedError
from harness.methods import load_plugin
from harness.session import RunSpec, execute
from harness.store import Status

POLL_SECONDS = 0.5
LOCK_PATIENCE_SECONDS = 5.0
"""A worker of a launcher that was just killed may take a moment to go."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its status, or the error that stopped it (the run stays incomplete)."""

    spec: RunSpec
    status: Status
    error: str = ""
    exit_code: int = 0


def launch(
    specs: Sequence[RunSpec],
    runs: Path,
    *,
    jobs: int,
    plugins: Sequence[str] = (),
    watch: Callable[[Sequence[RunSpec]], None] = lambda running: None,
) -> list[Outcome]:
    """Do all runs, ``jobs`` at a time; one that fails doesn't stop the others.

    Args:
        watch: called about twice a second with the runs in progress.
    """
    waiting = list(specs)
    running: dict[RunSpec, subprocess.Popen[bytes]] = {}
    ended: dict[RunSpec, Outcome] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, jobs):
                spec = waiting.pop(0)
                running[spec] = _start(spec, runs, plugins)
            for spec, process in list(running.items()):
                if process.poll() is not None:
                    ended[spec] = _outcome(spec, runs, process)
                    del running[spec]
            watch(list(running))
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return [ended[spec] for spec in specs]


def _start(spec: RunSpec, runs: Path, plugins: Sequence[str]) -> subprocess.Popen[bytes]:
    task = {
        "method": spec.method,
        "seed": spec.seed,
        "config": spec.config.model_dump(mode="json"),
        "passed": list(spec.passed),
        "runs": str(runs),
        "plugins": [str(Path(p).resolve()) for p in plugins],
    }
    threads = str(spec.config.threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.launch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()  # and left open: its end is how the worker learns of ours
    return process


def _outcome(spec: RunSpec, runs: Path, process: subprocess.Popen[bytes]) -> Outcome:
    assert process.stderr is not None
    lines = process.stderr.read().decode(errors="replace").strip().splitlines()
    process.stderr.close()
    if process.stdin is not None:
        process.stdin.close()
    status = spec.folder(runs).status
    if process.returncode == 0:
        return Outcome(spec, status)
    reason = lines[-1] if lines else f"ended by signal {-process.returncode}"
    return Outcome(spec, status, reason, process.returncode)


def work() -> int:
    """Body of a worker process: one run from standard input. Returns the exit code."""
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    try:
        for plugin in task["plugins"]:
            load_plugin(plugin)
        config = RunConfig.model_validate(task["config"])
        spec = RunSpec(task["method"], task["seed"], config, tuple(task["passed"]))
        _execute_patiently(spec, Path(task["runs"]))
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _execute_patiently(spec: RunSpec, runs: Path) -> None:
    until = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            execute(spec, runs)
            return
        except RunLockedError:
            if time.monotonic() > until:
                raise
            time.sleep(POLL_SECONDS)


def _die_with_launcher() -> None:
    sys.stdin.read()
    os._exit(75)
