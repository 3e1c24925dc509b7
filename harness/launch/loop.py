"""All runs of a sweep, a few at a time, wherever they are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.launch.local import LocalPool
from harness.launch.process import Ending, Task, task_of
from harness.store import Status

if TYPE_CHECKING:
    from harness.run import RunSpec

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its status, or the error that stopped it (the run stays incomplete)."""

    spec: RunSpec
    status: Status
    error: str = ""
    exit_code: int = 0


class Pool(Protocol):
    """Where runs are done. A run goes by the name of its folder."""

    def slots(self, jobs: int) -> int:
        """How many runs go side by side: ``jobs``, or for 0 as many as there is room for."""
        ...

    def start(self, name: str, task: Task) -> None:
        """Begin with a run."""
        ...

    def ended(self) -> dict[str, Ending]:
        """The runs that have ended since this was last asked."""
        ...

    def stop(self) -> None:
        """End all runs in progress; their folders can be resumed."""
        ...


def launch(
    specs: Sequence[RunSpec],
    runs: Path,
    *,
    jobs: int,
    plugins: Sequence[str] = (),
    watch: Callable[[Sequence[RunSpec]], None] = lambda running: None,
    finished: Callable[[RunSpec], None] = lambda spec: None,
    pool: Pool | None = None,
) -> list[Outcome]:
    """Do all runs, ``jobs`` at a time; one that fails doesn't stop the others.

    Args:
        watch: called about twice a second with the runs in progress.
        finished: called with each run that has ended with a status, those of earlier included.
        pool: where to do them; default: here.
    """
    pool = pool or LocalPool()
    states = {spec: spec.folder(runs).status for spec in specs}
    # A finished run needs no process, which would take seconds to import torch.
    ended = {s: Outcome(s, state) for s, state in states.items() if state is not Status.INCOMPLETE}
    for spec in ended:
        finished(spec)
    waiting = [spec for spec in specs if spec not in ended]
    running: dict[str, RunSpec] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, pool.slots(jobs)):
                spec = waiting.pop(0)
                name = spec.folder(runs).path.name
                running[name] = spec
                pool.start(name, task_of(spec, runs, plugins))
            for name, ending in pool.ended().items():
                spec = running.pop(name)
                status = spec.folder(runs).status
                ended[spec] = Outcome(spec, status, ending.error, ending.code)
                if status is not Status.INCOMPLETE:
                    finished(spec)
            watch(list(running.values()))
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        pool.stop()
    return [ended[spec] for spec in specs]
