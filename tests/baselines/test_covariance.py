"""Clip-Cov and KL-Cov by hand: covariances, choices, losses, gradients, scopes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch
from token_inputs import BASE, gradient_of, is_untouched, loss_of, make_inputs, micro_batches

from baselines.covariance import covariance, share_of
from harness.grpo import base_token_loss
from harness.methods import build

# mean A = 0, mean logp = -3: Cov = (2, -2, -2, 2)
LOGP, A = [[-1.0, -5.0], [-1.0, -5.0]], [[1.0, 1.0], [-1.0, -1.0]]


class TestCovariance:
    def test_by_hand(self) -> None:
        """A = 2, 1, -1, -2; logp = -1, -3, -1, -4, mean -2.25; one masked token is left out."""
        x = make_inputs(
            [[-1.0, -3.0, 99.0], [-1.0, -4.0, 0.0]],
            [[2.0, 1.0, 50.0], [-1.0, -2.0, 0.0]],
            mask=[[1, 1, 0], [1, 1, 0]],
        )
        expected = [2 * 1.25, -0.75, 0.0, -1.25, 2 * 1.75, 0.0]
        assert covariance(x).flatten().tolist() == pytest.approx(expected)

    def test_blended_channels(self) -> None:
        x = make_inputs(LOGP, A)
        x.advantages = torch.cat([x.advantages * 3, x.advantages * -1])
        x.blend = torch.full((2, 2), 0.5)
        assert covariance(x).flatten().tolist() == pytest.approx([2.0, -2.0, -2.0, 2.0])

    def test_no_token_at_all(self) -> None:
        x = make_inputs(LOGP, A, mask=[[0, 0], [0, 0]])
        assert covariance(x).abs().sum() == 0
        for name in ("clip_cov", "kl_cov", "kl_cov_control"):
            found = loss_of(build(name)[0], tiny.make_context(), x)
            assert torch.isfinite(found.loss).all()

    @pytest.mark.parametrize(
        ("fraction", "n", "expected"),
        [(2e-4, 4999, 1), (2e-4, 15000, 3), (0.29, 100, 29), (0.0, 100, 0), (0.5, 0, 0)],
    )
    def test_how_many(self, fraction: float, n: int, expected: int) -> None:
        assert share_of(fraction, n) == expected


class TestClipCov:
    def chosen(self, name: str, x, seed: int = 0) -> list[bool]:
        """Which tokens have lost their gradient."""
        gradient = gradient_of(build(name)[0], tiny.make_context(seed=seed), x)
        return (gradient == 0).flatten().tolist()

    def test_one_eligible_token_at_random_loses_its_loss(self) -> None:
        x = make_inputs(LOGP, A)
        found = {tuple(self.chosen("clip_cov", x, seed)) for seed in range(12)}
        assert found == {(True, False, False, False), (False, False, False, True)}

    def test_the_others_keep_theirs_and_the_mean_its_weight(self) -> None:
        method, ctx, x = build("clip_cov")[0], tiny.make_context(), make_inputs(LOGP, A)
        found = loss_of(method, ctx, x)
        assert sorted(found.loss.flatten().tolist()) in ([-1, 0, 1, 1], [-1, -1, 0, 1])
        assert found.loss[0, 1] == -1
        assert found.loss[1, 0] == 1
        assert found.denominator.sum() == 4
        assert ctx.counts == {"tokens_without_policy_loss": 1}

    def test_both_where_the_share_allows(self) -> None:
        x = make_inputs(LOGP, A)
        assert self.chosen("clip_cov:ratio_fraction=0.5", x) == [True, False, False, True]

    def test_clipped_tokens_are_not_eligible(self) -> None:
        """Ratio 2.5 is above the published clip's 2; the other token of Cov 2 must be it."""
        old = [[-1.0 - math.log(2.5), -5.0], [-1.0, -5.0]]
        x = make_inputs(LOGP, A, old=old, clip_low=1.0, clip_high=1.0)
        # the clipped one has no gradient either way
        assert self.chosen("clip_cov", x) == [True, False, False, True]
        found = loss_of(build("clip_cov")[0], tiny.make_context(), x)
        assert found.loss.flatten().tolist() == pytest.approx([-2.0, -1.0, 1.0, 0.0])

    @pytest.mark.parametrize("bounds", ["lower=2.0", "upper=2.0", "lower=-2.0,upper=-1.9"])
    def test_bounds_are_open(self, bounds: str) -> None:
        ctx, x = tiny.make_context(), make_inputs(LOGP, A)
        found = loss_of(build(f"clip_cov:{bounds}")[0], ctx, x)
        assert torch.equal(found.loss, base_token_loss(x).loss)
        assert ctx.counts["tokens_without_policy_loss"] == 0

    def test_kl_stays(self) -> None:
        """.1 * k3 with d = ln 2: .1 * (1 - ln 2) is all that is left of a chosen token."""
        ref = [[v + math.log(2) for v in row] for row in LOGP]
        x = make_inputs(LOGP, A, ref=ref, kl=0.1)
        found = loss_of(build("clip_cov:ratio_fraction=1.0")[0], tiny.make_context(), x)
        kl = 0.1 * (1 - math.log(2))
        assert found.loss.flatten().tolist() == pytest.approx([kl, kl - 1, kl + 1, kl], abs=1e-6)

    @pytest.mark.parametrize("scope", ["mini", "rollout"])
    def test_a_wider_scope_chooses_once(self, scope: str) -> None:
        """Four micro-batches of a row, two updates; Cov = 2 for a token of rows 0 to 3 each."""
        step = make_inputs(LOGP + LOGP, A + A)
        parts = micro_batches(step, [[[0], [1]], [[3], [2]]])
        chosen = 0
        for x in parts:
            ctx = tiny.make_context()
            loss_of(build(f"clip_cov:stat_scope={scope}")[0], ctx, x)
            chosen += ctx.counts["tokens_without_policy_loss"]
        assert chosen == {"mini": 2, "rollout": 1}[scope]

    def test_defaults(self) -> None:
        p = build("clip_cov")[0].params
        assert (p.ratio_fraction, p.lower, p.upper, p.stat_scope) == (2e-4, 1.0, 5.0, "micro")
        for name in ("clip_cov", "clip_cov_control"):
            c = build(name)[0].coefficients(tiny.make_context(), BASE)
            assert c == replace(BASE, clip_low=1.0, clip_high=1.0, kl=0.0)

    @pytest.mark.parametrize(
        "name",
        [
            "clip_cov:ratio_fraction=0,settings=rzero",
            "clip_cov:role=solver",
            "clip_cov_control:settings=rzero",
        ],
    )
    def test_off(self, name: str) -> None:
        assert is_untouched(build(name)[0], tiny.make_context(), make_inputs(LOGP, A))


