"""Runs as local processes, a few side by side; each has its own torch threads."""

from __future__ import annotations

import os

from harness.launch.process import Ending, RunProcess, Task


class LocalPool:
    """Processes of this machine.

    Args:
        threads: of one run; as many runs as have a core each go side by side by default.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._running: dict[str, RunProcess] = {}

    def slots(self, jobs: int) -> int:
        """As many as asked for, else one per core."""
        return jobs or max(1, (os.cpu_count() or 1) // self._threads)

    def start(self, name: str, task: Task) -> None:
        """Start a process."""
        self._running[name] = RunProcess(task)

    def ended(self) -> dict[str, Ending]:
        """Those that have gone."""
        found = {n: ending for n, p in self._running.items() if (ending := p.poll()) is not None}
        for name in found:
            del self._running[name]
        return found

    def stop(self) -> None:
        """Kill all."""
        for process in self._running.values():
            process.kill()
        self._running.clear()
