"""kill -9 anywhere, the same command again: the results are those of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_run
from tqdm import tqdm

from harness.cli import main
from harness.rng import stream
from harness.run import RunSpec, execute
from harness.store import RunFolder, Status

STEPS = ("proposer.steps=3", "solver.steps=3")
CHECKPOINTED = (*STEPS, "proposer.checkpoint_every=1", "solver.checkpoint_every=1")
DEADLINE_S = 120.0


def fork(spec: RunSpec, runs: Path) -> int:
    """Execute a run in a child that shares nothing but the disk; returns its process id."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            # A killed child would leave tqdm's semaphore, which forks share, locked for the next.
            tqdm.set_lock(threading.RLock())
            execute(spec, runs)
            code = 0
        finally:
            os._exit(code)
    return child


def wait_until(condition: Callable[[], bool], child: int) -> bool:
    """Whether the condition came true while the child lived."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if condition():
            return True
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return condition()
        time.sleep(0.002)
    raise AssertionError("the run hangs")


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def finish(spec: RunSpec, runs: Path) -> None:
    child = fork(spec, runs)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert spec.folder(runs).status is Status.COMPLETED


def differing(folder: RunFolder, reference: RunFolder) -> list[str]:
    a, b = tiny_run.results(folder.path), tiny_run.results(reference.path)
    return sorted(n for n in a.keys() | b.keys() if a.get(n) != b.get(n))


def happened(folder: RunFolder, **fields: object) -> Callable[[], bool]:
    """Whether an event with these fields has been written."""
    return lambda: any(fields.items() <= e.items() for e in folder.events())


def test_kills_inside_phases(tmp_path: Path) -> None:
    """One run, killed in every phase and right after a step's checkpoint, still ends the same."""
    spec = tiny_run.spec("vocab_dropout", 0, *CHECKPOINTED)
    folder = spec.folder(tmp_path)
    draw = stream(0, "kills")
    points: list[dict[str, object]] = [
        {"event": "phase", "phase": "evaluate", "iteration": 0},
        {"event": "step", "role": "proposer", "iteration": 1, "step": 1},
        {"event": "phase", "phase": "curriculum", "iteration": 1},
        {"event": "step", "role": "solver", "iteration": 1, "step": 2},
        {"event": "phase", "phase": "measure", "iteration": 1},
        {"event": "step", "role": "proposer", "iteration": 2, "step": 2},
        {"event": "round", "iteration": 2},
        {"event": "step", "role": "solver", "iteration": 2, "step": 1},
        {"event": "phase", "phase": "evaluate", "iteration": 2},
    ]
    for point in points:
        child = fork(spec, tmp_path)
        assert wait_until(happened(folder, **point), child), point
        time.sleep(float(draw.random()) * 0.05)
        kill(child)
        assert folder.status is Status.INCOMPLETE, point
    finish(spec, tmp_path)
    assert differing(folder, tiny_run.finished("vocab_dropout", 0, *CHECKPOINTED)) == []

    # A stage went on after its checkpoint rather than from its start.
    steps = [e for e in folder.events() if e["event"] == "step" and e["iteration"] == 1]
    assert sum(e["role"] == "proposer" and e["step"] == 0 for e in steps) == 1
    assert [e["step"] for e in steps if e["role"] == "solver"].count(2) == 2
    assert not list(folder.path.rglob("*.stage"))
    assert not list(folder.path.rglob("*.partial"))


def test_kills_at_random_moments(tmp_path: Path) -> None:
    """Without checkpoints inside stages; most kills land in the middle of a computation."""
    spec = tiny_run.spec("rzero", 1)
    folder = spec.folder(tmp_path)
    draw = stream(1, "kills")
    kills = 0
    for _ in range(4):
        child = fork(spec, tmp_path)
        moment = time.monotonic() + 0.5 + 2.0 * float(draw.random())
        if wait_until(lambda: time.monotonic() > moment, child):  # noqa: B023
            kills += os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        kill(child)
    finish(spec, tmp_path)
    assert kills >= 2
    assert differing(folder, tiny_run.finished("rzero", 1)) == []


def test_checkpoints_do_not_change_results() -> None:
    """Only the configuration's own record of itself differs."""
    plain = tiny_run.finished("vocab_dropout", 0, *STEPS)
    assert differing(tiny_run.finished("vocab_dropout", 0, *CHECKPOINTED), plain) == []


# The real command.


def command(runs: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "harness", "run", "--method", "rzero", "--seeds", "1"),
        *("--runs", str(runs), "--out", str(out), *tiny_run.settings(), *more),
    ]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        cwd=tiny_run.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def alive(process: int) -> bool:
    """Whether a process runs still (a zombie doesn't)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def same_folder(tmp_path: Path) -> RunFolder:
    return tiny_run.spec("rzero").folder(tmp_path / "runs")


def test_the_command_killed_refused_and_given_again(
    tmp_path: Path, same_folder: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    arguments = command(runs, out)

    # The launcher is killed inside a solver step: its worker goes by itself.
    first = start(arguments)
    point = happened(same_folder, event="step", role="solver", iteration=1)
    assert wait_until(point, first.pid), first.communicate()[1]
    (worker,) = {int(e["process"]) for e in same_folder.events() if e["event"] == "start"}
    assert alive(worker)
    first.kill()
    first.communicate()
    # The same command right after goes on, while a third one at the same time is refused.
    second = start(arguments)
    until = time.monotonic() + 10
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(worker)
    wait_until(lambda: sum(e["event"] == "start" for e in same_folder.events()) == 2, second.pid)
    with same_folder_in_use(second):
        assert main(command(runs, tmp_path / "out3")[3:]) == 3
    said = capfd.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "in use by process" in errors[0]
    assert "Traceback" not in said

    _, said = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0, said
    assert differing(same_folder, tiny_run.finished("rzero")) == []
    assert (out / "ladder-ladder.csv").is_file()


class same_folder_in_use:  # noqa: N801
    """Stop a launcher's worker for the block, so that it can't finish meanwhile."""

    def __init__(self, launcher: subprocess.Popen[str]) -> None:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
        self.workers = [int(p) for p in children.split()]

    def __enter__(self) -> None:
        assert self.workers
        for process in self.workers:
            os.kill(process, signal.SIGSTOP)

    def __exit__(self, *error: object) -> None:
        for process in self.workers:
            os.kill(process, signal.SIGCONT)
