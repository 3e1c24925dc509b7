"""A grading worker: reads JSON lines from stdin, answers each with one line on stdout.

Run as ``python -P -m harness.grading.worker MEMORY_BYTES ALARM_SECONDS`` by ``pool.Grader``. Job:
``[op, first, second]`` with op ``grade`` (first is gold), ``same`` or ``probe``. Answer: ``yes``,
``no`` or ``memory``. It ends when stdin closes, which happens when the parent ends by any means.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

from harness.grading.equivalence import math_verify_equal, math_verify_readable


def _answer(op: str, first: str, second: str) -> str:
    try:
        if op == "grade":
            equal = math_verify_equal(gold=first, pred=second)
        elif op == "same":
            # math-verify is asymmetric; taking both directions makes the relation symmetric.
            equal = math_verify_equal(gold=first, pred=second) or math_verify_equal(
                gold=second, pred=first
            )
        else:
            equal = math_verify_readable(first)
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
    math_verify_equal(gold="x+1", pred="1+x")  # imports and grammar tables, before the limit
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(limit)
        soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(limit, (soft, soft))
    print("ready", file=replies)
    for line in sys.stdin:
        op, first, second = json.loads(line)
        # A kernel timer ends a hung worker whose parent died; the parent's deadline comes sooner.
        signal.setitimer(signal.ITIMER_REAL, alarm_s)
        reply = _answer(op, first, second)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(reply, file=replies)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
