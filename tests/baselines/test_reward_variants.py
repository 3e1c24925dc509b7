"""R-Zero's reward part by part, by hand."""

from __future__ import annotations

import pytest
from reward_batches import place, proposed, reward

from harness.methods import build
from harness.policy import Policy
from harness.roles import proposer_reward


def scored(policy: Policy):
    """R-Zero: min(p, 1 - p) - .25 = .25, -.05, -.25; invalid -1."""
    batch = proposed(policy, ["a", "b", "c", None], [0.5, 0.2, 1.0, 0.0], 0.25)
    assert batch.rewards.total == pytest.approx([0.25, -0.05, -0.25, -1.0])
    return batch


def test_no_repetition_penalty(tiny_policy: Policy) -> None:
    """min(p, 1 - p) alone: .5, .2, 0; with weight .5 half the .25 goes off."""
    ctx, batch = place(), scored(tiny_policy)
    found = reward(build("no_repetition_penalty")[0], ctx, batch)
    assert found.total == pytest.approx([0.5, 0.2, 0.0, -1.0])
    assert ctx.counts["questions_with_other_penalty"] == 3
    half = reward(build("no_repetition_penalty:weight=0.5")[0], ctx, batch)
    assert half.total == pytest.approx([0.375, 0.075, -0.125, -1.0])


def test_paper_reward(tiny_policy: Policy) -> None:
    """max(0, 2 min(p, 1 - p) - .25): .75, .15, max(0, -.25) = 0; the format gate gives 0."""
    ctx, batch = place(), scored(tiny_policy)
    found = reward(build("paper_reward")[0], ctx, batch)
    assert found.total == pytest.approx([0.75, 0.15, 0.0, 0.0])
    assert found.components["floor"] == pytest.approx([0, 0, 0.25, 0])
    assert ctx.counts["questions_at_the_floor"] == 1
    assert ctx.counts["rewards_changed"] == 4


def test_paper_reward_s_lambda_and_mix(tiny_policy: Policy) -> None:
    """lambda 2: max(0, 1 - .5) = .5, max(0, .4 - .5) = 0, 0. Half of each: (.25 + .75) / 2 = .5."""
    ctx, batch = place(), scored(tiny_policy)
    found = reward(build("paper_reward:repetition_weight=2")[0], ctx, batch)
    assert found.total == pytest.approx([0.5, 0.0, 0.0, 0.0])
    mixed = reward(build("paper_reward:weight=0.5")[0], ctx, batch)
    assert mixed.total == pytest.approx([0.5, 0.05, -0.125, -0.5])


def test_paper_reward_without_the_repetition_penalty(tiny_policy: Policy) -> None:
    """2 min(p, 1 - p) = 1, .4, 0."""
    found = reward(build("no_repetition_penalty+paper_reward")[0], place(), scored(tiny_policy))
    assert found.total == pytest.approx([1.0, 0.4, 0.0, 0.0])


def test_valid_zero(tiny_policy: Policy) -> None:
    ctx, batch = place(), scored(tiny_policy)
    found = reward(build("valid_zero")[0], ctx, batch)
    assert found.total == pytest.approx([0.25, -0.05, -0.25, 0.0])
    assert ctx.counts["invalid_rows"] == 1
    found = reward(build("valid_zero:invalid=-0.1")[0], place(), batch)
    assert found.total[3] == pytest.approx(-0.1)


def test_defaults() -> None:
    assert build("no_repetition_penalty")[0].params.weight == 0
    paper = build("paper_reward")[0].params
    assert (paper.repetition_weight, paper.uncertainty_scale) == (1, 2)
    assert build("valid_zero")[0].params.invalid == 0


def test_the_base_has_these_components(tiny_policy: Policy) -> None:
    """What the variants replace by name."""
    batch = scored(tiny_policy)
    names = proposer_reward(batch.valid, batch.p_hat, batch.p_hat).components
    assert set(names) == {"uncertainty", "repetition", "invalid"}
