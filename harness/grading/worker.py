"""A grading worker: reads JSON lines from stdin, answers each with one line on stdout.

Run as ``python -P -m harness.grading.worker MEMORY_BYTES ALARM_SECONDS`` by ``pool.Grader``. Job:
``[op, first, second, rel_tol, abs_tol]`` with op ``grade`` (first is gold), ``same`` or ``probe``.
Answer: ``yes``, ``no`` or ``memory``. It ends when stdin closes, which happens when the parent ends
by any means.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

from harness.grading.equivalence import graded_equal, readable, same_answer


def _answer(op: str, first: str, second: str, rel_tol: float, abs_tol: float) -> str:
    try:
        if op == "grade":
            equal = graded_equal(gold=first, pred=second, rel_tol=rel_tol, abs_tol=abs_tol)
        elif op == "same":
            equal = same_answer(first, second)
        else:
            equal = readable(first)
    except MemoryError:
        return "memory"
    return "yes" if equal else "no"


def main(memory_bytes: int, alarm_s: float) -> None:
    """Serve jobs until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library's print must not become a reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    graded_equal(gold="x+1", pred="1+x")  # imports and grammar tables, before the limit
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(limit)
        soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(limit, (soft, soft))
    print("ready", file=replies)
    for line in sys.stdin:
        job = json.loads(line)
        # A kernel timer ends a hung worker whose parent died; the parent's deadline comes sooner.
        signal.setitimer(signal.ITIMER_REAL, alarm_s)
        reply = _answer(*job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(reply, file=replies)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
