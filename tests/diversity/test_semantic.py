"""Semantic metrics: values by hand, the vendi-score package, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vendi_score import vendi

from harness.diversity.semantic import (
    RIDGE,
    CumulativeVendi,
    cumulative_vendi,
    log_det_volume,
    novelty_rate,
    vendi_score,
)
from harness.errors import HarnessError


def rows(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_vendi_by_hand() -> None:
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((7, 3))) == pytest.approx(1)
    # Two groups of 3 and 1 orthogonal texts: eigenvalues 3/4 and 1/4.
    groups = np.eye(2)[[0, 0, 0, 1]]
    assert vendi_score(groups) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:vendi_score")
@pytest.mark.parametrize(("n", "d"), [(6, 40), (40, 6), (10, 10)])
def test_vendi_equals_the_package_in_both_forms(n: int, d: int) -> None:
    x = rows(n, n, d)
    assert vendi_score(x) == pytest.approx(vendi.score_X(x), rel=1e-9)
    assert vendi_score(x) == pytest.approx(vendi.score_dual(x), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20))
def test_vendi_bounds_permutation_and_copies(seed: int, n: int, d: int) -> None:
    x = rows(seed, n, d)
    score = vendi_score(x)
    assert 1 <= score <= min(n, d)
    assert vendi_score(x[::-1]) == pytest.approx(score, rel=1e-9)
    assert vendi_score(x * 3.5) == pytest.approx(score, rel=1e-9)  # cosine ignores length
    assert vendi_score(np.repeat(x, 3, axis=0)) == pytest.approx(score, rel=1e-6)
    assert vendi_score(np.repeat(x[:1], n, axis=0)) == pytest.approx(1, abs=1e-9)


def test_cumulative_vendi_tells_a_moving_proposer_from_a_standing_one() -> None:
    e = np.eye(6)
    assert cumulative_vendi([e[:2], e[2:4], e[4:]]) == pytest.approx(6)
    assert cumulative_vendi([e[:2]] * 3) == pytest.approx(2)
    assert cumulative_vendi([e[:2]]) == pytest.approx(vendi_score(e[:2]))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(2, 9)
)
def test_the_growing_union_scores_as_the_package_scores_the_whole(
    seed: int, sizes: list[int], d: int
) -> None:
    x = rows(seed, sum(sizes), d)
    union, end = CumulativeVendi(), 0
    for size in sizes:
        end += size
        score = union.add(x[end - size : end])
        assert score == pytest.approx(vendi.score_dual(x[:end]), rel=1e-8)


def test_an_empty_addition_is_refused() -> None:
    with pytest.raises(HarnessError, match="no text was added"):
        CumulativeVendi().add(np.empty((0, 4)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 9))
def test_novelty_does_not_depend_on_how_many_rows_are_held(seed: int, n: int, held: int) -> None:
    now, earlier = rows(seed, n, 5), [rows(seed + 1, 4, 5), rows(seed + 2, 3, 5)]
    at_once = novelty_rate(now, earlier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.diversity.semantic._ROWS", held)
        assert novelty_rate(now, earlier) == at_once


def test_novelty_by_hand() -> None:
    def at(cosine: float) -> list[float]:
        return [cosine, float(np.sqrt(1 - cosine**2)), 0.0]

    earlier = [np.array([[1.0, 0, 0]]), np.array([[0.0, 0, 1.0]])]
    now = np.array([at(1.0), at(0.71), at(0.69), at(0.0)])
    assert novelty_rate(now, earlier) == pytest.approx(2 / 4)
    assert novelty_rate(now, earlier, distance=0.2) == pytest.approx(3 / 4)
    # New against one iteration and not against the other is not new.
    assert novelty_rate(np.array([[0.0, 0, 2.0]]), earlier) == 0.0
    assert novelty_rate(now, []) is None


def test_log_det_by_hand() -> None:
    assert log_det_volume(np.eye(4)) == pytest.approx(0, abs=1e-12)
    n, e = 5, RIDGE
    copies = ((n - 1) * np.log(e / (1 + e)) + np.log((n + e) / (1 + e))) / n
    assert log_det_volume(np.ones((n, 2))) == pytest.approx(copies)
    pair = np.array([[1.0, 0], [0.6, 0.8]])
    expected = (np.log((1.6 + e) / (1 + e)) + np.log((0.4 + e) / (1 + e))) / 2
    assert log_det_volume(pair) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_log_det_is_that_of_the_definition(seed: int, n: int, d: int) -> None:
    """From all n eigenvalues of the n x n matrix, whichever of the two is smaller."""
    x = rows(seed, n, d)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.clip(np.linalg.eigvalsh(unit @ unit.T), 0, None)
    expected = np.log((values + RIDGE) / (1 + RIDGE)).mean()
    assert log_det_volume(x) == pytest.approx(expected, rel=1e-8, abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_log_det_is_at_most_0_and_order_free(seed: int, n: int, d: int) -> None:
    x = rows(seed, n, d)
    assert log_det_volume(x) <= 1e-9
    assert log_det_volume(x[::-1]) == pytest.approx(log_det_volume(x), abs=1e-9)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_undefined_rows_are_refused(bad: float) -> None:
    x = np.eye(3)
    x[1] = bad
    for function in (vendi_score, log_det_volume):
        with pytest.raises(HarnessError, match="text 1 is zero or not finite"):
            function(x)
