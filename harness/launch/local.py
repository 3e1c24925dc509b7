"""Runs as local processes, a few side by side; each has its own torch threads.

A worker reads its run from standard input and watches that pipe: when the launcher dies, however
it dies, the pipe closes and the worker stops, so the same command can be given again at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.config.schema import RunConfig
from harness.errors import HarnessError, RunLockedError, one_line
from harness.methods import load_plugin
from harness.run import RunSpec, execute
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


@dataclass(frozen=True)
class _Worker:
    """A worker process; what it says on standard error goes to a file, which never fills up."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]


def launch(
    specs: Sequence[RunSpec],
    runs: Path,
    *,
    jobs: int,
    plugins: Sequence[str] = (),
    watch: Callable[[Sequence[RunSpec]], None] = lambda running: None,
    finished: Callable[[RunSpec], None] = lambda spec: None,
) -> list[Outcome]:
    """Do all runs, ``jobs`` at a time; one that fails doesn't stop the others.

    Args:
        watch: called about twice a second with the runs in progress.
        finished: called with each run that has ended with a status, those of earlier included.
    """
    states = {spec: spec.folder(runs).status for spec in specs}
    # A finished run needs no process, which would take seconds to import torch.
    ended = {s: Outcome(s, state) for s, state in states.items() if state is not Status.INCOMPLETE}
    for spec in ended:
        finished(spec)
    waiting = [spec for spec in specs if spec not in ended]
    running: dict[RunSpec, _Worker] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, jobs):
                spec = waiting.pop(0)
                running[spec] = _start(spec, runs, plugins)
            for spec, worker in list(running.items()):
                if worker.process.poll() is not None:
                    ended[spec] = _outcome(spec, runs, worker)
                    del running[spec]
                    if ended[spec].status is not Status.INCOMPLETE:
                        finished(spec)
            watch(list(running))
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        for worker in running.values():
            worker.process.kill()
            worker.process.wait()
    return [ended[spec] for spec in specs]


def _start(spec: RunSpec, runs: Path, plugins: Sequence[str]) -> _Worker:
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
    errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.launch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code says so
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()  # and left open: its end is how the worker learns of ours
    return _Worker(process, errors)


def _outcome(spec: RunSpec, runs: Path, worker: _Worker) -> Outcome:
    process = worker.process
    worker.errors.seek(0)
    lines = worker.errors.read().decode(errors="replace").strip().splitlines()
    worker.errors.close()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
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
        print(one_line(error), file=sys.stderr)
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
