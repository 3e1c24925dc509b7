"""Power, seeds needed, pooled deviations and the noise floor, against statsmodels and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.power import TTestIndPower

from harness.errors import HarnessError
from harness.rng import stream
from harness.statistics import (
    noise_floor,
    pooled_sd,
    power_welch,
    sd_interval,
    seeds_needed,
    smallest_effect,
    t_interval,
)

PLANNER = TTestIndPower()


@settings(deadline=None)
@given(st.floats(0.01, 4), st.floats(0.1, 10), st.integers(2, 40), st.sampled_from([0.9, 0.95]))
def test_equal_spread_equals_scipy_and_statsmodels(
    d: float, sd: float, n: int, level: float
) -> None:
    """t squared is F: the noncentral F stays a number where the noncentral t doesn't."""
    got, df = power_welch(d * sd, sd, sd, n, n, level), 2 * n - 2
    critical = stats.f.isf(1 - level, 1, df)
    assert got == pytest.approx(stats.ncf.sf(critical, 1, df, d**2 * n / 2), abs=1e-6)
    expected = PLANNER.power(effect_size=d, nobs1=n, alpha=1 - level)
    assert math.isnan(expected) or got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("sd_a", "sd_b", "n_a", "n_b"), [(1.0, 0.3, 3, 3), (1.0, 0.3, 3, 10), (1.0, 2.0, 8, 5)]
)
def test_unequal_spread_is_what_a_simulation_finds(
    sd_a: float, sd_b: float, n_a: int, n_b: int
) -> None:
    rng = stream(0, "power", n_a, n_b)
    error = math.hypot(sd_a / math.sqrt(n_a), sd_b / math.sqrt(n_b))
    a = rng.normal(3 * error, sd_a, (40_000, n_a))
    b = rng.normal(0, sd_b, (40_000, n_b))
    found = np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05)
    assert power_welch(3 * error, sd_a, sd_b, n_a, n_b) == pytest.approx(found, abs=0.03)
    assert power_welch(-3 * error, sd_b, sd_a, n_b, n_a) == pytest.approx(
        power_welch(3 * error, sd_a, sd_b, n_a, n_b)
    )


def test_the_ends_of_power() -> None:
    assert power_welch(0, 1, 1, 5, 5) == pytest.approx(0.05)
    assert power_welch(1e9, 1, 1, 2, 2) == 1.0
    assert power_welch(1e3, 1, 1, 50, 50) == pytest.approx(1.0)
    assert power_welch(1, 1, 0, 3, 3) > power_welch(1, 1, 1, 3, 3)
    # Two seeds and a level at which the critical t is 1000: power is less than it looks.
    far = power_welch(2000, 1, 1, 2, 2, level=0.999999)
    assert far == pytest.approx(1 - math.exp(-4), abs=0.01)
    assert power_welch(smallest_effect(1, 2, 0.8, 0.999999), 1, 1, 2, 2, 0.999999) == (
        pytest.approx(0.8)
    )
    powers = [power_welch(1, 1, 1, n, n) for n in range(2, 60)]
    assert powers == sorted(powers)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.2, 5), st.floats(0.1, 10), st.sampled_from([0.5, 0.8, 0.9]))
def test_seeds_needed_equals_statsmodels(d: float, sd: float, power: float) -> None:
    got = seeds_needed(d * sd, sd, power)
    assert PLANNER.power(d, got, 0.05) >= power - 1e-9
    assert got == 2 or PLANNER.power(d, got - 1, 0.05) < power + 1e-9
    assert seeds_needed(-d * sd, sd, power) == got


@pytest.mark.parametrize(("seeds", "expected"), [(3, 3.1), (5, 2.0), (10, 1.3)])
def test_the_smallest_effects_in_deviations(seeds: int, expected: float) -> None:
    assert smallest_effect(1.0, seeds) == pytest.approx(expected, abs=0.05)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 60), st.floats(0.01, 100), st.sampled_from([0.5, 0.8, 0.95]))
def test_smallest_effect_has_the_power_asked_for(n: int, sd: float, power: float) -> None:
    effect = smallest_effect(sd, n, power)
    assert power_welch(effect, sd, sd, n, n) == pytest.approx(power, abs=1e-6)
    if power < 0.95:
        expected = PLANNER.solve_power(nobs1=n, alpha=0.05, power=power)
        assert effect == pytest.approx(sd * expected, rel=1e-4)


