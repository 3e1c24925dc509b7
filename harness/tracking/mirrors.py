"""Runs' events told to experiment trackers, which may fail without harm to any run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from harness.errors import one_line
from harness.store import Status, write_bytes
from harness.tracking.events import Scalars, printable, read_object, read_status
from harness.tracking.progress import RunProgress
from harness.tracking.writers import RunInfo, Tracker, Writer, tags

P = ParamSpec("P")
T = TypeVar("T")
FOLDER = ".tracking"
"""Folder of the trackers' files in the folder of the runs, unless told otherwise."""
POLL_SECONDS = 1.0
STALL_SECONDS = 40.0
"""How long the end of a command waits for trackers that make no progress."""


class Mirror:
    """Tells trackers what the runs of some folders have measured so far.

    Args:
        chosen: the trackers.
        log_dir: their files, by tracker, and which finished runs they have.
        warn: told once, in one line, when a tracker fails; it isn't used any more then.
    """

    def __init__(
        self, chosen: Sequence[Tracker], log_dir: Path, warn: Callable[[str], None]
    ) -> None:
        self.log_dir = log_dir
        self.trackers = {tracker.name: tracker for tracker in chosen}
        self.told = 0
        """Scalars and runs told so far: whether it gets anywhere."""
        self._warn = warn
        self._runs: dict[Path, _MirroredRun] = {}
        self._finished: set[Path] = set()

    def poll(self, folders: Iterable[Path]) -> None:
        """Tell what is new; those in progress first."""
        waiting = [folder for folder in folders if folder not in self._finished]
        for folder in sorted(waiting, key=lambda folder: os.path.exists(folder / "done.json")):
            if self.trackers:
                self._update(folder)

    def close(self) -> None:
        """Let go of the runs that haven't ended."""
        for folder, run in list(self._runs.items()):
            self._close(folder, run, Status.INCOMPLETE)

    def _update(self, folder: Path) -> None:
        status = read_status(folder)  # before the events: those that came first are all read then
        run = self._runs.get(folder) or self._open(folder, status)
        if run is None:
            return
        for known in run.new(ended=status is not Status.INCOMPLETE):
            for name, writer in run.writers.items():
                self._guard(name, writer.write, known)
            self.told += 1
        for name, writer in run.writers.items():
            self._guard(name, writer.flush)
        if status is not Status.INCOMPLETE:
            self._close(folder, run, status)

    def _open(self, folder: Path, status: Status) -> _MirroredRun | None:
        manifest = read_object(folder / "manifest.json")
        if not manifest:
            return None
        ended = status is not Status.INCOMPLETE
        wanted = [t for t in self.trackers.values() if not (ended and self._has(t.name, folder))]
        if not wanted:
            self._finished.add(folder)
            return None
        run = _MirroredRun(folder)
        method = printable(manifest.get("method", folder.name))
        about = RunInfo(folder.name, method, manifest)
        for tracker in wanted:
            writer = self._guard(tracker.name, tracker.open, about, self.log_dir / tracker.name)
            if writer is not None:
                run.writers[tracker.name] = writer
        self._runs[folder] = run
        return run

    def _close(self, folder: Path, run: _MirroredRun, status: Status) -> None:
        for name, writer in run.writers.items():
            self._guard(name, writer.close, str(status))
            if status is not Status.INCOMPLETE:
                self._guard(name, self._note, name, folder)
            self.told += 1
        del self._runs[folder]
        if status is not Status.INCOMPLETE:
            self._finished.add(folder)

    def _guard(
        self, name: str, work: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> T | None:
        """Do something with a tracker, unless it has failed before or fails now."""
        if name not in self.trackers:
            return None
        try:
            return work(*given, **named)
        except Exception as error:  # whatever its library raises: no run may suffer from it
            del self.trackers[name]
            reason = one_line(error)[:200] or type(error).__name__
            self._warn(
                f"warning: {name} failed and is left out from here on ({reason}); the runs go on, "
                f"and `python -m harness watch --once --log {name}` tells it the rest later"
            )
            return None

    def _has(self, name: str, folder: Path) -> bool:
        """Whether a tracker was told all of a finished run before."""
        path = self._note_path(name, folder)
        return path.is_file() and path.read_text().strip() == _size(folder)

    def _note(self, name: str, folder: Path) -> None:
        write_bytes(self._note_path(name, folder), _size(folder).encode())

    def _note_path(self, name: str, folder: Path) -> Path:
        return self.log_dir / "finished" / name / folder.name


class _MirroredRun:
    """A run's progress and what its trackers were told of it."""

    def __init__(self, folder: Path) -> None:
        self.progress = RunProgress(folder)
        self.writers: dict[str, Writer] = {}
        self._written: dict[tuple[str, int], float] = {}

    def new(self, *, ended: bool) -> list[Scalars]:
        """New scalars; those that a resumed run repeats are left out unless they differ."""
        found = []
        for known in self.progress.refresh(ended=ended):
            named = zip(known.values, tags(known).items(), strict=True)
            fresh = {name: x for name, (tag, x) in named if self._written.get((tag, known.x)) != x}
            self._written |= {(tag, known.x): x for tag, x in tags(known).items()}
            if fresh:
                found.append(
                    Scalars(known.kind, known.x, fresh, known.iteration, known.role, known.time)
                )
        return found


class Tracking:
    """A mirror in a thread, for as long as a command runs; nothing without trackers.

    Args:
        folders: the run folders to look at, asked anew every time.
        patience: seconds that the end waits for a tracker that doesn't answer.
    """

    def __init__(
        self,
        chosen: Sequence[Tracker],
        log_dir: Path,
        folders: Callable[[], Iterable[Path]],
        warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
        patience: float = STALL_SECONDS,
    ) -> None:
        self._mirror = Mirror(chosen, log_dir, warn)
        self._folders, self._warn, self._patience = folders, warn, patience
        self._stop = threading.Event()
        # A daemon: a tracker that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def __enter__(self) -> Tracking:
        if self._mirror.trackers:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._wait(self._patience if kind is None else self._patience / 4)

    def _wait(self, patience: float) -> None:
        """Until all is told, unless nothing has been told for a while."""
        told = -1
        while self._thread.is_alive() and told != self._mirror.told:
            told = self._mirror.told
            self._thread.join(patience)
        if self._thread.is_alive():
            names = ", ".join(self._mirror.trackers)
            self._warn(
                f"warning: {names} didn't answer for {patience:.0f} s; the rest is told by "
                f"`python -m harness watch --once --log {names.replace(' ', '')}`"
            )

    def _work(self) -> None:
        last = False
        try:
            while not last:
                last = self._stop.wait(POLL_SECONDS)
                self._mirror.poll(self._folders())
            self._mirror.close()
        except Exception as error:  # a folder that went away, say: no run may suffer from it
            self._warn(f"warning: trackers are told no more ({one_line(error)[:200]})")


def mirror(
    folders: Iterable[Path],
    chosen: Sequence[Tracker],
    log_dir: Path,
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """Tell trackers all that some runs have measured, finished or not, once."""
    made = Mirror(chosen, log_dir, warn)
    made.poll(folders)
    made.close()


def _size(folder: Path) -> str:
    try:
        return str((folder / "events.jsonl").stat().st_size)
    except OSError:
        return "0"
