"""One run is one folder; `docs/design.md` lists what is in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RunLockedError
from harness.store.files import read_json
from harness.store.records import DONE, MANIFEST, check_version, write_record

_MUST_AGREE = {
    "method": "method",
    "seed": "seed",
    "config_hash": "configuration",
    "base_model_hash": "base model",
    "data_hashes": "set of evaluation items",
    "engine": "engine, or version or precision of it,",
    "plugin_hash": "version of the method's file",
}
"""Fields of the manifest in which a run and what is resumed in its folder must not differ."""


class Status(StrEnum):
    """How a run stands. All but ``incomplete`` are final and go into every table."""

    COMPLETED = "completed"
    CURRICULUM_EXHAUSTED = "curriculum_exhausted"
    DIVERGED = "diverged"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


def config_hash(resolved: dict[str, Any]) -> str:
    """sha256 of a resolved configuration, as 12 hexadecimal digits."""
    text = json.dumps(resolved, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path, leave_out: Collection[str] = ()) -> str:
    """sha256 of a file, or of all files of a folder with their names (first 16 digits).

    Args:
        leave_out: names of files that don't count.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    files = [file for file in files if file.name not in leave_out]
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class RunFolder:
    """Paths, status and lock of ``runs/<method>-<profile>-s<seed>-<hash>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def named(cls, runs: Path, method: str, profile: str, seed: int, digest: str) -> RunFolder:
        """The folder of a run under ``runs``."""
        plain = method.replace(":", "-")
        safe = re.sub(r"[^A-Za-z0-9_.+=,-]", "_", plain)[:80]
        if safe != plain:  # what the name can't hold must not make two entries one folder
            safe = f"{safe}-{hashlib.sha256(method.encode()).hexdigest()[:8]}"
        return cls(runs / f"{safe}-{profile}-s{seed}-{digest[:8]}")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def done_path(self) -> Path:
        return self.path / "done.json"

    @property
    def cost_path(self) -> Path:
        return self.path / "cost.json"

    def iteration(self, t: int) -> Path:
        """Folder of iteration ``t`` (1-based)."""
        return self.path / "iterations" / f"{t:02d}"

    def evaluation(self, t: int) -> Path:
        """Item-level evaluation after iteration ``t``; 0 is the base model."""
        return self.path / "eval" / f"{t:02d}.parquet"

    def evaluations(self) -> dict[int, Path]:
        """The item-level evaluations that are there, by iteration, in order."""
        names = {p.stem: p for p in (self.path / "eval").glob("*.parquet")}
        found = {int(stem): p for stem, p in names.items() if re.fullmatch("[0-9]{2,6}", stem)}
        return dict(sorted(found.items()))

    @property
    def status(self) -> Status:
        """The recorded status; a folder without ``done.json`` is incomplete."""
        if not self.done_path.exists():
            return Status.INCOMPLETE
        try:
            return Status(read_json(self.done_path)["status"])
        except (KeyError, TypeError, ValueError):
            raise HarnessError(
                f"{self.done_path}: no valid status; remove it and run the same command again"
            ) from None

    def open(self, manifest: dict[str, Any]) -> None:
        """Create the folder, or check that an existing one was made by the same configuration.

        Raises:
            HarnessError: the folder belongs to another method, configuration or base model.
        """
        if self.manifest_path.exists():
            existing = read_json(self.manifest_path)
            existing = existing if isinstance(existing, dict) else {}
            if "schema" in existing:
                check_version(self.manifest_path, existing["schema"])
            for key, what in _MUST_AGREE.items():
                if existing.get(key) != manifest.get(key):
                    raise HarnessError(
                        f"{self.path}: made with another {what}; choose another --runs folder, "
                        "or remove this one"
                    )
            return
        write_record(self.manifest_path, manifest, MANIFEST)

    def finish(self, status: Status, iterations: int, detail: str = "") -> None:
        """Record the final status."""
        record = {"status": str(status), "iterations": iterations, "detail": detail}
        write_record(self.done_path, record, DONE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock; the system frees it when the process dies, however it dies.

        Raises:
            RunLockedError: another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = open(self.path / "lock", "a+")  # noqa: SIM115  (held until the block ends)
        except OSError as error:
            raise HarnessError(
                f"cannot write {self.path}: {error.strerror}; choose a writable --runs folder"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip() or "another process"
                raise RunLockedError(
                    f"{self.path}: in use by {owner}; wait for it or stop it first"
                ) from None
            handle.truncate(0)
            handle.write(f"process {os.getpid()}")
            handle.flush()
            yield
        finally:
            handle.close()

    def in_use(self) -> bool:
        """Whether a process holds the run's lock; where locks can't be asked for, it doesn't."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def event(self, kind: str, **fields: Any) -> None:
        """Append a line to ``events.jsonl`` (progress and timings; not a result)."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, sort_keys=True)
        try:
            with open(self.path / "events.jsonl", "a+b") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                # A kill may have cut the last line: what follows must not be lost with it.
                torn = b"\n" if end and file.read(1) != b"\n" else b""
                file.write(torn + line.encode() + b"\n")
        except OSError as error:
            raise HarnessError(
                f"cannot write {self.path}/events.jsonl: {error.strerror}; free space, then run "
                "the same command again"
            ) from error

    def events(self) -> list[dict[str, Any]]:
        """The events so far; a line cut by a kill is skipped."""
        path = self.path / "events.jsonl"
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [e for e in found if isinstance(e, dict)]

    def restart(self) -> None:
        """Drop all that an unfinished run has made, its manifest first."""
        self.manifest_path.unlink(missing_ok=True)
        self.discard("iterations")
        self.discard("eval")

    def discard(self, *parts: str) -> None:
        """Remove a sub-folder, if present."""
        shutil.rmtree(self.path.joinpath(*parts), ignore_errors=True)


def phase_seconds(events: Iterable[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Seconds of wall clock by iteration and phase, of all executions of a run together."""
    found: dict[int, dict[str, float]] = {}
    for event in events:
        if event.get("event") != "phase_end":
            continue
        t, name, seconds = (event.get(key) for key in ("iteration", "phase", "seconds"))
        if not (isinstance(t, int) and isinstance(name, str) and isinstance(seconds, int | float)):
            continue  # somebody else's line
        if math.isfinite(seconds) and seconds >= 0:
            of = found.setdefault(t, {})
            of[name] = round(of.get(name, 0.0) + seconds, 3)
    return found
