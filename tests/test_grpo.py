"""GRPO by hand: advantages, clips, KL estimate, and gradients where the ratio is 1."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.grpo import (
    Coefficients,
    TokenInputs,
    base_token_loss,
    clipped_tokens,
    group_advantages,
    k3,
    penalties,
    policy_loss,
    ppo_loss,
)

C = Coefficients(clip_low=0.2, clip_high=0.3, dual_clip=3.0, kl=0.0)
rewards = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=12)


class TestGroupAdvantages:
    def test_by_hand(self) -> None:
        """1, 2, 3, 4: mean 2.5, sum of squares 5, std (ddof 1) sqrt(5/3) = 1.2909944."""
        values, flat = group_advantages(np.array([1.0, 2.0, 3.0, 4.0]), [0] * 4)
        std = 1.2909944487
        expected = [-1.5 / std, -0.5 / std, 0.5 / std, 1.5 / std]
        assert values == pytest.approx(expected, abs=3e-6)
        assert flat == 0
        # exactly, with the 1e-6 in the denominator
        assert values[3] == pytest.approx(1.5 / (math.sqrt(5 / 3) + 1e-6), rel=1e-12)

    def test_groups_are_by_id_whatever_the_order(self) -> None:
        values, flat = group_advantages(np.array([0.0, 5.0, 1.0, 9.0, 7.0]), [7, 2, 7, 2, 2])
        # group 7: 0, 1 -> -+ .5 / sqrt(.5); group 2: 5, 9, 7 -> (-2, 2, 0) / 2
        half = 0.5 / math.sqrt(0.5)
        assert values == pytest.approx([-half, -1.0, half, 1.0, 0.0], abs=3e-6)
        assert flat == 0

    def test_no_variance_is_exactly_zero_and_counted(self) -> None:
        r = np.array([0.3, 0.1 + 0.2, 1.0, 1.0, 0.0, 1.0, 5.0])
        values, flat = group_advantages(r, [0, 0, 1, 1, 2, 2, 3])
        assert values[[0, 1, 2, 3, 6]].tolist() == [0.0] * 5  # .1 + .2 is .3; a single row is flat
        assert flat == 3

    @given(rewards, st.floats(0.1, 50), st.floats(-10, 10))
    def test_affine_invariance(self, r: list[float], scale: float, shift: float) -> None:
        x = np.array(r)
        group = [0] * len(r)
        values, flat = group_advantages(x, group)
        moved, moved_flat = group_advantages(scale * x + shift, group)
        mirrored, _ = group_advantages(-x, group)
        if flat == moved_flat:  # a shift may round a tiny spread away
            # the 1e-6 in the denominator weighs at most 1e-6 / std; the least std is 3e-4
            assert moved == pytest.approx(values, abs=0.15)
            if np.ptp(x) > 0.05:
                assert moved == pytest.approx(values, abs=2e-3)
        assert mirrored == pytest.approx(-values, abs=1e-9)
        assert abs(values.sum()) < 1e-6 * len(r) + 1e-9

    @given(st.data(), rewards)
    def test_permuting_rows_permutes_advantages(self, data, r: list[float]) -> None:
        group = data.draw(st.lists(st.integers(0, 3), min_size=len(r), max_size=len(r)))
        order = data.draw(st.permutations(range(len(r))))
        values, flat = group_advantages(np.array(r), group)
        moved, moved_flat = group_advantages(
            np.array([r[i] for i in order]), [group[i] for i in order]
        )
        assert moved == pytest.approx(values[list(order)], abs=1e-9)
        assert flat == moved_flat


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "clipped"),
    [
        (1.0, 1.0, -1.0, False),
        (1.0, 1.5, -1.3, True),  # max(-1.5, -1.3)
        (1.0, 0.5, -0.5, False),  # max(-.5, -.8): a falling ratio isn't clipped for A > 0
        (2.0, 1.31, -2.6, True),
        (-1.0, 0.5, 0.8, True),  # max(.5, .8)
        (-1.0, 2.0, 2.0, False),  # max(2, 1.3), below the dual clip
        (-1.0, 5.0, 3.0, False),  # dual clip: min(5, 3)
        (-0.5, 5.0, 1.5, False),
        (0.0, 7.0, 0.0, False),
    ],
)
def test_clip_and_dual_clip_by_hand(advantage, ratio, loss, clipped) -> None:
    r, a = torch.tensor([[ratio]]), torch.tensor([[advantage]])
    assert float(ppo_loss(r, a, C)) == pytest.approx(loss, abs=1e-6)
    assert bool(clipped_tokens(r, a, C)) is clipped


@given(st.floats(-2, 2), st.floats(0.05, 6))
def test_clipped_tokens_are_those_without_gradient(advantage: float, ratio: float) -> None:
    r = torch.tensor([[ratio]], requires_grad=True)
    a = torch.tensor([[advantage]])
    ppo_loss(r, a, C).sum().backward()
    if min(abs(ratio - edge) for edge in (0.8, 1.3, 3.0)) < 1e-3 or abs(advantage) < 1e-3:
        return  # at an edge the subgradient is a matter of taste
    dual = advantage < 0 and ratio > 3.0
    assert (float(r.grad) == 0.0) is (bool(clipped_tokens(r, a, C)) or dual)


def test_k3_by_hand() -> None:
    """ref 1/2, policy 1/4: d = ln 2, 2 - ln 2 - 1 = .306853; d = 5 is clamped to 10."""
    ref = torch.tensor([0.5]).log()
    assert float(k3(ref, torch.tensor([0.25]).log())) == pytest.approx(1 - math.log(2), abs=1e-6)
    assert float(k3(ref, ref)) == 0.0
    assert float(k3(torch.tensor([0.0]), torch.tensor([-5.0]))) == 10.0
    assert float(k3(torch.tensor([0.0]), torch.tensor([-500.0]))) == 10.0


@given(st.floats(-8, 0), st.floats(-8, 0))
def test_k3_is_not_negative(ref: float, logp: float) -> None:
    assert float(k3(torch.tensor(ref), torch.tensor(logp))) >= -1e-6


@pytest.mark.parametrize("seed", range(5))
def test_k3_is_unbiased(seed: int) -> None:
    """Over the policy's own samples its mean is KL(policy || reference), summed exactly."""
    draw = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(7, generator=draw).softmax(dim=0) for _ in range(2))
    exact = (p * (p / q).log()).sum()
    assert float((p * k3(q.log(), p.log())).sum()) == pytest.approx(float(exact), abs=1e-5)


