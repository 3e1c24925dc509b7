"""GRPO updates on a real model: what must move, what must not, and what must be refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from harness.errors import RunFailedError
from harness.grpo import TokenInputs, TokenLoss
from harness.methods import HookContext, Method, RolloutBatch, TokenTools
from harness.policy import Policy
from harness.roles import Rewards
from harness.training import DivergedError, GrpoTrainer

CTX = tiny.make_context()


def updated(
    policy: Policy, batch: RolloutBatch, method: Method | None = None, **stage: Any
) -> tuple[Policy, dict[str, float]]:
    """A trained copy of the policy, and the step's metrics."""
    copy = tiny.clone(policy)
    trainer = GrpoTrainer(copy, tiny.make_stage(**stage))
    return copy, trainer.update(batch, method or Method(), CTX)


def moved(a: Policy, b: Policy) -> float:
    """Largest change of a weight."""
    return float((tiny.weights(a) - tiny.weights(b)).abs().max())


def gradient(policy: Policy) -> Tensor:
    """The gradient of the last update, in one vector."""
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


class NanLoss(Method):
    """Not finite in the first ``bad`` micro-batches."""

    def __init__(self, bad: int = 10**9, value: float = math.nan) -> None:
        super().__init__()
        self.bad, self.value, self.calls = bad, value, 0

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        self.calls += 1
        if self.calls > self.bad:
            return loss
        return TokenLoss(loss.loss * self.value, loss.denominator)


class TestSkippedUpdates:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_loss_that_is_not_finite_leaves_the_weights(self, tiny_policy, value) -> None:
        batch = tiny.make_batch(tiny_policy)
        after, metrics = updated(tiny_policy, batch, NanLoss(value=value))
        assert moved(after, tiny_policy) == 0.0
        assert metrics["updates_skipped"] == 1.0
        assert metrics["grad_norm"] == 0.0

    def test_a_gradient_that_overflows_leaves_the_weights(self, tiny_policy: Policy) -> None:
        """The loss itself is still finite: 1e36 times a few units."""
        batch = tiny.make_batch(tiny_policy)
        after, metrics = updated(tiny_policy, batch, NanLoss(value=1e36))
        assert metrics["updates_skipped"] == 1.0
        assert moved(after, tiny_policy) == 0.0

    def test_too_many_in_a_row_diverge(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        trainer = GrpoTrainer(policy, tiny.make_stage(max_nonfinite=3))
        batch, method = tiny.make_batch(tiny_policy), NanLoss()
        for _ in range(2):
            assert trainer.update(batch, method, CTX)["updates_skipped"] == 1.0
        with pytest.raises(DivergedError, match=r"proposer, iteration 1, step 0: 3 updates"):
            trainer.update(batch, method, CTX)
        assert moved(policy, tiny_policy) == 0.0

    def test_a_finite_update_starts_the_count_again(self, tiny_policy: Policy) -> None:
        trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage(max_nonfinite=2))
        batch, method = tiny.make_batch(tiny_policy), NanLoss(bad=1)
        assert trainer.update(batch, method, CTX)["updates_skipped"] == 1.0
        assert trainer.update(batch, method, CTX)["updates_skipped"] == 0.0
        method.bad = method.calls + 1
        assert trainer.update(batch, method, CTX)["updates_skipped"] == 1.0

    def test_minibatches_are_skipped_one_by_one(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, groups=3)
        after, metrics = updated(tiny_policy, batch, NanLoss(bad=1), minibatches=3)
        assert metrics["updates_skipped"] == 1.0
        assert moved(after, tiny_policy) > 0

    def test_an_empty_batch_is_a_skipped_update(self, tiny_policy: Policy) -> None:
        after, metrics = updated(tiny_policy, tiny.make_batch(tiny_policy).select([]))
        assert metrics["updates_skipped"] == 1.0
        assert moved(after, tiny_policy) == 0.0


