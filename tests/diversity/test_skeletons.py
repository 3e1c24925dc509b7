"""Which operations a solution uses, and how many ways of solving a set has."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.diversity.skeletons import (
    MAX_CHARS,
    distinct_skeletons,
    skeleton,
    skeleton_entropy,
)


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("She sold 48/2 = <<48/2=24>>24 clips.\n48+24 = <<48+24=72>>72", ("/", "+")),
        (r"\frac{x}{3} + y = \dfrac12 \cdot 4", ("/", "+", "*")),
        (r"$\sqrt{a^2 - b^2}$", ("root", "^", "-")),
        (r"\binom{5}{2} \equiv 3 \pmod 7", ("choose", "mod")),
        (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", ("matrix",)),
        ("3 × 4 ÷ 2 − 1 ≤ 9", ("*", "/", "-", "<")),
        ("5! / 3!", ("factorial", "/")),
        ("(n+1)!/n!=n+1", ("+", "factorial", "/")),
        ("x-y and 3-2", ("-",)),
        ("a two-digit number, and/or a well-known one at 60 km/h", ()),
        ("**Answer:** stop! Wow! yes", ()),
        ("\n* first point\n* second point", ()),
        ("The answer is twelve.", ()),
        ("", ()),
    ],
)
def test_examples(solution: str, expected: tuple[str, ...]) -> None:
    assert skeleton(solution) == expected


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    found = skeleton(text)
    assert len(set(found)) == len(found)
    assert not any(ch.isdigit() for op in found for ch in op)


@given(st.lists(st.sampled_from(["1+1", "2*3", "4/2 + 1", "hm", None]), min_size=1, max_size=20))
def test_bounds_and_order(solutions: list[str | None]) -> None:
    entropy, share = skeleton_entropy(solutions), distinct_skeletons(solutions)
    assert entropy is not None
    assert share is not None
    assert 0 <= entropy <= math.log(min(len(solutions), 5)) + 1e-12
    assert 0 <= share <= min(1, 4 / len(solutions))
    assert (skeleton_entropy(solutions[::-1]), distinct_skeletons(solutions[::-1])) == (
        entropy,
        share,
    )


def test_numbers_and_names_make_no_difference() -> None:
    assert skeleton("Anna has 3 + 4 = 7 pens, 7 * 2 = 14") == skeleton(
        "12 + 5 = 17; 17*3 = 51 (Bo)"
    )
    assert skeleton_entropy(["1 + 2", "3 + 4"]) == 0.0
    assert skeleton_entropy(["1 + 2", None]) == pytest.approx(math.log(2))
    assert distinct_skeletons([None, None]) == 0.0
    assert skeleton_entropy([]) is None
    assert distinct_skeletons([]) is None


def test_only_the_beginning_counts() -> None:
    assert skeleton(" " * MAX_CHARS + "1 + 2") == ()
    for hostile in ("<<" * 10**6, "\\" * 10**6, "-" * 10**6, "\\a" * 10**6, "*" * 10**6):
        assert len(skeleton(hostile)) <= 1