def inputs(logp: Tensor, ref: Tensor, advantages: Tensor, blend: Tensor, **c: float) -> TokenInputs:
    coefficients = Coefficients(0.2, 0.3, 3.0, **{"kl": 0.0, **c})
    return TokenInputs(
        logp=logp,
        old=logp.detach().clone(),
        ref=ref,
        entropy=torch.full_like(logp, 1.5),
        mask=torch.tensor([[True, True, False]]),
        advantages=advantages,
        blend=blend,
        response_ids=torch.zeros(1, 3, dtype=torch.long),
        coefficients=coefficients,
    )


class TestBaseTokenLoss:
    LOGP = (-1.0, -2.0, 0.0)

    def leaf(self) -> Tensor:
        return torch.tensor([list(self.LOGP)], requires_grad=True)

    def test_at_ratio_one_the_gradient_is_minus_the_advantage(self) -> None:
        logp, a = self.leaf(), torch.tensor([[[0.7, -1.2, 0.0]]])
        x = inputs(logp, logp.detach(), a, torch.ones(1, 1))
        result = base_token_loss(x)
        assert torch.equal(x.ratio, torch.ones(1, 3))
        assert result.loss.tolist()[0] == pytest.approx([-0.7, 1.2, 0.0])
        assert result.denominator.tolist() == [[1.0, 1.0, 0.0]]
        result.loss.sum().backward()
        assert logp.grad.tolist()[0] == pytest.approx([-0.7, 1.2, 0.0])

    def test_the_kl_s_gradient(self) -> None:
        """d/dlogp (e^d - d - 1) = 1 - e^d with d = ref - logp = ln 2: -1, times .1."""
        logp = self.leaf()
        x = inputs(
            logp, logp.detach() + math.log(2), torch.zeros(1, 1, 3), torch.ones(1, 1), kl=0.1
        )
        base_token_loss(x).loss.sum().backward()
        assert logp.grad.tolist()[0] == pytest.approx([-0.1] * 3, abs=1e-6)

    def test_channels_are_blended_as_losses(self) -> None:
        """Two clipped losses: at ratio 1.5, A = 1 gives -1.3 and A = -1 gives 1.5."""
        logp = self.leaf()
        blend = torch.tensor([[0.25], [0.75]])
        x = inputs(logp, logp.detach(), torch.tensor([[[1.0] * 3], [[-1.0] * 3]]), blend)
        x.old = logp.detach() - math.log(1.5)
        assert base_token_loss(x).loss.tolist()[0] == pytest.approx([-0.325 + 1.125] * 3, abs=1e-6)

    def test_entropy_bonus_lowers_the_loss(self) -> None:
        logp = self.leaf()
        x = inputs(logp, logp.detach(), torch.zeros(1, 1, 3), torch.ones(1, 1), entropy=0.2)
        assert base_token_loss(x).loss.tolist()[0] == pytest.approx([-0.3] * 3)

    def test_a_wild_ratio_stays_finite(self) -> None:
        logp = self.leaf()
        x = inputs(logp, logp.detach(), torch.full((1, 1, 3), -1.0), torch.ones(1, 1), kl=0.01)
        x.old = logp.detach() - 1e4
        x.ref = logp.detach() + 1e4
        loss = base_token_loss(x).loss
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(logp.grad).all()


