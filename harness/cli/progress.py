"""Progress bars of a sweep, with an estimate, read from the runs' own events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.launch.progress import fraction_done
from harness.run import RunSpec
from harness.store import Status


class SweepProgress:
    """One bar for the sweep and one for each run in progress; plain lines without a terminal."""

    def __init__(self, specs: Sequence[RunSpec], runs: Path) -> None:
        self.specs, self.runs = list(specs), runs
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            refresh_per_second=2,
        )
        self.all = self.progress.add_task("all runs", total=float(len(self.specs)), note="")
        self.bars: dict[RunSpec, TaskID] = {}
        self.said: set[RunSpec] = set()

    def __enter__(self) -> SweepProgress:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def update(self, running: Sequence[RunSpec]) -> None:
        """Refresh from the run folders."""
        done = 0.0
        for spec in self.specs:
            folder = spec.folder(self.runs)
            if spec in running:
                share, note = fraction_done(folder, spec.config)
                if spec not in self.bars:
                    name = f"{spec.method} seed {spec.seed}"
                    self.bars[spec] = self.progress.add_task(name, total=1.0, note="")
                self.progress.update(self.bars[spec], completed=share, note=note)
                done += share
                continue
            if spec in self.bars:
                self.progress.remove_task(self.bars.pop(spec))
            if folder.status is not Status.INCOMPLETE:
                done += 1.0
                if not self.console.is_terminal and spec not in self.said:
                    self.said.add(spec)
                    self.console.print(f"{spec.method} seed {spec.seed}: {folder.status}")
        ended = sum(s.folder(self.runs).status is not Status.INCOMPLETE for s in self.specs)
        self.progress.update(self.all, completed=done, note=f"{ended}/{len(self.specs)} done")
