"""Clip-Cov and KL-Cov (arXiv 2505.22617): hold the tokens whose updates cost most entropy.

Equation: Cov_t = (A_t - mean A) (logp_t - mean logp), means over the valid tokens of a scope.
    Clip-Cov takes max(1, floor(r N)) of the scope's N tokens, uniformly among those that PPO
    doesn't clip and that have lower < Cov < upper, and sets their policy loss to 0; they still
    count in the mean. KL-Cov takes the max(1, floor(k N)) tokens of largest Cov and adds
    beta |logp - old| to -A rho; its other tokens have -A rho without any clip.

Defaults: PRIME-RL/Entropy-Mechanism-of-RL at 8850579: r = 2e-4 (a fraction), lower 1, upper 5,
    clip 1/1 for Clip-Cov; k = .2 % (`k_percent` is in percent; .02 for their 32B model), beta 1
    for KL-Cov; no KL to the reference in either; scope: one micro-batch. Their filter of groups
    without variance is not part of these entries.

Hook: `token_loss`, and `coefficients` for the clip and the KL; training of the proposer, the
    solver or both (default both).

Unconfirmed: Clip-Cov keeps the baseline's dual clip, of which the scripts say nothing, and takes
    out the policy's part of a token's loss only, which is all there is without KL and entropy terms
    (our adaptation). At ratio 1 |logp - old| has no gradient, so KL-Cov needs several updates per
    rollout step; at the first one, rounding decides on its sign. Advantages here have unit
    variance, so lower = 1 needs |A| |logp - mean| > 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, largest, plays
from harness.grpo import Scope, TokenInputs, TokenLoss, clipped_tokens, penalties
from harness.methods import HookContext, MethodParams, register


def covariance(x: TokenInputs) -> Tensor:
    """(A - mean A) (logp - mean logp) over the valid tokens, [m, T]; 0 elsewhere."""
    mask = x.mask.float()
    n = mask.sum().clamp(min=1.0)

    def centred(value: Tensor) -> Tensor:
        value = torch.where(x.mask, value, 0.0)
        return (value - value.sum() / n) * mask

    return centred(x.advantage) * centred(x.logp)


def share_of(fraction: float, n: int) -> int:
    """max(1, floor(fraction * n)), or 0 where either is 0."""
    return max(1, math.floor(fraction * n + 1e-9)) if fraction and n else 0


def unclipped_loss(ctx: HookContext, x: TokenInputs) -> Tensor:
    """-A rho with the baseline's KL and entropy terms, [m, T]; counts what a clip would hold."""
    a, c = x.advantage, x.coefficients
    held = clipped_tokens(x.ratio, a, c) | ((a < 0) & (x.ratio > c.dual_clip))
    ctx.count("tokens_without_clip", int((held & x.mask).sum()))
    return -a * x.ratio + penalties(x)


@register("clip_cov")
class ClipCov(PublishedSettings):
    """L_t = 0 for a random share r of the unclipped tokens with 1 < Cov(A_t, logp_t) < 5."""

    paper = "2505.22617"
    off: ClassVar[Mapping[str, Any]] = {"ratio_fraction": 0.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"clip_low": 1.0, "clip_high": 1.0, "kl": 0.0}

    class Params(MethodParams):
        ratio_fraction: float = Field(2e-4, ge=0, le=1, description="r, a fraction of the tokens")
        lower: float = Field(1.0, description="Cov of a token that may be chosen is above this")
        upper: float = Field(5.0, description="and below this")
        stat_scope: Scope = Field("micro", description="whose tokens compete")
        role: Roles = Field("both", description="whose training")
        settings: Settings = Field("paper", description="'rzero': the baseline's clip and KL")

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        p = self.params
        if not plays(p.role, ctx) or not p.ratio_fraction:
            return loss

        def choose(wide: TokenInputs) -> Tensor:
            cov = covariance(wide)
            free = ~clipped_tokens(wide.ratio, wide.advantage, wide.coefficients)
            eligible = (wide.mask & free & (cov > p.lower) & (cov < p.upper)).flatten().nonzero()
            n = min(share_of(p.ratio_fraction, int(wide.mask.sum())), len(eligible))
            chosen = torch.zeros(wide.mask.numel(), dtype=torch.bool, device=wide.mask.device)
            if n:
                draw = ctx.stream("clip_cov", *wide.place)
                picked = torch.as_tensor(draw.choice(len(eligible), n, replace=False))
                chosen[eligible[picked.to(eligible.device), 0]] = True
            return chosen.reshape(wide.mask.shape)

        chosen = x.within(p.stat_scope, choose)
        ctx.count("tokens_without_policy_loss", int(chosen.sum()))
        return TokenLoss(torch.where(chosen, penalties(x), loss.loss), loss.denominator)


@register("clip_cov_control")
class ClipCovControl(SettingsControl):
    """Clip-Cov's clip (1/1) and KL (none) with no token taken out of the loss."""

    paper = ClipCov.paper
    published = ClipCov.published


@register("kl_cov")
class KlCov(PublishedSettings):
    """L_t = -A rho + beta |logp - old| for the top k % of Cov(A_t, logp_t); -A rho elsewhere."""

    paper = "2505.22617"
    off: ClassVar[Mapping[str, Any]] = {"k_percent": 0.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"kl": 0.0}

    class Params(MethodParams):
        k_percent: float = Field(0.2, ge=0, le=100, description="percent of the tokens")
        beta: float = Field(1.0, ge=0, description="weight of |logp - old|")
        stat_scope: Scope = Field("micro", description="whose tokens compete")
        role: Roles = Field("both", description="whose training")
        settings: Settings = Field(
            "paper", description="'rzero': the baseline's KL, and its clip for the other tokens"
        )

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        p = self.params
        if not plays(p.role, ctx) or not (p.k_percent or p.settings == "paper"):
            return loss
        others = unclipped_loss(ctx, x) if p.settings == "paper" else loss.loss
        chosen = x.within(p.stat_scope, self._largest)
        ctx.count("tokens_with_kl", int((chosen & (x.logp != x.old)).sum()))
        held = -x.advantage * x.ratio + p.beta * (x.logp - x.old).abs() + penalties(x)
        return TokenLoss(torch.where(chosen, held, others), loss.denominator)

    def _largest(self, wide: TokenInputs) -> Tensor:
        n = share_of(self.params.k_percent / 100, int(wide.mask.sum()))
        return largest(covariance(wide), wide.mask, n)


@register("kl_cov_control")
class KlCovControl(SettingsControl):
    """KL-Cov without its KL: L_t = -A rho for all tokens, neither clip nor KL to the reference."""

    paper = KlCov.paper
    published = KlCov.published

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        if not plays(self.params.role, ctx) or self.params.settings != "paper":
            return loss
        return TokenLoss(unclipped_loss(ctx, x), loss.denominator)