class TestParts:
    def test_policy_and_penalties_are_the_base_loss(self) -> None:
        """At ratio 1 and d = ln 2: -.7 and 1.2; .1 * (1 - ln 2) - .2 * 1.5 for both."""
        logp = torch.tensor([[-1.0, -2.0, 0.0]])
        a = torch.tensor([[[0.7, -1.2, 0.0]]])
        x = inputs(logp, logp + math.log(2), a, torch.ones(1, 1), kl=0.1, entropy=0.2)
        assert policy_loss(x)[0].tolist() == pytest.approx([-0.7, 1.2, 0.0])
        rest = 0.1 * (1 - math.log(2)) - 0.3
        assert penalties(x)[0].tolist() == pytest.approx([rest] * 3, abs=1e-6)
        assert torch.equal(base_token_loss(x).loss, policy_loss(x) + penalties(x))

    def test_no_penalties(self) -> None:
        logp = torch.tensor([[-1.0, -2.0, 0.0]])
        x = inputs(logp, logp + 1, torch.zeros(1, 1, 3), torch.ones(1, 1))
        assert penalties(x).tolist() == [[0.0] * 3]

    def test_the_blended_advantage(self) -> None:
        """.25 * 2 + .75 * -4 = -2.5."""
        logp = torch.zeros(1, 3)
        a = torch.tensor([[[2.0] * 3], [[-4.0] * 3]])
        x = inputs(logp, logp, a, torch.tensor([[0.25], [0.75]]))
        assert x.advantage.tolist() == [[-2.5] * 3]


def random_step(rows: int, width: int, seed: int) -> TokenInputs:
    """A whole step of random values with responses of 1 to ``width`` tokens."""
    draw = torch.Generator().manual_seed(seed)
    logp = -5 * torch.rand(rows, width, generator=draw)
    lengths = torch.randint(1, width + 1, (rows, 1), generator=draw)
    return TokenInputs(
        logp=logp,
        old=logp,
        ref=logp - 1,
        entropy=torch.rand(rows, width, generator=draw),
        mask=torch.arange(width) < lengths,
        advantages=torch.randn(2, rows, width, generator=draw),
        blend=torch.rand(2, rows, generator=draw),
        response_ids=torch.randint(0, 99, (rows, width), generator=draw),
        coefficients=C,
        stats={"x": torch.rand(rows, width, generator=draw)},
    )


def micro_batch(step: TokenInputs, rows: list[int], minibatch: list[int]) -> TokenInputs:
    """Rows of a step as the trainer hands them out: cut to their own width, with a gradient.

    They have moved away from the old policy, so that the scopes' log-probs differ.
    """
    index = torch.tensor(rows)
    part = step.cut(index)
    width = int(part.mask.sum(dim=1).max())
    per_token = ("old", "ref", "mask", "response_ids")
    return replace(
        part,
        **{name: getattr(part, name)[:, :width] for name in per_token},
        logp=(part.logp[:, :width] * 0.5).requires_grad_(),
        entropy=(part.entropy[:, :width] * 0.5).requires_grad_(),
        advantages=part.advantages[:, :, :width],
        stats={name: value[:, :width] for name, value in part.stats.items()},
        rows=index,
        minibatch=torch.tensor(minibatch),
        step=step,
        place=(2, 1, 3),
    )


