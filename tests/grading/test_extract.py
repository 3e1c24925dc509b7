"""Extraction of the last complete box."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.grading import MAX_ANSWER_CHARS, extract_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"line \\\boxed{3}", "3"),
        (r"\boxed{4} and \boxed{5", "4"),
        (r"\boxed{ \boxed{6} }", "6"),
        (r"\boxed{\boxed{a} + \boxed{b}}", r"\boxed{a} + \boxed{b}"),
        (r"\boxed{wide \boxed{8}", "8"),
        (r"} \boxed{9}", "9"),
        ("no box", None),
        ("", None),
        (r"\boxed{5", None),
        (r"\boxed 5", None),
        (r"\boxed{}", None),
        (r"\boxed{5} \boxed{ }", None),
        (r"\fbox{5}", None),
        (r"\boxed{" + "9" * MAX_ANSWER_CHARS + "}", "9" * MAX_ANSWER_CHARS),
        (r"\boxed{" + "9" * (MAX_ANSWER_CHARS + 1) + "}", None),
        (r"\boxed{" + "9" * 1_000_000 + "}", None),
        ("\\boxed{\0 5}", "\0 5"),
    ],
)
def test_table(response: str, answer: str | None) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    "hostile",
    [
        "\\boxed{" * 150_000,
        "{" * 1_000_000,
        "\\boxed{" * 100_000 + "5" + "}" * 100_000,
        "\\boxed{ 5 " * 60_000 + "\\boxed{1} }" * 60_000,
        "\\boxed" + " " * 1_000_000 + "{5}",
        "\\" * 1_000_000,
    ],
)
def test_megabyte_of_hostile_text_takes_linear_time(hostile: str) -> None:
    start = time.process_time()
    extract_answer(hostile)
    assert time.process_time() - start < 5.0  # a quadratic scan would need minutes


@given(st.text(alphabet="\\boxed{} 1", max_size=60))
def test_answer_is_stripped_balanced_and_from_the_response(response: str) -> None:
    answer = extract_answer(response)
    if answer is not None:
        assert answer
        assert answer == answer.strip()
        assert answer in response


@given(st.text(max_size=50), st.text(alphabet="0123456789+-x", min_size=1, max_size=20))
def test_a_final_box_wins(prefix: str, answer: str) -> None:
    if not prefix.endswith("\\") and "{" not in prefix:
        assert extract_answer(prefix + " \\boxed{" + answer + "}") == answer
