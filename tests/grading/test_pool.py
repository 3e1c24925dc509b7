"""Worker processes: verdicts, deadlines, memory, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.grading import Grader, Verdict
from harness.grading.equivalence import MAX_DEPTH, decide_exactly

TOWER = "10^{10^{10^{10}}}"


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _gone(pid: int, within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not _alive(pid)


@pytest.mark.parametrize(
    ("gold", "pred", "verdict"),
    [
        ("x+1", "1+x", Verdict.CORRECT),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", Verdict.CORRECT),
        ("x^2+2x+1", "(x+1)^2", Verdict.CORRECT),
        ("10^2", "100", Verdict.CORRECT),
        (r"\frac{1}{2}", r"\frac12", Verdict.CORRECT),
        ("(1,2)", "(2,1)", Verdict.WRONG),
        ("x", "y", Verdict.WRONG),
        ("5", "apples", Verdict.WRONG),
        ("5", "}{", Verdict.WRONG),
        ("5", None, Verdict.NO_ANSWER),
        ("5", "  ", Verdict.NO_ANSWER),
    ],
)
def test_verdicts(grader: Grader, gold: str, pred: str | None, verdict: Verdict) -> None:
    assert grader.grade(gold=[gold], pred=[pred]) == [verdict]


def test_numbers_never_start_a_worker() -> None:
    with Grader() as lazy:
        assert lazy.grade(gold=["5", "1/2", "7"], pred=["5.0", "0.5", None]) == [
            Verdict.CORRECT,
            Verdict.CORRECT,
            Verdict.NO_ANSWER,
        ]
        assert lazy.equivalent(first=["3"], second=["4"]) == [False]
        assert lazy.worker_pids == []


def test_equivalence_is_symmetric(grader: Grader) -> None:
    first, second = ["x=5", "x+1", "2"], ["5", "1+x", "y"]
    assert grader.equivalent(first=first, second=second) == grader.equivalent(
        first=second, second=first
    )
    assert grader.equivalent(first=["x+1"], second=["1+x"]) == [True]


def test_a_hung_answer_is_killed_and_its_neighbours_are_unharmed() -> None:
    with Grader(workers=2, deadline_s=2.0) as pool:
        start = time.monotonic()
        verdicts = pool.grade(gold=["x+1", "7", "x+1", "x+2"], pred=["1+x", TOWER, "x", "2+x"])
        assert verdicts == [Verdict.CORRECT, Verdict.TIMEOUT, Verdict.WRONG, Verdict.CORRECT]
        assert time.monotonic() - start < 60
        start = time.monotonic()
        assert pool.grade(gold=["7"], pred=[TOWER]) == [Verdict.TIMEOUT]  # from the cache
        assert time.monotonic() - start < 1
        pids = pool.worker_pids
    assert all(_gone(pid) for pid in pids)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("side", ["gold", "pred"])
def test_a_hostile_answer_costs_two_deadlines_and_blames_nobody_else(
    side: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    start = Grader._start
    monkeypatch.setattr(Grader, "_start", lambda self: starts.append(1) or start(self))
    others = ["x+1", "y^2", r"\sqrt{z}", "2x", "x-y", "y+z", "3z"]
    towers = [TOWER] * len(others)
    golds, preds = (towers, others) if side == "gold" else (others, towers)
    with Grader(workers=workers, deadline_s=1.5) as pool:
        found = pool.grade(gold=golds, pred=preds)
        assert found == [Verdict.TIMEOUT] * len(others)
        assert len(starts) <= 1 + 2 * workers + 1  # of seven time-outs, had each been waited for
        again = pool.grade(gold=["a-b", *others], pred=[TOWER, *others])
        swapped = pool.grade(gold=["1+x", "yy"], pred=["x+1", "y^2"])
    assert again == [Verdict.TIMEOUT, *[Verdict.CORRECT] * len(others)]
    assert swapped == [Verdict.CORRECT, Verdict.CORRECT]


@given(st.integers(0, 40), st.sampled_from(["()", "{}", "[]", r"\left( \right)"]))
def test_what_nests_too_deeply_is_not_read(depth: int, pair: str) -> None:
    opened, closed = pair.split() if " " in pair else pair
    text = opened * depth + "x+1" + closed * depth
    assert decide_exactly(text, text) is True
    assert (decide_exactly(text, "x y") is False) == (depth > MAX_DEPTH)


def test_memory_is_bounded() -> None:
    with Grader(memory_mb=512, deadline_s=20.0) as pool:
        assert pool.grade(gold=["x"], pred=["1+x"]) == [Verdict.WRONG]
        (pid,) = pool.worker_pids
        with open(f"/proc/{pid}/limits") as limits:
            table = {line[:26].strip(): line[26:].split()[0] for line in limits}
        assert table["Max address space"] == str(512 * 2**20)
        # 2 GB of digits do not fit: answered all the same, and the next answer is not harmed.
        verdicts = pool.grade(gold=["x", "x+3"], pred=["2^{16000000000}", "3+x"])
        assert verdicts[0] in (Verdict.WRONG, Verdict.TIMEOUT)
        assert verdicts[1] == Verdict.CORRECT


def test_a_worker_that_dies_is_replaced(grader: Grader) -> None:
    grader.grade(gold=["a+1"], pred=["1+a"])
    for pid in grader.worker_pids:
        os.kill(pid, signal.SIGKILL)
    assert grader.grade(gold=["a+2"], pred=["2+a"]) == [Verdict.CORRECT]


def test_many_threads_share_one_grader(grader: Grader) -> None:
    results: list[list[Verdict]] = []

    def work(i: int) -> None:
        results.append(grader.grade(gold=[f"x+{i}"], pred=[f"{i}+x"]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[Verdict.CORRECT]] * 8


@pytest.mark.parametrize("busy", [False, True])
def test_workers_end_when_the_parent_is_killed(busy: bool) -> None:
    # The parent reports its worker's id, then (busy) hands it a job that never ends.
    code = (
        "import sys, time; from harness.grading import Grader; g = Grader(deadline_s=2.0);"
        "g.grade(gold=['x+1'], pred=['y']); print(g.worker_pids[0], flush=True);"
        + (f"g.grade(gold=['7'], pred=['{TOWER}'])" if busy else "time.sleep(60)")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        time.sleep(0.5)
        run.kill()
    assert _gone(pid, within_s=15.0)  # busy: by its own timer at three deadlines


@pytest.mark.parametrize("bad", [{"workers": 0}, {"deadline_s": 0.0}, {"memory_mb": 10}])
def test_bad_limits_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(HarnessError):
        Grader(**bad)


def test_lengths_must_agree(grader: Grader) -> None:
    with pytest.raises(ValueError, match="zip"):
        grader.grade(gold=["1"], pred=[])
