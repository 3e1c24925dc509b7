"""Grading 80,000 votes on 8,000 questions, one hostile answer in a hundred.

    COEVOLUTION_DATA=DIR python -m pytest benchmarks/test_vote_grading.py --benchmark-only -s

The golds are answers of the MATH training and test sets. Of ten votes six are right, four of them
as written and two in another form, and four are answers to other questions of the same subject. The
peer is what one would write first: a call of math-verify for each pair, in one process; it is
measured on every 81st question and scaled. The harness has a worker for each core at hand. Seconds
are of the wall clock, starting included.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from typing import Any

import pytest

from harness.data import ENV, load_items
from harness.grading import Grader, Verdict

QUESTIONS, VOTES, PART = 8000, 10, 81
CORES = len(os.sched_getaffinity(0))
HOSTILE = (
    "9^{9^{9^{9}}}",
    r"\frac{1}{" * 60 + "2" + "}" * 60,
    "((99!)!)!",
    "(" * 300 + "x" + ")" * 300,
    r"\sum_{n=1}^{10^{12}} \frac{1}{n^{n}+\sin n}",
    "(a+b+c+d+e)^{40}",
    "9" * 1500,
    r"\int_0^{\infty} \frac{\sin(x^x)}{\ln(1+x^{x})} \, dx",
)

pytestmark = pytest.mark.skipif(ENV not in os.environ, reason=f"{ENV} names no data folder")


@pytest.fixture(scope="module")
def votes() -> list[list[tuple[str, str]]]:
    """(gold, vote) pairs of each question."""
    found = [i for name in ("math_train", "math_test") for i in load_items(name)][:QUESTIONS]
    by_subject: dict[str, list[str]] = {}
    for item in found:
        by_subject.setdefault(item["subject"], []).append(item["answer"])
    rows = []
    for q, item in enumerate(found):
        gold, pool = item["answer"], by_subject[item["subject"]]
        right = [gold] * 4 + [f"{gold}.", gold.replace(r"\frac", r"\dfrac").replace(" ", "  ")]
        row = [*right, *(pool[(q * 7 + k) % len(pool)] for k in range(4))]
        if q % 10 == 3:
            row[q // 10 % VOTES] = HOSTILE[q // 10 % len(HOSTILE)]
        rows.append([(gold, vote) for vote in row])
    return rows


def test_harness(benchmark: Any, votes: list[list[tuple[str, str]]]) -> None:
    pairs = [pair for row in votes for pair in row]
    verdicts: list[Verdict] = []

    def run() -> None:
        with Grader(workers=CORES) as grader:
            golds, preds = zip(*pairs, strict=True)
            verdicts.extend(grader.grade(gold=golds, pred=preds))

    started = time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["wall_s"] = time.perf_counter() - started
    benchmark.extra_info["verdicts"] = dict(Counter(v.value for v in verdicts))


def test_math_verify(benchmark: Any, votes: list[list[tuple[str, str]]]) -> None:
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    part = [pair for row in votes[::PART] for pair in row]
    verdicts: list[bool] = []

    def run() -> None:
        for gold, vote in part:
            verdicts.append(bool(verify(parse(f"\\boxed{{{gold}}}"), parse(f"\\boxed{{{vote}}}"))))

    started = time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    share = len(part) / (QUESTIONS * VOTES)
    benchmark.extra_info["wall_s"] = (time.perf_counter() - started) / share
    with Grader(workers=1) as grader:
        golds, preds = zip(*part, strict=True)
        ours = [v is Verdict.CORRECT for v in grader.grade(gold=golds, pred=preds)]
    differ = [(p, a, b) for p, a, b in zip(part, ours, verdicts, strict=True) if a != b]
    stops = sum(pair[1] == f"{pair[0]}." for pair, _, _ in differ)
    benchmark.extra_info["pairs"] = len(part)
    benchmark.extra_info["differ"] = {"full stop": stops, "else": len(differ) - stops}
    for (gold, vote), a, b in differ:
        if vote != f"{gold}.":
            print(f"{gold[:60]!r} {vote[:60]!r}: harness {a}, math-verify {b}")