@given(st.lists(st.lists(st.floats(-10, 10), max_size=5), max_size=6))
def test_pooled_sd_is_the_residual_of_group_means(groups: list[list[float]]) -> None:
    kept = [g for g in groups if len(g) > 1]
    if not kept:
        with pytest.raises(HarnessError, match="run more seeds"):
            pooled_sd(groups)
        return
    values = np.concatenate(kept)
    dummies = np.repeat(np.eye(len(kept)), [len(g) for g in kept], axis=0)
    fit = OLS(values, dummies).fit()
    assert pooled_sd(groups).df == fit.df_resid
    assert pooled_sd(groups).sd == pytest.approx(math.sqrt(fit.mse_resid), abs=1e-6)


@given(st.floats(0.01, 100), st.integers(1, 200), st.sampled_from([0.8, 0.95]))
def test_sd_interval_has_equal_tails(sd: float, df: int, level: float) -> None:
    low, high = sd_interval(sd, df, level)
    assert low < high
    tail = (1 - level) / 2
    assert stats.chi2.sf(df * sd**2 / low**2, df) == pytest.approx(tail)
    assert stats.chi2.cdf(df * sd**2 / high**2, df) == pytest.approx(tail)


def test_sd_interval_covers() -> None:
    draws = stream(0, "deviations").normal(0, 2.0, (4000, 4))
    bounds = [sd_interval(float(x.std(ddof=1)), 3) for x in draws]
    assert np.mean([low <= 2 <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.015)


def test_noise_floor_by_hand_and_as_an_interval() -> None:
    got = noise_floor([[0.50, 0.52], [0.40, 0.40], [0.9]])
    assert got.df == 2
    assert got.sd == pytest.approx(0.01)
    assert got.difference == pytest.approx(4.302653 * 0.01 * math.sqrt(2), rel=1e-6)
    # One group of n: the floor is the half width of its mean's interval, times sqrt(2 n).
    x = [0.1, 0.4, 0.2, 0.25]
    mean = t_interval(x)
    assert mean.high is not None
    assert mean.mean is not None
    half = mean.high - mean.mean
    assert noise_floor([x]).difference == pytest.approx(half * math.sqrt(8))
    assert noise_floor([[0.3, 0.3], [0.1, 0.1, 0.1]]).difference == 0.0


def test_pairs_of_reruns_stay_within_the_noise_floor() -> None:
    rng = stream(0, "reruns")
    within = []
    for _ in range(3000):
        x = rng.normal(0, 1, (6, 2)) + rng.normal(0, 5, (6, 1))
        new = rng.normal(0, 1, 2)
        within.append(abs(new[0] - new[1]) <= noise_floor(x.tolist()).difference)
    assert np.mean(within) == pytest.approx(0.95, abs=0.015)


def test_what_cannot_be_planned_is_refused() -> None:
    nan = float("nan")
    for call, message in [
        (lambda: power_welch(1, 1, 1, 1, 5), "2 seeds per method, got 1"),
        (lambda: power_welch(1, 0, 0, 3, 3), "no spread"),
        (lambda: power_welch(nan, 1, 1, 3, 3), "not a number"),
        (lambda: power_welch(1, nan, 1, 3, 3), "impossible"),
        (lambda: power_welch(1, -1, 1, 3, 3), "impossible"),
        (lambda: power_welch(1, 1, 1, 3, 3, level=1), "level"),
        (lambda: seeds_needed(0, 1), "can't be found"),
        (lambda: seeds_needed(nan, 1), "can't be found"),
        (lambda: seeds_needed(1, 0), "no spread"),
        (lambda: seeds_needed(1, 1, power=1), "power must be"),
        (lambda: seeds_needed(1e-9, 1), "more than 100000 seeds"),
        (lambda: smallest_effect(1, 1), "2 seeds per method"),
        (lambda: smallest_effect(1, 3, power=0.04), "the test's size"),
        (lambda: smallest_effect(0, 3), "no spread"),
        (lambda: sd_interval(1, 0), "degrees of freedom"),
        (lambda: sd_interval(nan, 3), "impossible"),
        (lambda: noise_floor([[0.1], []]), "nothing was executed twice"),
        (lambda: noise_floor([[0.1, nan]]), "NaN"),
        (lambda: noise_floor([[0.1, 0.2]], level=2), "level"),
    ]:
        with pytest.raises(HarnessError, match=message):
            call()
