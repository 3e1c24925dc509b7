"""Intervals and tests against scipy and statsmodels, and their coverage in a simulation."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.errors import HarnessError
from harness.statistics import Difference, Interval, holm, pass_at_k, t_interval, welch

samples = st.lists(st.floats(-100, 100), min_size=2, max_size=8).filter(
    lambda x: float(np.std(x)) > 1e-3
)


@given(samples, st.sampled_from([0.8, 0.95, 0.99]))
def test_t_interval_equals_scipy(values: list[float], level: float) -> None:
    got = t_interval(values, level)
    low, high = stats.t.interval(
        level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert got.mean == pytest.approx(np.mean(values))
    assert got.n == len(values)


def test_t_interval_by_hand() -> None:
    got = t_interval([0.4, 0.5, 0.6])
    assert got.mean == pytest.approx(0.5)
    assert got.high == pytest.approx(0.5 + 4.302653 * 0.1 / np.sqrt(3), rel=1e-6)


def test_fewer_than_two_runs_have_no_interval() -> None:
    assert t_interval([0.5]) == Interval(0.5, None, None, 1)
    assert t_interval([]) == Interval(None, None, None, 0)
    assert welch([0.5], [0.1, 0.2]) == Difference(pytest.approx(0.35), None, None, None, None, None)
    assert welch([], [0.1, 0.2]) == Difference(None, None, None, None, None, None)


@given(samples, samples)
def test_welch_equals_scipy(a: list[float], b: list[float]) -> None:
    got, expected = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert got.t == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
    assert got.df == pytest.approx(expected.df, rel=1e-9)
    assert got.p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)


@given(samples, samples)
def test_welch_is_antisymmetric(a: list[float], b: list[float]) -> None:
    forth, back = welch(a, b), welch(b, a)
    assert forth.diff == -(back.diff or 0.0)
    assert forth.p == back.p
    assert forth.low == pytest.approx(-(back.high or 0.0))


def test_no_spread_at_all() -> None:
    assert t_interval([0.5, 0.5, 0.5]) == Interval(0.5, 0.5, 0.5, 3)
    # 0.1 + 0.2 is 0.3 up to rounding, which is no spread.
    assert t_interval([0.1 + 0.2, 0.3]).high == pytest.approx(0.3)
    got = welch([0.5, 0.5], [0.25, 0.25, 0.25])
    assert got == Difference(0.25, 0.25, 0.25, None, None, None)
    one_side = welch([0.5, 0.5], [0.2, 0.3])
    expected = stats.ttest_ind([0.5, 0.5], [0.2, 0.3], equal_var=False)
    assert one_side.p == pytest.approx(expected.pvalue)


def test_tiny_spread_does_not_underflow() -> None:
    got = welch([1e-100, 2e-100, 4e-100], [0.0, 1e-100])
    assert got.df is not None
    assert 1 <= got.df <= 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(HarnessError, match="NaN or infinite"):
        t_interval([0.1, bad])
    with pytest.raises(HarnessError, match="NaN or infinite"):
        welch([0.1, 0.2], [bad])
    with pytest.raises(HarnessError, match="level"):
        t_interval([0.1, 0.2], level=1.0)


@settings(deadline=None, max_examples=20)  # statsmodels collects garbage in every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(pvalues: list[float]) -> None:
    expected = multipletests(pvalues, method="holm")[1]
    np.testing.assert_allclose(np.array(holm(pvalues), dtype=float), expected, rtol=1e-12)


def test_holm_passes_none_through() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([None]) == [None]
    assert holm([]) == []
    with pytest.raises(HarnessError, match="outside"):
        holm([1.2])


@pytest.mark.filterwarnings("ignore:pass@")
def test_pass_at_k_is_the_mean_over_all_choices_of_k() -> None:
    for n, correct in [(5, 2), (6, 0), (6, 6), (4, 3)]:
        outcomes = [1] * correct + [0] * (n - correct)
        for k in range(1, n + 1):
            chosen = [max(c) for c in itertools.combinations(outcomes, k)]
            assert pass_at_k(n, correct, k) == pytest.approx(np.mean(chosen))


def test_pass_at_k_refuses_and_warns() -> None:
    with pytest.raises(HarnessError, match="at least 8 samples"):
        pass_at_k(4, 2, 8)
    with pytest.raises(HarnessError, match="impossible"):
        pass_at_k(4, 5, 2)
    with pytest.raises(HarnessError, match="at least 1"):
        pass_at_k(4, 2, 0)
    with pytest.warns(UserWarning, match="draw 8"):
        pass_at_k(6, 2, 4)
    assert pass_at_k(10_000, 5_000, 1) == 0.5


def simulator() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_default_intervals_cover_and_the_bootstrap_of_three_seeds_does_not() -> None:
    """The second half guards the simulator: were it to pass, the simulation would be broken.

    With 2000 experiments the standard error of a coverage is at most 1 point.
    """
    found = simulator().table(simulator().World(), groups=2000, seeds=3, seed=1)
    assert found["t over seeds (default)"] >= 0.93
    assert found["difference, Welch t (default)"] >= 0.93
    assert found["new items too (default)"] >= 0.93
    assert found["difference, new items too (default)"] >= 0.93
    assert found["percentile bootstrap over seeds"] < 0.85
    assert found["difference, bootstrap"] < 0.90
    assert found["+- 1 SE"] < 0.70


def test_intervals_over_seeds_do_not_hold_for_new_items() -> None:
    """With more seeds the items are what is left, and an interval without them too narrow."""
    found = simulator().table(simulator().World(), groups=1000, seeds=8, seed=1)
    assert found["new items: t over seeds"] < 0.90
    assert found["new items too (default)"] >= 0.93
    assert found["difference, new items too (default)"] >= 0.93


def test_without_its_floor_the_new_items_interval_can_fail() -> None:
    """Where seeds vary much, the items bring degrees of freedom and little else."""
    found = simulator().table(simulator().World(seed=1.0), groups=2000, seeds=3, seed=1)
    assert found["new items: Satterthwaite, no floor"] < 0.93
    assert found["new items too (default)"] >= 0.93


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_rank_intervals_hold_the_true_places(spread: float) -> None:
    """Three seeds, 20 methods from near ties to well apart; resampling the runs never does."""
    found = simulator().rank_table(60, seeds=3, seed=1, spread=spread)
    assert found["pairwise Welch (default)"][0] >= 0.95
    assert found["runs resampled"][0] < 0.94
    assert found["pairwise Welch (default)"][1] < 0.99  # not by leaving everything open
    if spread == 0:
        assert found["means redrawn from t"][0] < 0.90