class TestOnPolicy:
    @pytest.mark.parametrize("granularity", [None, "step", "group", "sequence"])
    @pytest.mark.parametrize("temperature", [1.0, 0.7])
    def test_engine_and_trainer_agree(self, tiny_policy, granularity, temperature) -> None:
        mask = tiny.make_mask(0.6, granularity) if granularity else None
        batch = tiny.make_batch(tiny_policy, mask=mask, temperature=temperature)
        _, metrics = updated(tiny_policy, batch, kl_coef=0.01, minibatches=2)
        assert metrics["logprob_gap_max"] < 1e-4
        assert metrics["logprob_gap_alarm"] == 0.0
        assert metrics["kl"] == pytest.approx(0.0, abs=1e-6)  # the reference is the initial model

    @pytest.mark.parametrize("granularity", ["step", "sequence"])
    def test_an_old_policy_without_the_mask_is_refused(self, tiny_policy, granularity) -> None:
        """Ratios against the sampler's own log-probs: fine as long as the mask is replayed."""

        class BehaviourRatio(Method):
            def token_stats(
                self,
                ctx: HookContext,
                batch: RolloutBatch,
                stats: dict[str, Tensor],
                tools: TokenTools,
            ) -> dict[str, Tensor]:
                return {**stats, "old": batch.rollouts.logprobs}

        batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.6, granularity))
        updated(tiny_policy, batch, BehaviourRatio())
        forgotten = dataclasses.replace(
            batch, tokens=dataclasses.replace(batch.tokens, mask=None, mask_rows=None)
        )
        with pytest.raises(RunFailedError, match="ratio before the first update is not 1"):
            updated(tiny_policy, forgotten, BehaviourRatio())

    def test_a_forgotten_mask_or_temperature_raises_the_alarm(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.6), temperature=0.8)
        for change in ({"mask": None, "mask_rows": None}, {"temperature": 1.0}):
            wrong = dataclasses.replace(batch, tokens=dataclasses.replace(batch.tokens, **change))
            _, metrics = updated(tiny_policy, wrong)
            assert metrics["logprob_gap_alarm"] == 1.0

    @pytest.mark.parametrize("granularity", ["step", "group"])
    def test_another_mask_is_refused(self, tiny_policy: Policy, granularity) -> None:
        batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.6, granularity, seed=1))
        batch.tokens.mask = tiny.make_mask(0.6, granularity, seed=2)
        with pytest.raises(RunFailedError, match="replay the mask"):
            updated(tiny_policy, batch)

    def test_later_updates_of_a_step_may_leave_ratio_one(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy)
        _, metrics = updated(tiny_policy, batch, epochs=4, lr=0.05)
        assert metrics["clip_fraction"] > 0
        _, once = updated(tiny_policy, batch, lr=0.05)
        assert once["clip_fraction"] == 0.0

    def test_bfloat16(self, base_policy: Policy) -> None:
        policy = tiny.make_policy(base_policy.tokenizer, dtype=torch.bfloat16)
        batch = tiny.make_batch(policy, mask=tiny.make_mask(0.8))
        after, metrics = updated(policy, batch, micro_rows=3)
        assert metrics["logprob_gap_alarm"] == 0.0
        assert moved(after, policy) > 0


