"""Grading in killable worker processes: every answer is decided within a deadline.

Model output is hostile input to a computer algebra system: ``10^{10^{10^{10}}}`` never returns and
holds the interpreter lock while it tries, so neither threads nor signals help. What the exact rules
of ``equivalence`` can't decide goes to a worker process under a memory limit, and a worker that
misses its deadline is killed and replaced. Workers start at the first job that needs one: a run
whose answers are all numbers never starts any.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import harness
from harness.errors import HarnessError
from harness.grading.equivalence import Tolerance, decide_exactly, decide_graded
from harness.grading.extract import MAX_ANSWER_CHARS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

#: Seconds a worker may take to import math-verify (about 1 on an idle machine).
START_S = 120.0
#: Jobs after which a worker is replaced: sympy's caches grow.
JOBS_PER_WORKER = 5_000
#: Verdicts kept in memory.
CACHE_SIZE = 50_000

#: Op ("grade", "same", "probe"), first, second, relative and absolute tolerance.
_Job = tuple[str, str, str, float, float]


class Verdict(StrEnum):
    """What grading says about one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TIMEOUT = "timeout"  # no verdict within the deadline or the memory limit


@dataclass
class _Worker:
    """One worker process and the job it is on."""

    process: subprocess.Popen[bytes]
    ready: bool = False
    job: _Job | None = None
    due: float = 0.0  # time.monotonic() at which it is killed
    jobs_done: int = 0
    buffer: bytes = b""


