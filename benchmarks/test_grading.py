"""Grading 5,000 greedy-like MATH responses: wall and CPU seconds, verdicts.

    COEVOLUTION_DATA=DIR python -m pytest benchmarks/test_grading.py --benchmark-only -s

Responses are the MATH test set's own solutions: every other item gets its own (correct), the
others that of another item of the same subject (nearly always wrong), which is about the mix of a
model halfway up. The caches are empty, and starting the workers counts.
"""

from __future__ import annotations

import os
import resource
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from harness.data import ENV, load_items
from harness.grading import Grader, Verdict, extract_final


def _responses() -> list[tuple[str, str]]:
    """(gold, response) for every item, in the data's order."""
    items = load_items("math_test")
    by_subject: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        by_subject[item["subject"]].append(item["solution"])
    place: Counter[str] = Counter()
    pairs = []
    for number, item in enumerate(items):
        pool = by_subject[item["subject"]]
        i = place[item["subject"]]
        place[item["subject"]] += 1
        own = number % 2 == 0
        pairs.append((item["answer"], item["solution"] if own else pool[(i + 7) % len(pool)]))
    return pairs


def _cpu_s() -> float:
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@pytest.mark.skipif(ENV not in os.environ, reason=f"{ENV} names no data folder")
def test_grading_math(benchmark: Any) -> None:
    pairs = _responses()
    verdicts: list[Verdict] = []

    def run() -> None:
        golds = [gold for gold, _ in pairs]
        with Grader(workers=2) as grader:
            found = [extract_final(response, gold=gold).answer for gold, response in pairs]
            verdicts.extend(grader.grade(gold=golds, pred=found))

    before, started = _cpu_s(), time.perf_counter()
    benchmark.pedantic(run, rounds=1)
    wall, cpu = time.perf_counter() - started, _cpu_s() - before
    counts = Counter(v.value for v in verdicts)
    own = Counter(v.value for v in verdicts[::2])
    print(f"\n{len(pairs)} responses: {wall:.1f} s wall, {cpu:.1f} CPU-s; {dict(counts)}")
    print(f"items' own solutions: {dict(own)}")
    benchmark.extra_info.update(cpu_s=cpu, **counts)
    assert len(verdicts) == len(pairs)