class TestLogprobMask:
    def head_gradient(self, policy: Policy, in_logprobs: bool) -> tuple[Tensor, dict[str, float]]:
        """Size of the gradient of each row of the head [V], and the step's metrics."""
        mask = tiny.make_mask(0.5, in_logprobs=in_logprobs)
        batch = tiny.make_batch(policy, mask=mask, seed=6)
        copy, metrics = updated(policy, batch)
        return copy.model.lm_head.weight.grad.norm(dim=1), metrics

    def test_behaviour_leaves_dropped_tokens_alone(self, tiny_policy: Policy) -> None:
        norm, metrics = self.head_gradient(tiny_policy, in_logprobs=True)
        keep = tiny.make_mask(0.5).keep(torch.zeros(1, dtype=torch.long), tiny.HEAD)[0]
        assert (norm[~keep] == 0).all()
        assert (norm[keep] > 0).all()
        assert metrics["logprob_gap_max"] < 1e-4

    def test_none_pushes_on_every_token(self, tiny_policy: Policy) -> None:
        norm, metrics = self.head_gradient(tiny_policy, in_logprobs=False)
        assert (norm > 0).all()
        assert metrics["logprob_gap_mean"] > 0.1  # by definition of the option, and logged
        assert metrics["logprob_gap_alarm"] == 0.0

    def test_the_mask_s_bite_is_logged(self, tiny_policy: Policy) -> None:
        mask = tiny.make_mask(0.5)
        batch = tiny.make_batch(tiny_policy, mask=mask)
        _, metrics = updated(tiny_policy, batch)
        assert metrics["mask/kept_tokens"] == pytest.approx(mask.keep_numpy([0]).mean())
        assert metrics["mask/protected"] == 3
        assert 0.2 < metrics["mask/allowed_mass"] < 0.8
        everything = tiny.make_batch(tiny_policy, mask=tiny.make_mask(1.0, vocab_size=tiny.HEAD))
        assert updated(tiny_policy, everything)[1]["mask/allowed_mass"] == pytest.approx(
            1, abs=1e-5
        )


