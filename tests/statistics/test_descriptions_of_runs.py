"""Descriptions against rliable and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics as rliable_metrics
from scipy import stats

from harness.errors import HarnessError
from harness.statistics import iqm, performance_profile, probability_of_improvement

scores = st.lists(st.integers(0, 6).map(lambda x: x / 6), min_size=1, max_size=12)


@given(scores, scores)
def test_probability_of_improvement_equals_rliable_and_counting(
    a: list[float], b: list[float]
) -> None:
    got = probability_of_improvement(a, b)
    x, y = np.array(a)[:, None], np.array(b)[:, None]
    assert got == pytest.approx(rliable_metrics.probability_of_improvement(x, y))
    pairs = [(p > q) + (p == q) / 2 for p, q in itertools.product(a, b)]
    assert got == pytest.approx(sum(pairs) / len(pairs))
    assert probability_of_improvement(b, a) == pytest.approx(1 - got)
    assert probability_of_improvement(a, b, higher=False) == pytest.approx(1 - got)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 1000))
def test_iqm_equals_rliable_and_scipy(runs: int, tasks: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((runs, tasks))
    assert iqm(values) == pytest.approx(float(rliable_metrics.aggregate_iqm(values)))
    assert iqm(values) == pytest.approx(float(stats.trim_mean(values, 0.25, axis=None)))


def test_iqm_leaves_out_the_extremes() -> None:
    assert iqm([0.0, 0.5, 0.7, 100.0]) == pytest.approx(0.6)
    assert iqm([3.0]) == 3.0


@given(scores)
def test_performance_profile_is_scipys_survival_function(values: list[float]) -> None:
    thresholds = np.linspace(-0.1, 1.1, 25)
    expected = stats.ecdf(values).sf.evaluate(thresholds)
    np.testing.assert_allclose(performance_profile(values, thresholds), expected, atol=1e-12)


def test_performance_profile_takes_runs_and_tasks_together() -> None:
    got = performance_profile([[0.2, 0.4], [0.6, 0.8]], [0.0, 0.4, 0.8])
    np.testing.assert_allclose(got, [1.0, 0.5, 0.0])  # above a threshold, not at it


@pytest.mark.parametrize("bad", [[], [float("nan")], [float("inf"), 0.5]])
def test_nothing_to_describe_is_refused(bad: list[float]) -> None:
    message = "no values" if not bad else "NaN or infinite"
    for call in (
        lambda: iqm(bad),
        lambda: performance_profile(bad, [0.5]),
        lambda: probability_of_improvement(bad, [0.5]),
        lambda: probability_of_improvement([0.5], bad),
    ):
        with pytest.raises(HarnessError, match=message):
            call()
    with pytest.raises(HarnessError, match="threshold"):
        performance_profile([0.5], [float("nan")])