class Grader:
    """Decides answers; use as a context manager, or leave it to the end of the process.

    Args:
        workers: worker processes at most; they are started when a job needs them.
        deadline_s: seconds of wall clock for one comparison (both directions of a symmetric one).
        memory_mb: address space of one worker, in MiB.

    Safe to share between threads (calls are serialised) and after a fork (the child starts its
    own workers).
    """

    def __init__(self, workers: int = 1, deadline_s: float = 5.0, memory_mb: int = 1024) -> None:
        if workers < 1 or deadline_s <= 0 or memory_mb < 256:
            raise HarnessError(
                f"grader: workers={workers}, deadline_s={deadline_s}, memory_mb={memory_mb}: "
                "needs at least 1 worker, a positive deadline and 256 MiB"
            )
        self.deadline_s = deadline_s
        self._n_workers = workers
        self._memory_bytes = memory_mb * 2**20
        self._cache: OrderedDict[_Job, str] = OrderedDict()
        self._workers: list[_Worker] = []
        self._owner_pid = os.getpid()
        self._lock = threading.RLock()
        self._finalizer = weakref.finalize(self, _kill_all, self._workers, self._owner_pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. The grader stays usable: a later job starts new ones."""
        with self._lock:
            _kill_all(self._workers, self._owner_pid)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the living workers; empty until one was needed."""
        return [w.process.pid for w in self._workers]

    def grade(
        self,
        *,
        gold: Sequence[str],
        pred: Sequence[str | None],
        rel_tol: float = 0.0,
        abs_tol: float = 0.0,
    ) -> list[Verdict]:
        """Verdicts on predictions against gold answers, in order.

        Both hold answers as ``extract_answer`` returns them; a prediction of None or of white
        space is ``no_answer``. ``timeout`` means that nothing was decided within the limits. After
        one, each side is read alone, and one that misses the deadline there too is not compared
        with any other answer: a hostile one costs two deadlines, not one for each gold.
        Numbers (also inside lists) count as equal within ``max(rel_tol * larger magnitude,
        abs_tol)``. Raises ValueError on different lengths, HarnessError on a negative tolerance or
        if no worker can be started.
        """
        if not (0 <= rel_tol < 1 and 0 <= abs_tol < float("inf")):
            raise HarnessError(
                f"grader: rel_tol={rel_tol}, abs_tol={abs_tol}: need 0 <= rel_tol < 1 and a finite "
                "abs_tol >= 0"
            )
        tolerance = Tolerance(rel_tol, abs_tol)
        verdicts: list[Verdict | None] = []
        jobs: dict[int, _Job] = {}
        for i, (g, p) in enumerate(zip(gold, pred, strict=True)):
            if p is None or not p.strip():
                verdicts.append(Verdict.NO_ANSWER)
                continue
            exact = decide_graded(g, p, tolerance)
            verdicts.append(None if exact is None else _VERDICT["yes" if exact else "no"])
            if exact is None:
                jobs[i] = ("grade", g, p, rel_tol, abs_tol)
        replies = self._decide(list(jobs.values()))
        return [
            _VERDICT[replies[jobs[i]]] if verdict is None else verdict
            for i, verdict in enumerate(verdicts)
        ]

    def equivalent(self, *, first: Sequence[str], second: Sequence[str]) -> list[bool]:
        """Whether answers agree pair by pair; symmetric. A time-out means that they don't."""
        pairs = [(a, b) if a <= b else (b, a) for a, b in zip(first, second, strict=True)]
        exact = [decide_exactly(a, b) for a, b in pairs]
        jobs: list[_Job] = [("same", a, b, 0.0, 0.0) for a, b in pairs]
        replies = self._decide(
            [job for job, known in zip(jobs, exact, strict=True) if known is None]
        )
        return [
            replies[job] == "yes" if known is None else known
            for job, known in zip(jobs, exact, strict=True)
        ]

    def readable(self, answers: Sequence[str]) -> list[bool]:
        """Whether math-verify gets through each answer alone within the limits.

        Asked before comparing every pair of a set, so that a hostile answer costs one deadline
        and not one for each neighbour.
        """
        jobs = [_probe(a) for a in answers]
        fits = [len(a) <= MAX_ANSWER_CHARS for a in answers]
        replies = self._decide([job for job, ok in zip(jobs, fits, strict=True) if ok])
        return [ok and replies[job] == "yes" for job, ok in zip(jobs, fits, strict=True)]

    # -- the pool -------------------------------------------------------------------------------

    def _decide(self, jobs: list[_Job]) -> dict[_Job, str]:
        """Reply to every job: "yes", "no" or "timeout"."""
        with self._lock:
            if os.getpid() != self._owner_pid:  # forked: the parent's workers are not ours
                self._owner_pid = os.getpid()
                self._workers = []
                self._finalizer = weakref.finalize(self, _kill_all, self._workers, self._owner_pid)
            replies: dict[_Job, str] = {}
            todo: deque[_Job] = deque()
            for job in dict.fromkeys(jobs):
                if (known := self._cache.get(job)) is not None:
                    self._cache.move_to_end(job)
                    replies[job] = known
                else:
                    todo.append(job)
            if todo:
                try:
                    self._run(todo, replies)
                except BaseException:  # a half-done job must not answer the next call
                    _kill_all(self._workers, self._owner_pid)
                    raise
            return replies

    def _run(self, todo: deque[_Job], replies: dict[_Job, str]) -> None:
        """Work through ``todo``; every job ends up in ``replies`` and in the cache."""
        unfinished = len(todo)
        retried: set[_Job] = set()

        def settle(job: _Job, reply: str) -> None:
            nonlocal unfinished
            unfinished -= 1
            replies[job] = self._cache[job] = reply
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)

        def undecided(job: _Job) -> None:
            """A time-out; which side is to blame is asked next, once for each answer."""
            nonlocal unfinished
            settle(job, "timeout")
            for probe in _probes(job):
                if probe not in self._cache and probe not in todo:
                    todo.appendleft(probe)
                    unfinished += 1

        def send_next(worker: _Worker) -> None:
            while todo:
                job = todo.popleft()
                if not any(self._cache.get(probe) == "timeout" for probe in _probes(job)):
                    return self._send(worker, job)
                settle(job, "timeout")
            return None

        def lost(worker: _Worker, job: _Job) -> None:
            """Memory ran out or the worker died. Earlier jobs may be to blame: once more, fresh."""
            if worker.jobs_done == 0 or job in retried:
                undecided(job)
            else:
                retried.add(job)
                todo.appendleft(job)
            self._replace(worker)

        while unfinished:
            while len(self._workers) < min(self._n_workers, unfinished):
                self._workers.append(self._start())
            for worker in self._workers:
                if worker.ready and worker.job is None:
                    send_next(worker)
            for worker in self._wait():
                job = worker.job
                line = _read_line(worker)
                if line is None:
                    continue
                if not worker.ready:
                    if line != "ready":
                        raise HarnessError(
                            "grader: a worker process failed to start; "
                            f"run '{sys.executable} -m harness.grading.worker 1000000000 60' to see"
                        )
                    worker.ready = True
                elif job is None:
                    self._replace(worker)  # it died while idle
                elif line in ("yes", "no"):
                    worker.job = None
                    worker.jobs_done += 1
                    settle(job, line)
                    if worker.jobs_done >= JOBS_PER_WORKER:
                        self._replace(worker)
                else:  # "memory", or "" for a dead worker
                    lost(worker, job)
            now = time.monotonic()
            for worker in [w for w in self._workers if w.due and now >= w.due]:
                if worker.job is None:
                    raise HarnessError(f"grader: a worker did not start within {START_S:.0f} s")
                undecided(worker.job)
                self._replace(worker)

    def _start(self) -> _Worker:
        package_root = str(Path(harness.__file__).resolve().parent.parent)
        environment = dict(os.environ)
        paths = [package_root, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        # Hash order must not reach a verdict; BLAS threads would only cost address space.
        environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-m", "harness.grading.worker"]
        try:
            process = subprocess.Popen(
                [*command, str(self._memory_bytes), str(3 * self.deadline_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise HarnessError(f"grader: can't start a worker process: {error}") from error
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return _Worker(process, due=time.monotonic() + START_S)

    def _replace(self, worker: _Worker) -> None:
        """Kill a worker; the next round of the loop starts another if one is needed."""
        self._workers.remove(worker)
        _kill_all([worker], self._owner_pid)

    def _send(self, worker: _Worker, job: _Job) -> None:
        worker.job, worker.due = job, time.monotonic() + self.deadline_s
        assert worker.process.stdin is not None
        # The cap on an answer's length keeps a line below the pipe's capacity.
        with contextlib.suppress(OSError):  # a dead worker shows when its reply is read
            worker.process.stdin.write(json.dumps(job).encode() + b"\n")
            worker.process.stdin.flush()

    def _wait(self) -> list[_Worker]:
        """Workers with something to read, waiting until then or until the first deadline."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            pending = [w.due for w in self._workers if w.due]
            timeout = max(0.0, min(pending) - time.monotonic()) if pending else 0.0
            return [key.data for key, _ in selector.select(timeout)]


_VERDICT = {"yes": Verdict.CORRECT, "no": Verdict.WRONG, "timeout": Verdict.TIMEOUT}


def _probes(job: _Job) -> list[_Job]:
    """The jobs that ask of each side of a comparison alone; none for a job of that kind."""
    op, first, second, _, _ = job
    return [] if op == "probe" else [_probe(first), _probe(second)]


def _probe(answer: str) -> _Job:
    return ("probe", answer, "", 0.0, 0.0)


def _read_line(worker: _Worker) -> str | None:
    """The worker's reply, "" if it is dead, None while the line is incomplete."""
    assert worker.process.stdout is not None
    try:
        chunk = os.read(worker.process.stdout.fileno(), 4096)
    except BlockingIOError:
        return None
    worker.buffer += chunk
    if not chunk:
        worker.due = 0.0
        return ""
    if not worker.buffer.endswith(b"\n"):
        return None
    line, worker.buffer, worker.due = worker.buffer.decode().strip(), b"", 0.0
    return line


def _kill_all(workers: list[_Worker], owner_pid: int) -> None:
    """SIGKILL and reap every worker in the list, and empty the list."""
    while workers:
        process = workers.pop().process
        if os.getpid() == owner_pid:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unflushed bytes to a dead process
                    pipe.close()


@lru_cache(maxsize=1)
def shared_grader() -> Grader:
    """The process's own grader with default limits, for callers that can't be handed one.

    lm-eval calls a task's scoring functions with a document and nothing else.
    """
    return Grader()
