"""Answers meant to break a grader: all decided, in bounds, nobody else harmed, nothing left."""

from __future__ import annotations

import os
import time

import pytest

from harness.grading import Grader, Verdict, extract_final, read_answer, tally

DEADLINE_S = 2.0
MEMORY_MB = 768
SMALL = {
    "tower of powers": "10^{10^{10^{10}}}",
    "tower of letters": "x^{x^{x^{x^{x^{x^{x}}}}}}",
    "huge power": "2^{16000000000}",
    "difference of towers": "9^{9^{9^9}}-9^{9^{9^9}}",
    "factorials": "((100!)!)!",
    "big factorial": "99999999!",
    "binomial": r"\binom{10^9}{5 \cdot 10^8}",
    "giant integer": "9" * 1_900,
    "giant product": r"\cdot".join(["99999999999999"] * 100),
    "huge exponent": "1e999999999",
    "huge exponents in a sum": "1e999999999 + 1e-999999999",
    "fraction blow-up": "".join(rf"\frac{{1}}{{{n}+" for n in range(100)) + "1" + "}" * 100,
    "sum of fractions": "+".join(rf"\frac{{1}}{{{10**9 + n}}}" for n in range(80)),
    "expanding power": "(a+b+c+d+e+f)^{60}",
    "nested roots": r"\sqrt{" * 200 + "2" + "}" * 200,
    "deep brackets": "(" * 900 + "1" + ")" * 900,
    "deep braces": "{" * 900 + "1" + "}" * 900,
    "deep tuples": "(1," * 400 + "2" + ")" * 400,
    "deep absolute values": "|" * 1_000 + "1" + "|" * 900,
    "unbalanced": "}}}}{{{{((((]]]]" * 50,
    "unbalanced fraction": r"\frac{1}{" * 100,
    "integral": r"\int_0^{\infty} \frac{\sin(x^x)}{\ln(1+x^{x})} \, dx",
    "sum": r"\sum_{n=1}^{10^{12}} \frac{1}{n^{n}+\sin n}",
    "product": r"\prod_{p=1}^{10^{10}} (1-\frac{1}{p^2+p})",
    "limit": r"\lim_{x \to 0} \frac{\sin(x^x)}{x^{\sin x}}",
    "many commas": "," * 1_990,
    "many members": ",".join(["x+1"] * 400),
    "many different members": ",".join(f"x^{{{n}}}" for n in range(200)),
    "many signs": r"\pm 1" * 300,
    "many sets": r"\{1,2\}," * 220,
    "matrix": r"\begin{pmatrix}" + r"1&2\\" * 300 + r"\end{pmatrix}",
    "matrix power": r"\begin{pmatrix}x&1\\1&x\end{pmatrix}^{100000000}",
    "many begins": r"\begin{pmatrix}" * 130,
    "union": r"(0,1)\cup" * 200 + "(0,1)",
    "NUL": "5\0\0\0",
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}5\N{RIGHT-TO-LEFT MARK}!",
    "lone surrogate": "\ud800 5",
    "private use": "\ue000" * 100,
    "code": "__import__('os').system('kill -9 -1')",
    "attribute": "x.__class__.__mro__[1].__subclasses__()",
    "format": "{0.__class__} %s %n",
    "template": r"\input{/etc/passwd} \write18{id} \def\x{\x\x}\x",
    "newlines": "\n\r\x0b\x0c\x85\u2028" * 100,
    "json": '"}], ["grade", "1", "1"',
    "zero division": r"\frac{1}{0} + \frac{0}{0}",
    "infinity": r"\infty - \infty",
    "words": "a " * 900,
    "combining": "5" + "\N{COMBINING ACUTE ACCENT}" * 1_900,
}
LARGE = {
    "megabyte of digits": "9" * 1_000_000,
    "megabyte of commas": "," * 1_000_000,
    "hundred thousand sets": r"\{1\}," * 100_000,
    "megabyte of matrices": r"\begin{pmatrix}1\end{pmatrix}" * 40_000,
    "megabyte of backslashes": "\\" * 1_000_000,
    "megabyte of spaces": " " * 1_000_000 + "5",
    "megabyte of marks": "\N{RIGHT-TO-LEFT MARK}" * 1_000_000,
}
GOOD = [("x+1", "1+x", Verdict.CORRECT), ("x+1", "x-1", Verdict.WRONG)]
GOOD += [("(1, y)", "(1,y)", Verdict.CORRECT), ("5", None, Verdict.NO_ANSWER)]


def _resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def test_each_is_decided_and_good_pairs_between_them_keep_their_verdicts() -> None:
    golds, preds, expected = [], [], []
    for n, hostile in enumerate([*SMALL.values(), *LARGE.values()]):
        gold, pred, verdict = GOOD[n % len(GOOD)]
        swapped = n % 3 == 0  # as gold, too
        golds += [hostile if swapped else f"y+{n}", gold]
        preds += [f"y+{n}" if swapped else hostile, pred]
        expected += [None, verdict]
    seen: set[int] = set()
    started = time.monotonic()
    verdicts = []
    with Grader(workers=2, deadline_s=DEADLINE_S, memory_mb=MEMORY_MB) as pool:
        for begin in range(0, len(golds), 8):
            part = slice(begin, begin + 8)
            verdicts += pool.grade(gold=golds[part], pred=preds[part])
            for pid in pool.worker_pids:
                seen.add(pid)
                assert _resident_mb(pid) <= MEMORY_MB
        assert len(pool.worker_pids) <= 2
    elapsed = time.monotonic() - started
    # Each costs a deadline and a worker's start at most; half the time of two workers is slack.
    assert elapsed < len(golds) * (DEADLINE_S + 8)
    for gold, pred, verdict, known in zip(golds, preds, verdicts, expected, strict=True):
        allowed = {Verdict.WRONG, Verdict.TIMEOUT} if known is None else {known}
        assert verdict in allowed, (gold[:80], pred and pred[:80])
    assert not [pid for pid in seen if os.path.exists(f"/proc/{pid}")]


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_reading_and_exact_rules_are_quick_on_each(name: str) -> None:
    text = (SMALL | LARGE)[name]
    started = time.process_time()
    for wrapped in (text, f"\\boxed{{{text}}}", f"The answer is {text}", f"so ${text}$"):
        extract_final(wrapped, gold="1,2")
        read_answer(wrapped)
    with Grader() as lazy:
        assert lazy.grade(gold=["5"], pred=[text + "x" * 2_001]) == [Verdict.WRONG]
        assert lazy.worker_pids == []
    assert time.process_time() - started < 30.0  # a quadratic scan of a megabyte takes hours


def test_hostile_votes_do_not_spoil_the_others() -> None:
    hostile = [SMALL[k] for k in ("tower of powers", "lone surrogate", "code", "unbalanced", "NUL")]
    votes = [*hostile, LARGE["megabyte of digits"], "x+1", "1+x", " x + 1"]
    with Grader(workers=2, deadline_s=DEADLINE_S) as pool:
        (result,) = tally([votes], pool)
    assert result.answer in ("x+1", "1+x")
    assert result.cluster[-3:] == (0, 0, 0)
    assert result.p_hat == 3 / len(votes)
