"""Peak memory of a function, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

_Prepare = Callable[..., Callable[[], Any]]


def peak_mb(prepare: _Prepare, *arguments: Any) -> float:
    """MB (on a GPU: its own) that ``prepare(*arguments)()`` takes beyond the peak of ``prepare``.

    Args:
        prepare: a function of a module; makes the inputs and returns the function to measure.
        arguments: what it is called with; picklable.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(theirs, prepare, arguments))
    process.start()
    theirs.close()
    try:
        found: float = ours.recv()
    except EOFError as error:
        raise RuntimeError("the process that measures memory died; see its message") from error
    finally:
        process.join()
    return found


def _measure(pipe: Connection, prepare: _Prepare, arguments: tuple[Any, ...]) -> None:
    run = prepare(*arguments)
    before = _peak()
    kept = run()
    pipe.send(_peak() - before)
    del kept


def _peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage's begins at the
    return int(status.split("VmHWM:")[1].split()[0]) / 1024  # parent's peak
