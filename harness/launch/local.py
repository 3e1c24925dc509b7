"""Runs as local processes, a few side by side; each has its own torch threads and its own GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.launch.process import Ending, RunProcess, Task


class LocalPool:
    """Processes of this machine.

    Args:
        threads: of one run; as many runs as have a core each go side by side by default.
        gpus_each: GPUs of one run.
        gpus: those that there are, as CUDA_VISIBLE_DEVICES names them; none: nothing is shared out.
    """

    def __init__(self, threads: int = 1, gpus_each: int = 0, gpus: Sequence[str] = ()) -> None:
        self._threads = threads
        self._each = min(gpus_each, len(gpus))
        self._most = len(gpus) // self._each if self._each else None
        self._free = list(gpus)
        self._taken: dict[str, list[str]] = {}
        self._running: dict[str, RunProcess] = {}

    def slots(self, jobs: int) -> int:
        """As many as asked for, else one per core; and no more than have their GPUs."""
        wanted = jobs or max(1, (os.cpu_count() or 1) // self._threads)
        return wanted if self._most is None else min(wanted, self._most)

    def start(self, name: str, task: Task) -> None:
        """Start a process."""
        variables = {}
        if self._each:
            self._taken[name], self._free = self._free[: self._each], self._free[self._each :]
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self._taken[name])
        self._running[name] = RunProcess(task, variables=variables)

    def ended(self) -> dict[str, Ending]:
        """Those that have gone."""
        found = {n: ending for n, p in self._running.items() if (ending := p.poll()) is not None}
        for name in found:
            del self._running[name]
            self._free += self._taken.pop(name, [])
        return found

    def stop(self) -> None:
        """Kill all."""
        for process in self._running.values():
            process.kill()
        self._running.clear()
