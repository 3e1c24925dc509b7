"""A sweep in progress on the terminal, from the runs' own events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from harness.cli.table import LiveTable, Overall, sweep_table
from harness.run import RunSpec
from harness.store import Status
from harness.tracking import Plan, RunProgress, RunView, number, read_object, view

_DRAW_SECONDS = 1.0
"""The runs have better uses for the processor than a table drawn more often."""


class SweepProgress:
    """The table of a sweep, redrawn in place; a line per finished run without a terminal."""

    def __init__(
        self, specs: Sequence[RunSpec], runs: Path, jobs: int = 1, console: Console | None = None
    ) -> None:
        self.console = console or Console(stderr=True)
        self.runs = {spec: SweepRun(spec, runs) for spec in specs}
        self._jobs = jobs
        self._live = LiveTable(self.console)
        self._drawn: float | None = None

    def __enter__(self) -> SweepProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn is not None:
            self._live.draw(self.table())
        self._live.__exit__(*error)

    def update(self, running: Sequence[RunSpec]) -> None:
        """Look at the runs again, and show them."""
        now_running = set(running)
        for spec, run in self.runs.items():
            if run.look(spec in now_running) and not self.console.is_terminal:
                line = f"{spec.method} seed {spec.seed}: {run.state}"
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        now = time.monotonic()
        due = self._drawn is None or now - self._drawn >= _DRAW_SECONDS
        if due and self.console.is_terminal:
            self._drawn = now
            self._live.draw(self.table())

    def table(self, now: float | None = None) -> RenderableType:
        """What is known, as a table."""
        took = [run.took for run in self.runs.values() if run.took is not None]
        typical = sum(took) / len(took) if took else None
        views = [run.view(typical, now) for run in self.runs.values()]
        overall = Overall.of(views, self._jobs, typical or _projected(views))
        return sweep_table(views, overall, self.console, now)


class SweepRun:
    """One run of a sweep: its folder is looked at while it runs and when it has ended."""

    def __init__(self, spec: RunSpec, runs: Path) -> None:
        self.spec = spec
        self.folder = spec.folder(runs)
        self.state = "unknown"
        self.took: float | None = None
        """Seconds, of a run that has ended."""
        self._plan = Plan(spec.config.iterations, spec.config.evaluation.every)
        self._progress = RunProgress(self.folder.path)
        self._ended: RunView | None = None

    def look(self, running: bool) -> bool:
        """Read what is new; whether it has just been found to have ended with a status."""
        if running:
            self.state = "running"
            self._progress.refresh()
            return False
        if self.state not in ("unknown", "waiting", "running"):
            return False
        was_running = self.state == "running"
        status = self.folder.status
        self.state = str(status)
        if status is Status.INCOMPLETE:
            self.state = "error" if was_running else "waiting"
            return False
        self._progress.refresh(ended=True)
        self.took = number(read_object(self.folder.cost_path).get("wall_seconds"))
        return True

    def view(self, typical: float | None, now: float | None) -> RunView:
        """Its line of the table."""
        if self._ended is not None:
            return self._ended
        made = self._view(typical, now)
        if self.took is not None:
            self._ended = replace(made, seconds=self.took)
            return self._ended
        return made

    def _view(self, typical: float | None, now: float | None) -> RunView:
        about: dict[str, Any] = {"method": self.spec.method, "seed": self.spec.seed}
        return view(self._progress, self._plan, **about, state=self.state, typical=typical, now=now)


def _projected(views: Sequence[RunView]) -> float | None:
    """Seconds of a run before any has ended, from those in progress."""
    known = [view.seconds + view.left for view in views if view.left is not None]
    return sum(known) / len(known) if known else None
