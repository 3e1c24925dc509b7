"""How many seeds a difference needs, from the spread between seeds; and the noise of a rerun."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import optimize, stats

from harness.errors import HarnessError
from harness.statistics.intervals import check_level, finite, t_quantile, variance

MOST_SEEDS = 100_000
"""Beyond this many runs per method, `seeds_needed` refuses to answer."""


@dataclass(frozen=True)
class Spread:
    """A standard deviation pooled over groups, and its degrees of freedom."""

    sd: float
    df: int


@dataclass(frozen=True)
class NoiseFloor:
    """What repeating one and the same run changes.

    Attributes:
        sd: standard deviation between executions of the same method and seed.
        df: its degrees of freedom.
        difference: what two single runs may differ by from this noise alone, at the level asked.
    """

    sd: float
    df: int
    difference: float


def power_welch(
    effect: float, sd_a: float, sd_b: float, n_a: int, n_b: int, level: float = 0.95
) -> float:
    """Chance that Welch's two-sided test finds a true difference of means.

    Noncentral t with noncentrality effect / se, se^2 = sd_a^2/n_a + sd_b^2/n_b, and Welch's degrees
    of freedom at these standard deviations: exact for equal sd and n, near it otherwise.

    Args:
        effect: true difference, in the unit of the standard deviations; its sign doesn't matter.
        sd_a, sd_b: true standard deviations between seeds; at most one is 0.
        n_a, n_b: seeds of either method.
        level: confidence level; the test's size is 1 - level.

    Raises:
        HarnessError: fewer than 2 seeds, a negative or not finite sd, no spread at all, an effect
            that is not finite, or a level outside (0, 1).
    """
    check_level(level)
    _check_sd(sd_a)
    _check_sd(sd_b)
    if min(n_a, n_b) < 2:
        raise HarnessError(f"power: a test needs 2 seeds per method, got {min(n_a, n_b)}")
    if not math.isfinite(effect):
        raise HarnessError(f"power: an effect of {effect} is not a number")
    part_a, part_b = sd_a**2 / n_a, sd_b**2 / n_b
    error = math.sqrt(part_a + part_b)
    if error == 0:
        raise HarnessError("power: no spread between seeds was seen, so there is none to plan with")
    share_a, share_b = part_a / error**2, part_b / error**2
    df = 1 / (share_a**2 / (n_a - 1) + share_b**2 / (n_b - 1))
    return _two_sided_power(abs(effect) / error, df, level)


def seeds_needed(effect: float, sd: float, power: float = 0.8, level: float = 0.95) -> int:
    """Fewest seeds per method that find a true difference with this power; 2 at least.

    Args:
        effect: true difference, in the unit of `sd`.
        sd: standard deviation between seeds, the same for both methods.
        power: chance of finding it, in (0, 1).

    Raises:
        HarnessError: an effect of 0 or not finite, an sd that is not above 0, a power or level
            outside (0, 1), or more than 100000 seeds needed.
    """
    _check_power(power)
    if not (math.isfinite(effect) and effect != 0):
        raise HarnessError(f"power: an effect of {effect} can't be found; give one above 0")
    enough = 2
    while power_welch(effect, sd, sd, enough, enough, level) < power:
        enough *= 2
        if enough > MOST_SEEDS:
            raise HarnessError(
                f"power: an effect of {effect:g} at a standard deviation of {sd:g} needs more than "
                f"{MOST_SEEDS} seeds"
            )
    too_few = max(enough // 2, 1)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if power_welch(effect, sd, sd, middle, middle, level) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def smallest_effect(sd: float, n: int, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest true difference that n seeds per method find with this power, in the unit of `sd`.

    Raises:
        HarnessError: fewer than 2 seeds, an sd that is not above 0, a power not in (1 - level, 1),
            or a level outside (0, 1).
    """
    _check_power(power)
    check_level(level)
    if power <= 1 - level:
        raise HarnessError(f"power: {power:g} is no more than the test's size, {1 - level:g}")
    power_welch(0.0, sd, sd, n, n, level)  # refuses what can't be computed
    df = 2 * n - 2
    found = optimize.brentq(
        lambda x: _two_sided_power(x, df, level) - power, 0.0, _certain(level, df)
    )
    return sd * math.sqrt(2 / n) * float(found)


def pooled_sd(groups: Sequence[Sequence[float]]) -> Spread:
    """Standard deviation within groups: sqrt(sum (n-1) s^2 / sum (n-1)).

    Groups of fewer than 2 values say nothing about it and are skipped.

    Raises:
        HarnessError: no group has 2 values, or a value is not finite.
    """
    kept = [x for x in map(finite, groups) if len(x) >= 2]
    df = sum(len(x) - 1 for x in kept)
    if df == 0:
        raise HarnessError("pooled standard deviation: no group has 2 values; run more seeds")
    return Spread(math.sqrt(sum((len(x) - 1) * variance(x) for x in kept) / df), df)


def sd_interval(sd: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a standard deviation: sqrt(df s^2 / chi2 quantiles), for normal values.

    Raises:
        HarnessError: a negative or not finite sd, df not above 0, or a level outside (0, 1).
    """
    check_level(level)
    _check_sd(sd)
    if not 0 < df < math.inf:
        raise HarnessError(f"standard deviation: {df} degrees of freedom say nothing about it")
    above, below = (float(stats.chi2.ppf(q, df)) for q in ((1 + level) / 2, (1 - level) / 2))
    return sd * math.sqrt(df / above), sd * math.sqrt(df / below)


def noise_floor(groups: Sequence[Sequence[float]], level: float = 0.95) -> NoiseFloor:
    """Noise of repeating a run: of two executions that should have agreed.

    difference = t((1 + level) / 2, df) sd sqrt(2): two single runs that differ by less than this
    may be the same method and seed, executed twice. Zero where executions agree exactly.

    Args:
        groups: for each (method, seed) the results of its repeated executions.

    Raises:
        HarnessError: nothing was executed twice, a value is not finite, or the level is outside
            (0, 1).
    """
    check_level(level)
    if not any(len(x) >= 2 for x in groups):
        raise HarnessError("noise floor: nothing was executed twice; repeat a method and seed")
    spread = pooled_sd(groups)
    reach = t_quantile(level, spread.df) * math.sqrt(2)
    return NoiseFloor(spread.sd, spread.df, reach * spread.sd)


def _certain(level: float, df: float) -> float:
    """A noncentrality at which power is 1 to all digits.

    It takes a chi of 10 times what is expected or a normal below -40 to miss then. Scipy's
    noncentral t isn't asked beyond: it would say NaN.
    """
    return 10 * t_quantile(level, df) + 40


def _two_sided_power(noncentrality: float, df: float, level: float) -> float:
    critical = t_quantile(level, df)
    if noncentrality >= _certain(level, df):
        return 1.0
    above = float(stats.nct.sf(critical, df, noncentrality))
    below = float(stats.nct.cdf(-critical, df, noncentrality))
    if not math.isfinite(below):  # so far in the tail that scipy gives up
        below = 0.0
    return min(1.0, above + below)


def _check_sd(sd: float) -> None:
    if not 0 <= sd < math.inf:
        raise HarnessError(f"a standard deviation of {sd} is impossible")


def _check_power(power: float) -> None:
    if not 0 < power < 1:
        raise HarnessError(f"power must be in (0, 1), got {power}")
