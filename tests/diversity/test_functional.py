"""Functional metrics: values by hand and entropy bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.diversity.functional import (
    answer_entropy,
    difficulty_entropy,
    entropy,
    topic_entropy,
)
from harness.errors import HarnessError


def test_topic_entropy_counts_other_as_a_topic() -> None:
    topics = ["sum", "sum", "other", "gcd"]
    expected = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert topic_entropy(topics) == pytest.approx(expected)
    assert topic_entropy(["other"] * 5) == 0.0
    assert topic_entropy([]) is None


def test_difficulty_entropy_has_one_class_per_vote_share() -> None:
    assert difficulty_entropy([0.1, 0.1, 0.1], 10) == 0.0
    assert difficulty_entropy([k / 10 for k in range(11)], 10) == pytest.approx(np.log(11))
    # 0.1 + 0.2 and 0.3 are the same 3 of 10 votes.
    assert difficulty_entropy([0.1 + 0.2, 0.3], 10) == 0.0
    assert difficulty_entropy([], 10) is None


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_difficulty_entropy_refuses_what_is_no_share(bad: float) -> None:
    with pytest.raises(HarnessError, match="p_hat"):
        difficulty_entropy([0.5, bad], 10)


def test_answer_entropy_counts_no_answer() -> None:
    assert answer_entropy(["4", "4", None, None]) == pytest.approx(np.log(2))
    assert answer_entropy([None, None]) == 0.0


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40))
def test_entropy_bounds_and_order(labels: list[str]) -> None:
    value = entropy(labels)
    assert value is not None
    assert 0 <= value <= np.log(len(set(labels))) + 1e-12
    assert entropy(sorted(labels)) == value
    assert entropy(labels * 3) == pytest.approx(value, abs=1e-12)
