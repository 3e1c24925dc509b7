"""A folder of runs watched from outside: another terminal, another machine, afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.cli.table import LiveTable, Overall, sweep_table
from harness.errors import HarnessError
from harness.store import RunFolder, Status
from harness.tracking import (
    FOLDER,
    Plan,
    RunProgress,
    RunView,
    Tracking,
    count,
    mirror,
    number,
    printable,
    read_object,
    read_status,
    trackers,
    view,
)

REFRESH_SECONDS = 2.0
_MARKS = ("manifest.json", "events.jsonl", "lock")
"""A folder with one of these is a run's."""


def watch(
    runs: Path, *, once: bool, as_json: bool, log: Sequence[str] | None, log_dir: Path | None
) -> int:
    """Show the runs of a folder until stopped, or until all have ended; ``once``: as they are.

    Raises:
        HarnessError: no such folder, or a tracker that can't be used.
    """
    if not runs.is_dir():
        raise HarnessError(f"{runs}: no such folder; give --runs DIR")
    chosen = trackers(log)
    log_dir = log_dir or runs / FOLDER
    watcher = Watcher(runs)
    console = Console()
    if once or as_json:
        mirror(run_folders(runs), chosen, log_dir)
        views = watcher.look()
        print(document(views)) if as_json else _print(views, console)
        return 0
    try:
        with (
            LiveTable(console) as live,
            Tracking(chosen, log_dir, lambda: list(run_folders(runs))),
        ):
            _follow(watcher, live)
    except KeyboardInterrupt:  # the way out, as there is no other
        pass
    return 0


def _follow(watcher: Watcher, live: LiveTable) -> None:
    said: set[str] = set()
    while True:
        views = watcher.look()
        if live.console.is_terminal:
            live.draw(sweep_table(views, Overall.of(views, 0, None), live.console))
        for one in views:
            line = f"{printable(one.method)} seed {one.seed}: {one.state}"
            if one.ended is not None and not live.console.is_terminal and one.run not in said:
                live.console.print(line, markup=False, highlight=False, soft_wrap=True)
                said.add(one.run)
        if views and not any(one.state in ("running", "interrupted") for one in views):
            return
        time.sleep(REFRESH_SECONDS)


def _print(views: Sequence[RunView], console: Console) -> None:
    if not views:
        console.print("no runs here yet")
        return
    # All of them: what doesn't fit a screen can be scrolled.
    high = Console(width=console.width, height=len(views) * 4 + 20, file=console.file)
    high.print(sweep_table(views, Overall.of(views, 0, None), high, recent=None))


def document(views: Sequence[RunView]) -> str:
    """The runs as JSON: ``runs`` with all that the table shows, ``counts`` by state, ``left``."""
    overall = Overall.of(views, 0, None)
    rows = [
        {
            **asdict(one),
            "diversity": dict([one.diversity]) if one.diversity else {},
            "method": printable(one.method),
            "run": printable(one.run),
        }
        for one in views
    ]
    made = {"runs": rows, "counts": overall.counts, "left": overall.left}
    return json.dumps(made, indent=1, allow_nan=False)


class Watcher:
    """The runs of a folder, whatever is in it, each read again at the price of what is new."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._known: dict[str, _Run] = {}

    def look(self, now: float | None = None) -> list[RunView]:
        """Every run's line, sorted by folder; those that vanished are left out."""
        now = time.time() if now is None else now
        there = {folder.name: folder for folder in run_folders(self.runs)}
        self._known = {
            name: self._known.get(name) or _Run(folder) for name, folder in there.items()
        }
        for run in self._known.values():
            run.look()
        took: dict[str, list[float]] = {}
        for run in self._known.values():
            if run.took is not None:
                took.setdefault(run.digest, []).append(run.took)
        typical = {digest: sum(values) / len(values) for digest, values in took.items()}
        return [run.view(typical.get(run.digest), now) for run in self._known.values()]


class _Run:
    """One folder that looks like a run's."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self.digest = ""
        self.took: float | None = None
        self._manifest: dict[str, Any] = {}
        self._progress = RunProgress(path)
        self._state = "interrupted"
        self._ended: RunView | None = None

    def look(self) -> None:
        if self._ended is not None and os.path.exists(self.folder.path / "done.json"):
            return
        self._ended = None
        self._manifest = self._manifest or read_object(self.folder.manifest_path)
        self.digest = str(self._manifest.get("config_hash"))
        self._state = self._look_state()
        ended = self._state not in ("running", "interrupted")
        self._progress.refresh(ended=ended)
        if ended:
            self.took = number(read_object(self.folder.cost_path).get("wall_seconds"))

    def _look_state(self) -> str:
        status = read_status(self.folder.path)
        if status is not Status.INCOMPLETE:
            return str(status)
        return "running" if self.folder.in_use() else "interrupted"

    def view(self, typical: float | None, now: float) -> RunView:
        if self._ended is not None:
            return self._ended
        said = self._manifest.get("method")
        made = view(
            self._progress,
            Plan.of(self._manifest),
            method=said if isinstance(said, str) else self.folder.path.name,
            seed=count(self._manifest.get("seed")),
            state=self._state,
            typical=typical,
            now=now,
        )
        if self._state not in ("running", "interrupted"):
            took = made.seconds if self.took is None else self.took
            self._ended = made = replace(made, seconds=took, ended=made.ended or 0.0)
        return made


def run_folders(runs: Path) -> Iterator[Path]:
    """The folders that look like runs', sorted by name; none where the folder went away."""
    try:
        entries = sorted(runs.iterdir())
    except OSError:
        return
    for path in entries:
        marked = any(os.path.exists(path / mark) for mark in _MARKS)
        if marked and not path.name.startswith("."):
            yield path
