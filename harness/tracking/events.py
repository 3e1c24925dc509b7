"""Reading a run's ``events.jsonl`` while it grows, whatever is in it."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.store import Status

Event = dict[str, Any]
_MOST_BYTES_AT_ONCE = 8 * 2**20
_LONGEST_LINE = 2**20
_LARGEST_DOCUMENT = 2**24
_LARGEST_COUNT = 10**9
_LONGEST_NAME = 200


class EventReader:
    """The events of one file, each handed out once.

    Only what was appended since the last call is read. Lines that are no events are skipped; the
    last one waits until it is whole. A file that was replaced or cut is read from its start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._rest = b""
        self._identity: tuple[int, int] | None = None

    def new(self) -> list[Event]:
        """The events since the last call; none where there is no such file."""
        found: list[Event] = []
        while data := self._read():
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                self._rest = b"-"  # no event; what follows up to the line's end isn't one either
            events = (_event(line) for line in lines if len(line) <= _LONGEST_LINE)
            found += [event for event in events if event is not None]
        return found

    def _read(self) -> bytes:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                return b""
            identity = (about.st_dev, about.st_ino)
            if identity != self._identity or about.st_size < self.offset:
                self._identity, self.offset, self._rest = identity, 0, b""
            data = os.pread(handle, _MOST_BYTES_AT_ONCE, self.offset)
        except OSError:
            return b""
        finally:
            os.close(handle)
        self.offset += len(data)
        return data


@dataclass(frozen=True)
class Scalars:
    """Finite scalars of one iteration, or of one training step of a role.

    Attributes:
        x: the iteration (0: the base model), or the role's step counted over all iterations.
        time: when they were written, in seconds since 1970.
    """

    kind: Literal["metrics", "steps"]
    x: int
    values: Mapping[str, float]
    iteration: int
    role: str = ""
    time: float = 0.0


def scalars(event: Event) -> Scalars | None:
    """What an event says in numbers: of ``metrics`` and ``step_end``; None for any other."""
    kind, iteration = event.get("event"), count(event.get("iteration"))
    values = event.get("metrics")
    if iteration is None or not isinstance(values, dict):
        return None
    named = {k: x for k, x in values.items() if k.isprintable() and len(k) <= _LONGEST_NAME}
    numbers = {k: v for k, x in named.items() if (v := number(x)) is not None}
    time = number(event.get("time")) or 0.0
    if kind == "metrics":
        return Scalars("metrics", iteration, numbers, iteration, time=time)
    x, role = count(event.get("global_step")), event.get("role")
    if kind == "step_end" and x is not None and role in ("proposer", "solver"):
        return Scalars("steps", x, numbers, iteration, role, time)
    return None


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer that no float holds
        return None


def count(value: object) -> int | None:
    """A whole number from 0 to 10^9, or None."""
    known = number(value)
    return int(known) if known is not None and 0 <= known <= _LARGEST_COUNT else None


def printable(text: object, most: int = _LONGEST_NAME) -> str:
    """A text for a terminal or a tracker: nothing that moves a cursor, at most so long."""
    clean = "".join(c if c.isprintable() else "?" for c in str(text)[: most + 1])
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file that may be missing, half-written or anything else: then empty."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return {}
        data = os.pread(handle, _LARGEST_DOCUMENT, 0)
    except OSError:
        return {}
    finally:
        os.close(handle)
    return _event(data) or {}


def read_status(folder: Path) -> Status:
    """How a run ended, as far as its record can be read; ``incomplete`` otherwise."""
    try:
        return Status(read_object(folder / "done.json").get("status", Status.INCOMPLETE))
    except ValueError:
        return Status.INCOMPLETE


def _event(line: bytes) -> Event | None:
    if not line.strip():
        return None
    try:
        value = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