KL_LOGP, KL_A = [[-1.0, -3.0, -1.0, -4.0]], [[2.0, 1.0, -1.0, -2.0]]
KL_OLD = [[-1.0 - math.log(1.5), -3.0, -1.0 + math.log(2), -4.5]]


class TestKlCov:
    """Cov = 2.5, -.75, -1.25, 3.5: of four tokens, 25 % is the last one."""

    def inputs(self):
        return make_inputs(KL_LOGP, KL_A, old=KL_OLD)

    @pytest.mark.parametrize(
        ("name", "first", "third", "last"),
        [
            # no clip: -2 * 1.5, .5, 2 e^.5; the chosen token pays |logp - old| = .5 besides
            ("kl_cov:k_percent=25", -3.0, 0.5, 2 * math.exp(0.5) + 0.5),
            ("kl_cov:k_percent=25,beta=3", -3.0, 0.5, 2 * math.exp(0.5) + 1.5),
            ("kl_cov_control", -3.0, 0.5, 2 * math.exp(0.5)),
            # the baseline's clip to [.8, 1.3] for the others
            ("kl_cov:k_percent=25,settings=rzero", -2.6, 0.8, 2 * math.exp(0.5) + 0.5),
        ],
    )
    def test_by_hand(self, name, first, third, last) -> None:
        found = loss_of(build(name)[0], tiny.make_context(), self.inputs())
        expected = [first, -1.0, third, last]
        assert found.loss.detach()[0].tolist() == pytest.approx(expected, abs=1e-5)
        assert found.denominator.tolist() == [[1.0] * 4]

    def test_the_kl_s_gradient_is_the_sign_of_the_move(self) -> None:
        """-A rho + beta sign(logp - old): 2 e^.5 + 1."""
        gradient = gradient_of(build("kl_cov:k_percent=25")[0], tiny.make_context(), self.inputs())
        assert float(gradient[0, 3]) == pytest.approx(2 * math.exp(0.5) + 1, abs=1e-5)

    def test_at_ratio_one_it_has_none(self) -> None:
        ctx, x = tiny.make_context(), make_inputs(KL_LOGP, KL_A)
        gradient = gradient_of(build("kl_cov:k_percent=100")[0], ctx, x)
        assert gradient[0].tolist() == [-2.0, -1.0, 1.0, 2.0]
        assert ctx.counts["tokens_with_kl"] == 0

    def test_counts(self) -> None:
        ctx = tiny.make_context()
        loss_of(build("kl_cov:k_percent=50")[0], ctx, self.inputs())
        # tokens 0 and 3 are the largest; the clip would hold 0 (1.5 > 1.3) and 2 (.5 < .8)
        assert ctx.counts == {"tokens_with_kl": 2, "tokens_without_clip": 2}

    def test_a_percent_is_a_hundredth(self) -> None:
        draw = torch.Generator().manual_seed(0)
        logp = (-5 * torch.rand(1, 1000, generator=draw)).tolist()
        a = torch.randn(1, 1000, generator=draw).tolist()
        x = make_inputs(logp, a, old=[[v - 0.1 for v in logp[0]]])
        ctx = tiny.make_context()
        loss_of(build("kl_cov")[0], ctx, x)
        assert ctx.counts["tokens_with_kl"] == 2  # .2 % of 1000

    def test_defaults(self) -> None:
        p = build("kl_cov")[0].params
        assert (p.k_percent, p.beta, p.stat_scope) == (0.2, 1.0, "micro")
        for name in ("kl_cov", "kl_cov_control"):
            c = build(name)[0].coefficients(tiny.make_context(), BASE)
            assert c == replace(BASE, kl=0.0)

    @pytest.mark.parametrize(
        "name",
        [
            "kl_cov:k_percent=0,settings=rzero",
            "kl_cov:role=solver",
            "kl_cov_control:settings=rzero",
            "kl_cov_control:role=solver",
        ],
    )
    def test_off(self, name: str) -> None:
        assert is_untouched(build(name)[0], tiny.make_context(), self.inputs())
