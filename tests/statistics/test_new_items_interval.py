"""Intervals for new seeds and new items, against scipy where they reduce to known ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.errors import HarnessError
from harness.rng import stream
from harness.statistics import (
    Difference,
    Interval,
    new_items_difference,
    new_items_interval,
    t_interval,
    welch,
)

Scores = dict[str, NDArray[Any]]


def drawn(seed: int, runs: int, sizes: tuple[int, ...] = (12, 5), shift: float = 0.0) -> Scores:
    rng = stream(seed, "scores")
    of_run = rng.normal(0, 0.05, (runs, 1))
    return {f"t{n}": rng.random((runs, n)) + of_run + shift for n in sizes}


def macro(scores: Scores) -> list[float]:
    return np.mean([x.mean(axis=1) for x in scores.values()], axis=0).tolist()


def bounds(found: Interval | Difference) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def half(found: Interval | Difference) -> float:
    low, high = bounds(found)
    return (high - low) / 2


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.sampled_from([0.8, 0.95]))
def test_one_task_is_welch_with_the_items_as_second_sample(
    seed: int, runs: int, level: float
) -> None:
    """Its variance and Satterthwaite's formula are those of Welch's test of runs against items."""
    scores = drawn(seed, runs, (9,))
    items = scores["t9"].mean(axis=0)
    other = stats.ttest_ind(macro(scores), items, equal_var=False).confidence_interval(level)
    expected = max((other.high - other.low) / 2, half(t_interval(macro(scores), level)))
    assert half(new_items_interval(scores, level)) == pytest.approx(expected, rel=1e-9)


def test_runs_that_agree_leave_a_t_interval_over_items() -> None:
    item_scores = stream(0, "items").random(20)
    scores = {"t": np.tile(item_scores, (4, 1))}
    expected = stats.ttest_1samp(item_scores, 0).confidence_interval(0.9)
    assert bounds(new_items_interval(scores, 0.9)) == pytest.approx((expected.low, expected.high))


def test_runs_that_agree_leave_a_paired_t_test_over_items() -> None:
    a, b = stream(0, "a").random(20), stream(0, "b").random(20)
    got = new_items_difference({"t": np.tile(a, (3, 1))}, {"t": np.tile(b, (2, 1))})
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert bounds(got) == pytest.approx((interval.low, interval.high))
    assert (got.t, got.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert got.df == pytest.approx(19)


def test_items_that_shift_alike_leave_welch() -> None:
    item, of_a, of_b = stream(0, "i").random(10), [0.1, 0.3, 0.2], [0.5, 0.1, 0.7, 0.2]
    a = {"t": item + np.array(of_a)[:, None]}
    b = {"t": item + np.array(of_b)[:, None]}
    got, expected = new_items_difference(a, b), welch(of_a, of_b)
    assert bounds(got) == pytest.approx(bounds(expected))
    assert got.p == pytest.approx(expected.p)
    assert got.df == pytest.approx(expected.df)


def test_several_tasks_by_hand() -> None:
    """Two tasks, three runs: parts of the variance and degrees of freedom spelled out."""
    scores = drawn(3, 3)
    runs = np.array(macro(scores))
    first, second = scores["t12"].mean(axis=0), scores["t5"].mean(axis=0)
    parts = [runs.var(ddof=1) / 3, first.var(ddof=1) / 12 / 4, second.var(ddof=1) / 5 / 4]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 11 + parts[2] ** 2 / 4)
    plain = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    got = new_items_interval(scores)
    assert got.mean == pytest.approx(runs.mean())
    assert got.n == 3
    assert half(got) == pytest.approx(max(plain, half(t_interval(runs.tolist()))))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
def test_never_narrower_than_the_interval_for_these_items(seed: int, ra: int, rb: int) -> None:
    a, b = drawn(seed, ra), drawn(seed + 1, rb, shift=0.2)
    assert half(new_items_interval(a)) >= half(t_interval(macro(a))) * (1 - 1e-9)
    assert half(new_items_difference(a, b)) >= half(welch(macro(a), macro(b))) * (1 - 1e-9)
    assert new_items_difference(a, b).diff == pytest.approx(welch(macro(a), macro(b)).diff)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_no_order_matters_and_sides_swap(seed: int) -> None:
    a, b = drawn(seed, 3), drawn(seed + 1, 4)
    rng = stream(seed, "shuffle")
    items = {task: rng.permutation(x.shape[1]) for task, x in a.items()}
    runs = rng.permutation(3)
    moved_a = {task: a[task][runs][:, items[task]] for task in reversed(a)}
    moved_b = {task: b[task][:, items[task]] for task in b}
    assert bounds(new_items_interval(moved_a)) == pytest.approx(bounds(new_items_interval(a)))
    forth, back = new_items_difference(moved_a, moved_b), new_items_difference(b, a)
    assert bounds(forth) == pytest.approx(tuple(-x for x in reversed(bounds(back))))
    assert forth.p == pytest.approx(back.p)


def test_what_has_no_interval() -> None:
    one = {"t": np.array([[0.0, 1.0, 1.0]])}
    two = {"t": np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])}
    assert new_items_interval(one) == Interval(pytest.approx(2 / 3), None, None, 1)
    assert new_items_interval({}) == Interval(None, None, None, 0)
    assert new_items_interval({"t": np.zeros((0, 3))}) == Interval(None, None, None, 0)
    assert new_items_interval({"t": np.ones((3, 1))}) == Interval(1.0, None, None, 3)
    nothing = Difference(None, None, None, None, None, None)
    assert new_items_difference({"t": np.zeros((0, 3))}, two) == nothing
    alone = new_items_difference(one, two)
    assert alone.diff == pytest.approx(1 / 6)
    assert (alone.low, alone.high, alone.t, alone.df, alone.p) == (None,) * 5
    single_item = {"t": np.array([[1.0], [0.0]])}
    assert new_items_difference(single_item, single_item).low is None


def test_no_spread_at_all() -> None:
    same = {"t": np.full((3, 4), 0.5)}
    assert new_items_interval(same) == Interval(0.5, 0.5, 0.5, 3)
    got = new_items_difference(same, {"t": np.full((2, 4), 0.25)})
    assert got == Difference(0.25, 0.25, 0.25, None, None, None)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"t": np.array([[0.1, np.nan], [0.0, 1.0]])}, "t: a score is NaN"),
        ({"t": np.array([0.1, 0.2])}, r"expected \[runs, items\]"),
        ({"t": np.zeros((3, 0))}, "no items"),
        ({"t": np.zeros((3, 2)), "u": np.zeros((2, 2))}, "t 3, u 2"),
    ],
)
def test_bad_scores_are_refused(scores: Scores, message: str) -> None:
    good = {"t": np.zeros((2, 2))}
    with pytest.raises(HarnessError, match=message):
        new_items_interval(scores)
    with pytest.raises(HarnessError, match=message):
        new_items_difference(scores, scores)
    with pytest.raises(HarnessError, match="level"):
        new_items_interval(good, level=0)


def test_different_items_are_refused() -> None:
    three, two = {"t": np.zeros((2, 3))}, {"t": np.zeros((2, 2))}
    with pytest.raises(HarnessError, match="3 items against 2"):
        new_items_difference(three, two)
    with pytest.raises(HarnessError, match="only one side has u"):
        new_items_difference(two, {**two, "u": np.zeros((2, 2))})
