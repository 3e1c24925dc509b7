"""Lp-Reg by hand: the filtered proxy, who is shielded, and the pull towards the proxy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import tiny
import torch
from token_inputs import BASE, gradient_of, is_untouched, loss_of, make_inputs, micro_batches
from torch import Tensor

from baselines.lp_reg import DROPPED, PROXY
from harness.methods import HookContext, RolloutBatch, TokenTools, build
from harness.policy import Policy
from harness.roles import Proposal
from harness.training import GrpoTrainer

P = (0.5, 0.3, 0.19, 0.01)
"""The old policy's distribution at every token."""


def proxy(name: str, batch: RolloutBatch, sampled: list[int], ctx: HookContext) -> Tensor:
    """ln q of the sampled tokens, the old policy being `P` at the batch's temperature."""
    temperature = batch.tokens.temperature
    logits = torch.tensor([[temperature * math.log(p) for p in P]] * len(sampled))

    def logprobs(rule: Callable[[Tensor], Tensor]) -> Tensor:
        values = (rule(logits) / temperature).log_softmax(dim=-1)
        return values[torch.arange(len(sampled)), sampled].reshape(len(batch), -1)

    stats = build(name)[0].token_stats(ctx, batch, {}, TokenTools(logprobs))
    return stats[PROXY]


class TestProxy:
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
    def test_by_hand(self, tiny_policy: Policy, temperature: float) -> None:
        """kappa .4: the threshold is .2, .19 and .01 go; .3 becomes .3 / .8."""
        batch = tiny.make_batch(tiny_policy, groups=1, n=4, new=1, temperature=temperature)
        ctx = tiny.make_context(role="solver")
        found = proxy("lp_reg:kappa=0.4", batch, [0, 1, 2, 3], ctx)
        expected = [math.log(0.625), math.log(0.375), DROPPED, DROPPED]
        assert found.flatten().tolist() == pytest.approx(expected, abs=1e-5)

    def test_kappa_s_default_drops_below_a_fiftieth(self, tiny_policy: Policy) -> None:
        """.02 * .5 = .01 is the threshold itself; a little above it drops the last token."""
        batch = tiny.make_batch(tiny_policy, groups=1, n=2, new=1)
        ctx = tiny.make_context(role="solver")
        assert proxy("lp_reg:kappa=0.0199", batch, [3, 0], ctx)[0, 0] == pytest.approx(
            math.log(0.01), abs=1e-4
        )
        assert proxy("lp_reg:kappa=0.0201", batch, [3, 0], ctx)[0, 0] == DROPPED

    @pytest.mark.parametrize("protect", [False, True])
    def test_invalid_proposals(self, tiny_policy: Policy, protect: bool) -> None:
        batch = tiny.make_batch(tiny_policy, groups=1, n=2, new=1)
        batch.proposals = [Proposal("", None, None), Proposal("", "1 + 1?", "2")]
        name = f"lp_reg:protect_invalid={str(protect).lower()}"
        first, second = proxy(name, batch, [1, 1], tiny.make_context()).flatten().tolist()
        kept = math.log(0.3)
        assert first == pytest.approx(kept if protect else DROPPED, abs=1e-5)
        assert second == pytest.approx(kept, abs=1e-5)

    def test_the_real_policy_s(self, tiny_policy: Policy) -> None:
        """The trainer's own pass: a filter leaves no token less probable, and drops some."""
        seen: dict[str, Tensor] = {}

        class Watched(type(build("lp_reg")[0])):  # type: ignore[misc]
            def token_stats(self, ctx, batch, stats, tools):
                seen.update(super().token_stats(ctx, batch, stats, tools))
                return dict(seen)

        batch = tiny.make_batch(tiny_policy)
        trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage())
        method = Watched({"kappa": 0.1, "k_fraction": 0.5})
        trainer.update(batch, method, tiny.make_context(role="solver"))
        assert trainer.extra_scans == 1
        mask = batch.tokens.response_mask
        q, old = seen[PROXY][mask], seen["old"][mask]
        dropped = q == DROPPED
        assert (q[~dropped] > old[~dropped] - 1e-5).all()
        assert 0 < int(dropped.sum()) < len(q)
        # p >= .1 max p can't hold below p = .1 / V, nor fail above 1 / 11
        assert (old[dropped].exp() < 1 / 11).all()


# Four tokens with A < 0; half of them are the two of lowest logp, 1 and 3.
LOGP, A = [[-1.0, -3.0, -2.0, -4.0, -9.0]], [[-1.0, -1.0, -2.0, -1.0, 1.0]]
Q = {PROXY: [[-0.9, -2.5, -1.0, DROPPED, -1.0]]}


def inputs(**changes: float):
    return make_inputs(LOGP, A, stats=Q, **changes)


