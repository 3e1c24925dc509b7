"""DARLING: clusters, diversity and the product, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from reward_batches import place, proposed, reward

from baselines.darling import diversity, sameness
from harness.grpo import Coefficients, group_advantages
from harness.methods import build
from harness.policy import Policy
from harness.roles import solver_reward

LONG = "one two three four five six"
VECTORS = {f"{LONG} a": [1, 0], f"{LONG} b": [1, 0], f"{LONG} c": [0, 1], f"{LONG} d": [1, 1]}
A, B, C, D = VECTORS
BASE = Coefficients(0.2, 0.3, 3.0, 0.01)


def test_diversity() -> None:
    """{0, 1, 2} by the chain 0-1-2 and {3}: (4 - 3) / 3 = 1/3 and (4 - 1) / 3 = 1."""
    same = np.eye(4, dtype=bool)
    same[0, 1] = same[1, 0] = same[1, 2] = same[2, 1] = True
    assert diversity(same) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert diversity(np.ones((5, 5), dtype=bool)) == pytest.approx([0.1] * 5)
    assert diversity(np.eye(3, dtype=bool)) == pytest.approx([1] * 3)
    assert diversity(np.ones((1, 1), dtype=bool)) == pytest.approx([1])


def test_sameness() -> None:
    """cos(a, b) = 1, cos(a, d) = .707. Short: {x, y} and {x, y, z} share 2 of 3 words, {x, y} and
    {x, z} 1 of 3; a short and a long text go by their embeddings."""
    unit = np.array([[1, 0], [1, 0], [0.5**0.5, 0.5**0.5]])
    texts = [A, B, D]
    assert sameness(unit, texts, 0.9).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert sameness(unit, texts, 0.7).all()
    short = sameness(np.eye(4), ["x y", "x Y z", "x z", LONG], -0.5)
    assert short.tolist() == [[1, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]


class TestReward:
    def test_the_product_above_the_minimum(self, tiny_policy: Policy) -> None:
        """q = .5, .3, .2, minimum .2 and -1. In group 1 a, b are a cluster of 2 in 3: div 1/2; c
        has 1: .2 + .3 / 2 = .35, .2 + .1 / 2 = .25, .2. In group 2, above the invalid row's -1:
        a and b alone in n = 2 are copies, div max(.1, 0) = .1: -1 + 1.5 / 10 = -.85 and
        -1 + 1.3 / 10 = -.87."""
        ctx = place(VECTORS)
        batch = proposed(tiny_policy, [A, B, C, A, B, None], [0.5, 0.3, 0.2] * 2, groups=2)
        found = reward(build("darling")[0], ctx, batch)
        assert found.total == pytest.approx([0.35, 0.25, 0.2, -0.85, -0.87, -1])
        assert ctx.counts["rewards_changed"] == 4

    def test_without_bias_copies_gain_where_quality_is_negative(self, tiny_policy: Policy) -> None:
        """q = p - .6 = -.1, -.3: the product with div .1 raises both, which add_bias mends."""
        batch = proposed(tiny_policy, [A, B], [0.5, 0.3], 0.6)
        plain = reward(build("darling:add_bias=false")[0], place(VECTORS), batch)
        assert plain.total == pytest.approx([-0.01, -0.03])
        mended = reward(build("darling")[0], place(VECTORS), batch)
        assert mended.total == pytest.approx([-0.3 + 0.02, -0.3])

    def test_additive_in_the_batch(self, tiny_policy: Policy) -> None:
        """Three of {a, b, a} and c: div (4 - 3) / 3 = 1/3 and 1; q + 2 div."""
        batch = proposed(tiny_policy, [A, B, A, C], [0.5] * 4, groups=2)
        method = build("darling:mode=additive,scope=batch,weight=2")[0]
        found = reward(method, place(VECTORS), batch)
        assert found.total == pytest.approx([0.5 + 2 / 3] * 3 + [2.5])

    def test_half_a_weight_is_half_of_the_way(self, tiny_policy: Policy) -> None:
        """.5 to .2 + .03 = .23 in full, with div .1 for two copies."""
        batch = proposed(tiny_policy, [A, B], [0.5, 0.2])
        found = reward(build("darling:weight=0.5")[0], place(VECTORS), batch)
        assert found.total == pytest.approx([(0.5 + 0.23) / 2, 0.2])

    def test_the_solver_s_responses(self, tiny_policy: Policy) -> None:
        """Right answers said the same way twice are worth 1/2 each, said alone 1; wrong ones 0."""
        batch = tiny.make_batch(tiny_policy, groups=1, n=3, new=1)
        batch.texts = [A, B, C]
        ctx = place(VECTORS, role="solver")
        for right, expected in (([1, 1, 1], [1, 1, 1]), ([1, 0, 1], [0.5, 0, 1])):
            rewards = solver_reward(np.array(right, dtype=bool))
            found = build("darling:role=solver")[0].reward(ctx, batch, rewards)
            # All right: the minimum is 1, and nothing stands above it.
            assert found.total == pytest.approx(expected)


@pytest.mark.parametrize("entry", ["darling", "darling_control"])
class TestSettings:
    def test_no_kl_for_the_proposer(self, entry: str) -> None:
        method = build(entry)[0]
        assert method.coefficients(place(), BASE) == replace(BASE, kl=0.0)
        assert method.coefficients(place(role="solver"), BASE) is BASE
        assert build(f"{entry}:settings=rzero")[0].coefficients(place(), BASE) is BASE

    def test_mean_centred_advantages(self, entry: str, tiny_policy: Policy) -> None:
        """1, 2, 6 -> -2, -1, 3."""
        batch = tiny.make_batch(tiny_policy, groups=1, n=3, new=1, rewards=[1, 2, 6])
        values, _ = group_advantages(batch.rewards.total, batch.group_id)
        one = torch.as_tensor(values, dtype=torch.float32)[None, :, None]
        ctx, blend = place(), torch.ones(1, 3)
        found, same = build(entry)[0].advantage(ctx, batch, one, blend)
        assert found[0, :, 0].tolist() == pytest.approx([-2, -1, 3], abs=1e-5)
        assert same is blend
        assert ctx.counts["rows_without_std"] == 3
        left = build(f"{entry}:settings=rzero")[0].advantage(ctx, batch, one, blend)[0]
        assert left is one
        assert build(entry)[0].advantage(place(role="solver"), batch, one, blend)[0] is one


def test_the_control_rewards_as_r_zero(tiny_policy: Policy) -> None:
    batch = proposed(tiny_policy, [A, B], [0.5, 0.3])
    assert build("darling_control")[0].reward(place(), batch, batch.rewards) is batch.rewards


def test_defaults() -> None:
    params = build("darling")[0].params
    assert (params.scope, params.mode, params.weight) == ("group", "multiplicative", 1)
    assert (params.add_bias, params.settings, params.role) == (True, "paper", "proposer")
