"""A run in a process of its own: what it is told, and how it ended.

The process reads its task from standard input and watches that pipe: when whoever started it dies,
however that dies, the pipe closes and the process stops, so the same run can be given again at
once. Imports nothing heavy: a Ray worker, which only waits, imports this module.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.run import RunSpec

LOCK_PATIENCE_SECONDS = 5.0
"""A process whose launcher was just killed may take a moment to go, and holds its run's lock."""


class Task(TypedDict):
    """One run, as JSON values. Paths are absolute."""

    method: str
    seed: int
    config: dict[str, object]
    passed: list[str]
    runs: str
    plugins: list[str]
    patience: float
    """Seconds for which to wait for the run's lock."""


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code, and the last thing it said if that isn't 0."""

    code: int
    error: str = ""


def task_of(
    spec: RunSpec, runs: Path, plugins: Sequence[str], patience: float = LOCK_PATIENCE_SECONDS
) -> Task:
    """What a process has to know of a run."""
    return {
        "method": spec.method,
        "seed": spec.seed,
        "config": spec.config.model_dump(mode="json"),
        "passed": list(spec.passed),
        "runs": str(runs.absolute()),
        "plugins": [str(Path(p).resolve()) for p in plugins],
        "patience": patience,
    }


class RunProcess:
    """The process of one run; what it says on standard error goes to a file, never fills up."""

    def __init__(
        self,
        task: Task,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            folder: where it runs; default: here.
            variables: of its environment, beside those of this process.
        """
        threads = str(task["config"]["threads"])
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            **(variables or {}),
        }
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the end)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.launch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment,
            cwd=folder,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code says so
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()  # and left open: its end is how the process learns of ours

    def poll(self) -> Ending | None:
        """How it ended; None while it goes on. To be asked no more once it has answered."""
        return None if self._process.poll() is None else self._ending()

    def wait(self) -> Ending:
        """How it ended, once it has."""
        self._process.wait()
        return self._ending()

    def kill(self) -> None:
        """End it now; what it has done stays in the run's folder."""
        self._process.kill()
        self.wait()

    def _ending(self) -> Ending:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.returncode
        if code == 0:
            return Ending(0)
        return Ending(code, lines[-1] if lines else f"ended by signal {-code}")
