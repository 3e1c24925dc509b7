"""Other systems' rewards, by hand."""

from __future__ import annotations

import pytest
from reward_batches import place, proposed, reward

from harness.methods import build
from harness.policy import Policy

SHARES = [0.0, 0.2, 0.5, 0.9, 1.0]


def scored(policy: Policy):
    return proposed(policy, [*"abcde", None], [*SHARES, 0.0], 0.25)


def total(entry: str, policy: Policy):
    ctx = place()
    found = reward(build(entry)[0], ctx, scored(policy))
    assert ctx.counts["rewards_changed"] > 0
    return found.total


def test_azr(tiny_policy: Policy) -> None:
    """1 - p but 0 at both ends; bad format -1."""
    assert total("azr_reward", tiny_policy) == pytest.approx([0, 0.8, 0.5, 0.1, 0, -1])


def test_spice(tiny_policy: Policy) -> None:
    """Var = 0, .16, .25, .09, 0. exp(-(.25)^2 / .02) = exp(-3.125) = .04394; exp(-.0081 / .02) =
    exp(-.405) = .66698; exp(-(.16)^2 / .02) = exp(-1.28) = .27804."""
    expected = [0.04394, 0.66698, 1.0, 0.27804, 0.04394, -0.1]
    assert total("spice_reward", tiny_policy) == pytest.approx(expected, abs=1e-5)


def test_socratic(tiny_policy: Policy) -> None:
    """exp(-.25 / .08) = .04394, exp(-.09 / .08) = exp(-1.125) = .32465, 1, exp(-.16 / .08) =
    exp(-2) = .13534."""
    expected = [0.04394, 0.32465, 1.0, 0.13534, 0.04394, -1.0]
    assert total("socratic_reward", tiny_policy) == pytest.approx(expected, abs=1e-5)


def test_the_repetition_penalty_may_stay(tiny_policy: Policy) -> None:
    """.8 - .25 and so on; an invalid question has no share."""
    found = total("azr_reward:repetition=true", tiny_policy)
    assert found == pytest.approx([-0.25, 0.55, 0.25, -0.15, -0.25, -1])


def test_the_mix(tiny_policy: Policy) -> None:
    """R-Zero: -.25, -.05, .25, -.15, -.25, -1; a quarter of AZR's and three of these."""
    found = total("azr_reward:weight=0.25", tiny_policy)
    assert found == pytest.approx([-0.1875, 0.1625, 0.3125, -0.0875, -0.1875, -1])


def test_defaults() -> None:
    azr, spice, socratic = (build(f"{n}_reward")[0].params for n in ("azr", "spice", "socratic"))
    assert (azr.invalid, azr.weight, azr.repetition) == (-1, 1, False)
    assert (spice.invalid, spice.target, spice.width) == (-0.1, 0.25, 0.01)
    assert (socratic.mean, socratic.sigma, socratic.invalid) == (0.5, 0.2, -1)