class TestLoss:
    NAME = "lp_reg:k_fraction=0.5"

    def test_by_hand(self) -> None:
        """Token 1: d = .5, e^.5 - 1.5 = .148721 besides its 1; the filter dropped token 3."""
        ctx = tiny.make_context()
        found = loss_of(build(self.NAME)[0], ctx, inputs())
        assert found.loss.detach()[0].tolist() == pytest.approx([1.0, 1.148721, 2.0, 1.0, -1.0])
        assert found.denominator.tolist() == [[1.0] * 5]
        assert ctx.counts == {"tokens_shielded": 1}

    def test_gradient(self) -> None:
        """-A rho + beta (1 - e^d): 1 - .648721, and with beta = 2 the token is pulled up."""
        gradient = gradient_of(build(self.NAME)[0], tiny.make_context(), inputs())
        assert gradient[0].tolist() == pytest.approx([1.0, 0.351279, 2.0, 1.0, -1.0], abs=1e-5)
        name = f"{self.NAME},beta=2"
        gradient = gradient_of(build(name)[0], tiny.make_context(), inputs())
        assert float(gradient[0, 1]) == pytest.approx(-0.297443, abs=1e-5)

    def test_a_shielded_token_is_not_clipped(self) -> None:
        """Ratio .5 is below the clip: no gradient in the baseline, .5 + (1 - e^.5) here."""
        x = inputs()
        x.old = x.old + math.log(2)
        gradient = gradient_of(build(f"{self.NAME},settings=rzero")[0], tiny.make_context(), x)
        expected = [0.0, 0.5 - 0.648721, 0.0, 0.0, -0.5]
        assert gradient[0].tolist() == pytest.approx(expected, abs=1e-5)

    def test_one_token_or_less_is_not_selected(self) -> None:
        for name in ("lp_reg:k_fraction=0.25", "lp_reg"):
            ctx, x = tiny.make_context(), inputs()
            loss_of(build(name)[0], ctx, x)
            assert ctx.counts["tokens_shielded"] == 0

    def test_a_token_above_its_proxy_needs_no_shield(self) -> None:
        x = inputs()
        x.stats = {PROXY: torch.tensor([[-9.0, -3.0, -9.0, -5.0, -9.0]])}
        ctx = tiny.make_context()
        loss_of(build(self.NAME)[0], ctx, x)
        assert ctx.counts["tokens_shielded"] == 0  # equal is not below

    def test_a_wild_distance_stays_finite(self) -> None:
        x = make_inputs([[-200.0, -300.0, -1.0, -1.0]], [[-1.0] * 4], stats={PROXY: [[-1.0] * 4]})
        found = loss_of(build(self.NAME)[0], tiny.make_context(), x)
        assert found.loss.detach()[0].tolist() == pytest.approx([11.0, 11.0, 1.0, 1.0])
        assert torch.isfinite(gradient_of(build(self.NAME)[0], tiny.make_context(), x)).all()

    def test_a_wider_scope(self) -> None:
        """Rows of two tokens: half of a row is one token, which is too few; of both, two."""
        step = make_inputs(
            [[-1.0, -3.0], [-2.0, -4.0]],
            [[-1.0, -1.0], [-1.0, -1.0]],
            stats={PROXY: [[-0.5, -0.5], [-0.5, -0.5]]},
        )
        shielded = {}
        for scope in ("micro", "mini", "rollout"):
            ctx = tiny.make_context()
            for x in micro_batches(step, [[[1], [0]]]):
                loss_of(build(f"{self.NAME},stat_scope={scope}")[0], ctx, x)
            shielded[scope] = ctx.counts["tokens_shielded"]
        assert shielded == {"micro": 0, "mini": 2, "rollout": 2}


def test_defaults() -> None:
    p = build("lp_reg")[0].params
    assert (p.kappa, p.k_fraction, p.beta) == (0.02, 0.01, 1.0)
    assert (p.protect_invalid, p.stat_scope) == (False, "micro")
    for name in ("lp_reg", "lp_reg_control"):
        c = build(name)[0].coefficients(tiny.make_context(), BASE)
        assert c == replace(BASE, clip_low=1.0, clip_high=9.0, kl=0.0)


@pytest.mark.parametrize(
    "name",
    ["lp_reg:k_fraction=0,settings=rzero", "lp_reg:role=solver", "lp_reg_control:settings=rzero"],
)
def test_off(tiny_policy: Policy, name: str) -> None:
    method = build(name)[0]
    assert is_untouched(method, tiny.make_context(), inputs())
    stats: dict[str, Tensor] = {}
    batch = tiny.make_batch(tiny_policy, groups=1, n=2, new=1)
    assert method.token_stats(tiny.make_context(), batch, stats, TokenTools(_never)) is stats


def _never(rule: Callable[[Tensor], Tensor]) -> Tensor:
    raise AssertionError("a method that is off needs no further pass")