def lowest_three(values: dict[tuple[int, int], float]) -> set[tuple[int, int]]:
    return set(sorted(values, key=lambda place: values[place])[:3])


def choose_lowest_three(wide: TokenInputs) -> Tensor:
    logp = wide.logp.masked_fill(~wide.mask, math.inf).flatten()
    chosen = torch.zeros(logp.shape, dtype=torch.bool)
    chosen[logp.argsort()[:3]] = True
    return chosen.reshape(wide.mask.shape)


class TestScopes:
    @given(st.integers(0, 10**6), st.data())
    def test_against_a_brute_force_choice(self, seed: int, data: st.DataObject) -> None:
        """The three tokens of lowest logp among a scope's, looked up row by row."""
        step = random_step(7, 5, seed)
        order = data.draw(st.permutations(range(7)))
        minibatch, rows = order[:5], order[1 : 1 + data.draw(st.integers(1, 4))]
        x = micro_batch(step, rows, minibatch)
        pools = {
            "micro": (x.logp, {row: i for i, row in enumerate(rows)}),
            "mini": (step.logp, {row: row for row in minibatch}),
            "rollout": (step.logp, {row: row for row in range(7)}),
        }
        for scope, (logp, place) in pools.items():
            values = {
                (row, t): float(logp[i, t].detach())
                for row, i in place.items()
                for t in range(int(step.mask[row].sum()))
            }
            expected = {(r, t) for r, t in lowest_three(values) if r in rows}
            found = x.within(scope, choose_lowest_three)
            assert found.shape == x.mask.shape
            assert {(rows[i], t) for i, t in found.nonzero().tolist()} == expected

    def test_never_outside_the_mask(self) -> None:
        step = random_step(4, 6, 1)
        x = micro_batch(step, [2, 0], [0, 2, 3])
        for scope in ("micro", "mini", "rollout"):
            found = x.within(scope, lambda wide: torch.ones_like(wide.mask))
            assert torch.equal(found, x.mask)

    def test_what_a_scope_is(self) -> None:
        step = random_step(4, 6, 2)
        x = micro_batch(step, [2, 0], [3, 0, 2])
        x.coefficients = replace(C, clip_high=0.9)
        micro, mini, rollout = (x.over(scope) for scope in ("micro", "mini", "rollout"))
        assert torch.equal(micro.logp, x.logp.detach())  # as it is now
        assert torch.equal(mini.logp, step.logp[[3, 0, 2]])  # the old policy's
        assert torch.equal(mini.entropy, step.entropy[[3, 0, 2]])
        assert torch.equal(mini.advantage, step.advantage[[3, 0, 2]])
        assert torch.equal(mini.stats["x"], step.stats["x"][[3, 0, 2]])
        assert torch.equal(rollout.logp, step.logp)
        assert [w.rows.tolist() for w in (micro, mini, rollout)] == [[2, 0], [3, 0, 2], [*range(4)]]
        assert [w.place for w in (micro, mini, rollout)] == [(2, 1, 3), (2, 1), (2,)]
        assert not any(w.logp.requires_grad or w.entropy.requires_grad for w in (micro, mini))
        assert x.logp.requires_grad
        assert {w.coefficients.clip_high for w in (micro, mini, rollout)} == {0.9}

    def test_without_a_step_every_scope_is_these_rows(self) -> None:
        x = random_step(3, 4, 3)
        for scope in ("micro", "mini", "rollout"):
            expected = choose_lowest_three(x) & x.mask
            assert torch.equal(x.within(scope, choose_lowest_three), expected)

    def test_cut(self) -> None:
        step = random_step(4, 3, 4)
        part = step.cut(torch.tensor([3, 1]))
        assert torch.equal(part.response_ids, step.response_ids[[3, 1]])
        assert torch.equal(part.blend, step.blend[:, [3, 1]])
        assert torch.equal(part.advantages, step.advantages[:, [3, 1]])
        assert torch.equal(part.mask, step.mask[[3, 1]])