class TestDirection:
    @pytest.mark.parametrize("seed", range(4))
    def test_a_positive_advantage_raises_its_tokens(self, tiny_policy: Policy, seed: int) -> None:
        rewards = [1.0, 0.0, 0.0, 0.0] * 2
        batch = tiny.make_batch(tiny_policy, groups=2, rewards=rewards, seed=seed)
        after, _ = updated(tiny_policy, batch, lr=1e-3)
        with torch.no_grad():
            change = (after.logprobs(batch.tokens)[0] - tiny_policy.logprobs(batch.tokens)[0]).sum(
                dim=1
            )
        good = torch.tensor(rewards) == 1
        assert (change[good] > 0).all()
        assert change[~good].mean() < change[good].min()

    def test_no_variance_teaches_nothing(self, tiny_policy: Policy) -> None:
        rewards = [0.3] * 4 + [0.7] * 4 + [-1.0] * 4
        batch = tiny.make_batch(tiny_policy, rewards=rewards)
        after, metrics = updated(tiny_policy, batch)
        assert moved(after, tiny_policy) == 0.0
        assert metrics["zero_variance_groups"] == 1.0

    def test_kl_pulls_back_to_the_stage_s_start(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        trainer = GrpoTrainer(policy, tiny.make_stage(lr=3e-3))
        batch = tiny.make_batch(tiny_policy)
        for _ in range(3):
            trainer.update(batch, Method(), CTX)
        assert trainer.learner.reference.model is not policy.model
        assert moved(trainer.learner.reference, tiny_policy) == 0.0
        flat = dataclasses.replace(batch, rewards=Rewards(np.zeros(12), {}))
        trainer.coefficients = dataclasses.replace(trainer.coefficients, kl=1.0)
        distances = [trainer.update(flat, Method(), CTX)["kl"] for _ in range(6)]
        assert distances[0] > 1e-3
        assert distances[-1] < 0.7 * distances[0]

    def test_a_token_outside_the_denominator_has_no_say(self, tiny_policy: Policy) -> None:
        class FirstTokenOnly(Method):
            def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
                first = torch.zeros_like(loss.denominator)
                first[:, 0] = 1.0
                return TokenLoss(loss.loss, first * loss.denominator)

        batch = tiny.make_batch(tiny_policy)
        cut = dataclasses.replace(batch.tokens, response_mask=batch.tokens.response_mask.clone())
        cut.response_mask[:, 1:] = False
        short = dataclasses.replace(batch, tokens=cut)
        found = gradient(updated(tiny_policy, batch, FirstTokenOnly())[0])
        expected = gradient(updated(tiny_policy, short)[0])
        assert (found - expected).norm() < 1e-5 * expected.norm()


class TestTokenMean:
    def gradient(self, policy: Policy, batch: RolloutBatch, **stage: Any) -> Tensor:
        return gradient(updated(policy, batch, max_grad_norm=1e9, **stage)[0])

    def batch(self, policy: Policy) -> RolloutBatch:
        """Responses of lengths 1 to 12, so that a mean of means is another number."""
        batch = tiny.make_batch(policy, new=12, seed=3)
        keep = torch.arange(12) < torch.arange(1, 13)[:, None]
        tokens = dataclasses.replace(batch.tokens, response_mask=batch.tokens.response_mask & keep)
        return dataclasses.replace(batch, tokens=tokens)

    def test_does_not_depend_on_micro_rows(self, tiny_policy: Policy) -> None:
        batch = self.batch(tiny_policy)
        whole = self.gradient(tiny_policy, batch, micro_rows=12, kl_coef=0.01)
        for rows in (1, 5):
            part = self.gradient(tiny_policy, batch, micro_rows=rows, kl_coef=0.01)
            assert (part - whole).norm() < 1e-5 * whole.norm()
        after = [updated(tiny_policy, batch, micro_rows=m, lr=1e-5)[0] for m in (12, 1, 5)]
        assert max(moved(after[0], other) for other in after[1:]) < 1e-6

    def test_microbatch_is_the_mean_of_means(self, tiny_policy: Policy) -> None:
        batch = self.batch(tiny_policy)
        by_row = self.gradient(tiny_policy, batch, micro_rows=1, loss_mean="microbatch")
        whole = self.gradient(tiny_policy, batch, micro_rows=12, loss_mean="microbatch")
        over_tokens = self.gradient(tiny_policy, batch, micro_rows=12)
        assert (whole - over_tokens).norm() < 1e-5 * whole.norm()  # one micro-batch: no difference
        assert (by_row - over_tokens).norm() > 0.05 * over_tokens.norm()

    def test_by_the_plain_formula(self, tiny_policy: Policy) -> None:
        """At ratio 1 the gradient is that of -sum A logp / number of tokens."""
        batch = self.batch(tiny_policy)
        policy = tiny.clone(tiny_policy)
        logp, _ = policy.logprobs(batch.tokens)
        r = batch.rewards.total.reshape(3, 4)
        a = (r - r.mean(axis=1, keepdims=True)) / (r.std(axis=1, ddof=1, keepdims=True) + 1e-6)
        advantage = torch.as_tensor(a.reshape(12, 1), dtype=torch.float32)
        (-(advantage * logp).sum() / batch.tokens.response_mask.sum()).backward()
        expected = gradient(policy)
        found = self.gradient(tiny_policy, batch, micro_rows=5)
        assert (found - expected).norm() < 1e-5 * expected.norm()


class TestMinibatches:
    def test_whole_groups_each_once(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, groups=5, n=3, new=3)
        trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage(minibatches=2))
        parts = trainer._minibatches(batch, CTX, 0)
        assert sorted(torch.cat(parts).tolist()) == list(range(15))
        groups = [{batch.group_id[i] for i in part} for part in parts]
        assert len(groups) == 2
        assert groups[0].isdisjoint(groups[1])
        orders = [str(trainer._minibatches(batch, CTX, epoch)) for epoch in range(8)]
        assert len(set(orders)) > 1  # shuffled anew in each epoch

    def test_never_more_than_groups(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, groups=2, new=3)
        _, metrics = updated(tiny_policy, batch, minibatches=9)
        assert metrics["updates_skipped"] == 0.0


