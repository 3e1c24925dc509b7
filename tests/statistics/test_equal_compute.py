"""Scores at equal compute, against numpy's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.statistics import at_budget, common_budget

spent = st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True).map(sorted)


@given(spent, st.integers(-5, 60), st.integers(0, 100))
def test_between_measurements_it_is_numpys_interpolation(
    x: list[int], budget: int, seed: int
) -> None:
    y = np.random.default_rng(seed).random(len(x)).tolist()
    got = at_budget(x, y, budget)
    if not x[0] <= budget <= x[-1]:
        assert got is None
    else:
        assert got == pytest.approx(float(np.interp(budget, x, y)))
        assert min(y) - 1e-12 <= (got or 0.0) <= max(y) + 1e-12


@given(st.lists(spent, min_size=1, max_size=5))
def test_the_common_budget_is_reached_by_all_and_no_larger_one_is(xs: list[list[int]]) -> None:
    budget = common_budget(xs)
    assert all(x[-1] >= budget for x in xs)
    assert any(at_budget(x, [0.0] * len(x), budget + 0.5) is None for x in xs)


def test_by_hand() -> None:
    x, y = [0, 10, 30], [0.1, 0.2, 0.6]
    assert at_budget(x, y, 0) == 0.1
    assert at_budget(x, y, 20) == pytest.approx(0.4)
    assert at_budget(x, y, 30) == 0.6
    assert at_budget(x, y, 30.001) is None
    assert at_budget([], [], 1) is None
    assert common_budget([[0, 10, 30], [0, 25]]) == 25


def test_an_iteration_that_cost_nothing_gives_its_later_score() -> None:
    x, y = [0, 10, 10, 20], [0.0, 0.2, 0.3, 0.5]
    assert at_budget(x, y, 10) == 0.3
    assert at_budget(x, y, 15) == pytest.approx(0.4)
    assert at_budget(x, y, 5) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("x", "y", "budget", "message"),
    [
        ([0, 2, 1], [0, 0, 0], 1, "decreases"),
        ([0, 1], [0.5], 1, "2 budgets against 1 scores"),
        ([0, float("nan")], [0, 0], 1, "NaN"),
        ([0, 1], [0, float("nan")], 1, "NaN"),
        ([0, 1], [0, 0], float("inf"), "NaN or infinite"),
    ],
)
def test_bad_trajectories_are_refused(
    x: list[float], y: list[float], budget: float, message: str
) -> None:
    with pytest.raises(HarnessError, match=message):
        at_budget(x, y, budget)


def test_bad_budgets_are_refused() -> None:
    for xs, message in [
        ([], "no measurement"),
        ([[1.0], []], "no measurement"),
        ([[2.0, 1.0]], "decreases"),
        ([[float("nan")]], "NaN"),
    ]:
        with pytest.raises(HarnessError, match=message):
            common_budget(xs)
