"""The exact rules, which decide plain numbers without math-verify."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.grading import Grader, Verdict
from harness.grading.equivalence import (
    Tolerance,
    canonical,
    decide_exactly,
    decide_graded,
)
from harness.grading.quantity import MAX_DIGITS


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("5", " 5 ", True),
        ("5", "05", True),
        ("5", "+5", True),
        ("5", "5.0", True),
        ("5", "5.", True),
        ("-5", "\N{MINUS SIGN}5", True),
        ("0", "-0", True),
        ("$5$", "5", True),
        ("0.5", "1/2", True),
        (".5", r"\frac{1}{2}", True),
        (r"-\dfrac{2}{4}", "-1/2", True),
        ("5", "-5", False),
        ("5", "50", False),
        ("1/3", "0.3333", False),
        ("5", "+ -", False),
        ("5", "", False),
        ("5", "x" * 10_000, False),
        ("1/0", "1/0", True),
        ("1/0", "5", None),
        ("1,000", "1000", True),
        ("50%", "0.5", True),
        ("50%", "50", True),
        ("50%", "5", False),
        ("50%", "0.5 cm", False),
        ("5 cm", "5", True),
        ("5 cm", "5 kg", False),
        (r"5 \text{ cm}", "5 centimeters", True),
        (r"5 \text{ cm}^2", "5 cm", False),
        ("3 square feet", r"3\text{ ft}^2", True),
        (r"4.5\times 10^{33}", "4.5e33", True),
        ("1e-8", "2e-8", False),
        ("1e999999999", "1e999999998", False),
        (r"1\frac12", "1.5", True),
        (r"-1\frac12", "-1.5", True),
        (r"0.\overline{3}", "1/3", True),
        (r"\text{Even}", "even", True),
        (r"\text{odd}", "even", False),
        (r"\text{odd}", "5", False),
        ("x", "X", False),
        ("11_2", "11_{2}", True),
        ("11_2", "11_3", False),
        ("11_2", "11", True),
        ("1,5", "1.5", True),
        ("1,5", "15", None),
        ("5t", "5", None),
        ("x", "5", None),
        ("10^2", "100", None),
        ("9" * (MAX_DIGITS + 1), "8", None),
        ("٥", "5", None),
    ],
)
def test_table(first: str, second: str, same: bool | None) -> None:
    assert decide_exactly(first, second) is same
    assert decide_exactly(second, first) is same


@pytest.mark.parametrize(
    ("gold", "pred", "same"),
    [
        ("1/3", "0.333333", True),
        ("0.333333", "1/3", True),
        ("1/3", "0.33333", False),
        ("1/3", "0.333334", True),
        ("1/3", "0.333335", False),
        ("0.25", "0.250001", False),
        ("5", "5 m", True),
        ("5 m", "5", None),
        ("9.8", "9.8 m/s^2", True),
        ("5", "6 m", False),
        ("5", "5x", None),
    ],
)
def test_what_only_grading_allows(gold: str, pred: str, same: bool | None) -> None:
    assert decide_graded(gold, pred) is same
    if same:
        assert decide_exactly(gold, pred) is not True


@pytest.mark.parametrize(
    ("gold", "pred", "tolerance", "same"),
    [
        ("100", "101", Tolerance(rel=0.01), True),
        ("100", "101.1", Tolerance(rel=0.01), False),
        ("100", "100.5", Tolerance(abs=0.5), True),
        ("100", "100.6", Tolerance(abs=0.5), False),
        ("7e35", "7.1e35", Tolerance(abs=1e34), True),
        ("2e-10", "3e-10", Tolerance(rel=0.01), False),
        ("0.5", "50.1%", Tolerance(rel=0.01), True),
        ("100", "101", Tolerance(), False),
        ("x", "y", Tolerance(rel=0.5), False),
    ],
)
def test_tolerance(grader: Grader, gold: str, pred: str, tolerance: Tolerance, same: bool) -> None:
    verdict = Verdict.CORRECT if same else Verdict.WRONG
    sizes = {"rel_tol": tolerance.rel, "abs_tol": tolerance.abs}
    assert grader.grade(gold=[gold], pred=[pred], **sizes) == [verdict]
    # Numbers inside a list, and numbers that take algebra, are numbers as well.
    nested = grader.grade(gold=[f"({gold}, 7)"], pred=[f"({pred}, 7)"], **sizes)
    assert nested == [verdict]


def test_tolerance_reaches_algebra(grader: Grader) -> None:
    gold, pred = r"\sqrt{2}", "1.41"
    assert grader.grade(gold=[gold], pred=[pred]) == [Verdict.WRONG]
    assert grader.grade(gold=[gold], pred=[pred], rel_tol=0.01) == [Verdict.CORRECT]
    assert grader.grade(gold=["x+2"], pred=["x+2.001"], rel_tol=0.01) == [Verdict.WRONG]


@pytest.mark.parametrize("bad", [{"rel_tol": -0.1}, {"rel_tol": 1.0}, {"abs_tol": -1.0}])
def test_bad_tolerances_are_refused(grader: Grader, bad: dict[str, float]) -> None:
    with pytest.raises(HarnessError, match="tol"):
        grader.grade(gold=["1"], pred=["1"], **bad)


@given(st.fractions(), st.fractions())
def test_fractions_are_compared_exactly(a: Fraction, b: Fraction) -> None:
    assert canonical(str(a)) == a
    assert decide_exactly(str(a), str(b)) is (a == b)


@given(st.text(max_size=30))
@example("1E100")
def test_canonical_never_fails_and_is_stable(text: str) -> None:
    key = canonical(text)
    # Written out, a number of more digits than are read as one equals its own spelling only.
    spelled = isinstance(key, Fraction) and len(str(key)) <= MAX_DIGITS
    assert canonical(str(key) if spelled else text) == key


def test_grading_imports_nothing_heavy() -> None:
    code = (
        "import sys, harness.grading.worker;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sympy', 'lm_eval')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