class TestResume:
    @pytest.mark.parametrize("kl_coef", [0.0, 0.05])
    def test_goes_on_as_if_never_stopped(self, tiny_policy, tmp_path: Path, kl_coef) -> None:
        stage = tiny.make_stage(kl_coef=kl_coef, weight_decay=0.01)
        batches = [tiny.make_batch(tiny_policy, seed=s) for s in range(3)]
        contexts = [tiny.make_context(step=s) for s in range(3)]
        straight = GrpoTrainer(tiny.clone(tiny_policy), stage)
        expected = [straight.update(b, Method(), c) for b, c in zip(batches, contexts, strict=True)]
        first = GrpoTrainer(tiny.clone(tiny_policy), stage)
        first.update(batches[0], Method(), contexts[0])
        first.save(tmp_path / "state", 0, {"note": [1, "a"]})
        resumed = GrpoTrainer(tiny.clone(tiny_policy), stage)
        assert resumed.load(tmp_path / "state") == (1, {"note": [1, "a"]})
        metrics = [resumed.update(batches[i], Method(), contexts[i]) for i in (1, 2)]
        assert metrics == expected[1:]
        assert torch.equal(tiny.weights(resumed.policy), tiny.weights(straight.policy))

    def test_the_count_of_skipped_updates_comes_back(self, tiny_policy, tmp_path: Path) -> None:
        trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage())
        trainer.update(tiny.make_batch(tiny_policy), NanLoss(), CTX)
        trainer.save(tmp_path / "state", 4, {})
        other = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage())
        assert other.load(tmp_path / "state") == (5, {})
        assert other.nonfinite_in_a_row == 1
        assert {p.suffix for p in (tmp_path / "state").rglob("*") if p.is_file()} <= {
            ".json", ".jinja", ".safetensors",
        }  # fmt: skip


def test_rows_sampled_otherwise_are_not_in_the_gap(tiny_policy: Policy) -> None:
    """A row's engine log-probs are off by 5: an alarm, unless the row is marked."""
    batch = tiny.make_batch(tiny_policy)
    batch.rollouts.logprobs[2] -= 5.0
    _, metrics = updated(tiny_policy, batch)
    assert metrics["logprob_gap_alarm"] == 1.0
    assert metrics["logprob_gap_max"] > 4.9
    batch.off_policy = [row == 2 for row in range(12)]
    _, metrics = updated(tiny_policy, batch)
    assert metrics["logprob_gap_alarm"] == 0.0
    assert metrics["logprob_gap_max"] < 1e-4
    batch.off_policy = [True] * 12
    assert updated(tiny_policy, batch)[1]["logprob_gap_mean"] == 0.0


def test_the_same_step_twice_gives_the_same_weights(tiny_policy: Policy) -> None:
    batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.7, "group"))
    a, first = updated(tiny_policy, batch, minibatches=2, epochs=2, kl_coef=0.01)
    b, second = updated(tiny_policy, batch, minibatches=2, epochs=2, kl_coef=0.01)
    assert torch.equal(tiny.weights(a), tiny.weights(b))
    assert first == second


def test_metrics_by_hand(tiny_policy: Policy) -> None:
    batch = tiny.make_batch(tiny_policy, groups=2, n=2, new=5, rewards=[1.0, 0.0, 1.0, 1.0])
    batch.rewards = Rewards(batch.rewards.total, {"uncertainty": np.array([0.5, 0.1, 0.3, 0.3])})
    _, metrics = updated(tiny_policy, batch)
    assert metrics["reward"] == 0.75
    assert metrics["reward/uncertainty"] == pytest.approx(0.3)
    assert metrics["zero_variance_groups"] == 0.5
    assert metrics["response_tokens"] == float(batch.rollouts.lengths.float().mean())
    with torch.no_grad():
        logp, entropy = tiny_policy.logprobs(batch.tokens)
    assert metrics["entropy"] == pytest.approx(float(entropy[batch.tokens.response_mask].mean()))
    assert metrics["surprisal"] == pytest.approx(-float(logp[batch.tokens.response_mask].mean()))
    assert all(math.isfinite(v) for v in metrics.values())
