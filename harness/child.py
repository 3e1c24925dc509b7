"""A Python process of our own that answers requests over its pipes.

Used where a part can't live in this process: a library in an environment of its own, the shards of
a model. A request and its answer are one frame each: a JSON record and named tensors (safetensors),
so nothing that is received can run code. A child that its parent leaves behind, however that dies,
reads the end of its standard input and goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

from safetensors.torch import load, save
from torch import Tensor

from harness.errors import HarnessError, one_line

Record = dict[str, Any]
Frame = tuple[Record, dict[str, Tensor]]
Handler = Callable[[Record, dict[str, Tensor]], Frame | None]

_SIZES = struct.Struct("<QQ")
_ROOT = Path(__file__).resolve().parents[1]
_GRACE_SECONDS = 20.0
"""What a child gets to go by itself."""


class ChildError(HarnessError):
    """The child is well, but could not do what was asked; it says why."""


class ChildDiedError(HarnessError):
    """The child is gone, or has been silent for too long and was killed."""


class Child:
    """A running child process.

    Args:
        module: run as ``python -m module``; it calls `serve`.
        name: what errors call it.
        python: its interpreter; by default this one.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        module: str,
        *,
        name: str,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        inherited = os.environ.get("PYTHONPATH")
        path = str(_ROOT) + (os.pathsep + inherited if inherited else "")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the child)
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            )
        except OSError as error:
            self._errors.close()
            raise HarnessError(f"{name}: can't run {python}: {error.strerror}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(
        self,
        command: str,
        record: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        timeout_s: float = 600.0,
    ) -> Frame:
        """`send`, then `receive`."""
        self.send(command, record, tensors)
        return self.receive(timeout_s)

    def send(
        self,
        command: str,
        record: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Ask for something.

        Raises:
            ChildDiedError: the child is gone.
        """
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, {"command": command, "record": dict(record or {})}, tensors)
        except OSError as error:
            raise self._dead() from error

    def receive(self, timeout_s: float = 600.0) -> Frame:
        """The answer to what was asked.

        Raises:
            ChildError: the child says that it can't.
            ChildDiedError: it is gone, or silent for ``timeout_s`` seconds.
        """
        assert self._process.stdout is not None
        try:
            frame = _read(self._process.stdout, time.monotonic() + timeout_s)
        except TimeoutError:
            self._process.kill()
            raise self._dead(f"no answer in {timeout_s:.0f} s") from None
        if frame is None:
            raise self._dead()
        record, tensors = frame
        if "error" in record:
            raise ChildError(f"{self.name}: {record['error']}")
        return record, tensors

    def kill(self) -> None:
        """End it at once; further requests raise `ChildDiedError`."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it go; one that doesn't is killed. May be called twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._errors.close()

    def said(self) -> str:
        """The last line on its standard error."""
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return one_line(lines[-1]) if lines else ""

    def _dead(self, reason: str = "") -> ChildDiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        code = self._process.poll()
        if not reason:
            ended = code is not None and code < 0
            reason = f"ended by signal {-(code or 0)}" if ended else f"ended with code {code}"
        last = self.said()
        return ChildDiedError(f"{self.name}: {reason}" + (f" ({last})" if last else ""))


def serve(handlers: Mapping[str, Handler]) -> int:
    """The child's side: answer requests until the pipe ends. Returns the exit code.

    What a library prints goes to standard error; the pipe carries frames alone.
    """
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (frame := _read(source)) is not None:
        asked, tensors = frame
        try:
            handler = handlers.get(asked["command"])
            if handler is None:
                raise HarnessError(f"unknown command {asked['command']!r}")
            record, answer = handler(asked["record"], tensors) or ({}, {})
        except HarnessError as error:
            record, answer = {"error": one_line(error)}, {}
        except Exception as error:
            traceback.print_exc()
            record, answer = {"error": one_line(f"{type(error).__name__}: {error}")}, {}
        try:
            _write(sink, record, answer)
        except OSError:  # nobody listens any more
            break
    return 0


def _write(
    pipe: IO[bytes] | BinaryIO, record: Mapping[str, Any], tensors: Mapping[str, Tensor] | None
) -> None:
    text = json.dumps(record).encode()
    blob = save({k: v.detach().cpu().contiguous() for k, v in (tensors or {}).items()})
    pipe.write(_SIZES.pack(len(text), len(blob)) + text)
    pipe.write(blob)
    pipe.flush()


def _read(pipe: IO[bytes] | BinaryIO, until: float | None = None) -> Frame | None:
    """One frame; None at the end of the pipe.

    Raises:
        TimeoutError: it isn't whole at the monotonic time ``until``.
    """
    head = _exactly(pipe, _SIZES.size, until)
    if head is None:
        return None
    sizes = _SIZES.unpack(head)
    text, blob = _exactly(pipe, sizes[0], until), _exactly(pipe, sizes[1], until)
    if text is None or blob is None:
        return None
    return json.loads(text), load(blob)


def _exactly(pipe: IO[bytes] | BinaryIO, size: int, until: float | None) -> bytes | None:
    """``size`` bytes, read past any buffer so that `select` sees what there is."""
    parts: list[bytes] = []
    while size:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise TimeoutError
        part = os.read(pipe.fileno(), min(size, 2**24))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
