"""STEER (arXiv 2510.10150): tokens whose update would change entropy most weigh less.

Equation: Omega_t = (A_t / p_old) p (1 - p) (ln p + H), with p the sampled token's probability now
    and H the entropy of the token's distribution. map exp: w = e^(-k |Omega|), k = -ln(w_min) /
    max(max |Omega|, .02), within [w_min, w_max]. map linear: w = w_max - (|Omega| - min) (w_max -
    w_min) / (max - min). L_t = w_t * (clipped policy loss); weights carry no gradient and are not
    renormalised. max and min are those of a scope.

Defaults: zz-haooo/STEER at b31df71: w_min .8, w_max 1.0 (exp) or 1.2 (linear), clip .2/.28, dual
    clip 10, no KL; scope: one micro-batch.

Hook: `token_loss`, and `coefficients` for the clip and the KL; training of the proposer, the
    solver or both (default both).

Unconfirmed: nothing. One outlier sets k: with a single |Omega| of 5 among values of .01 the mean
    weight is .9996, and the method is silently off; sum |w - 1| is counted for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.grpo import Scope, TokenInputs, TokenLoss, penalties, policy_loss
from harness.methods import HookContext, MethodParams, register

OMEGA_FLOOR = 0.02
"""The least max |Omega| that k of the exp map is taken from."""
W_MAX = {"exp": 1.0, "linear": 1.2}


def entropy_change(x: TokenInputs) -> Tensor:
    """|Omega|, [m, T], without gradient; 0 outside the mask."""
    logp = x.logp.detach()
    # (A / p_old) p (1 - p) = A rho (1 - p), which never divides by a tiny p_old
    omega = x.advantage * x.ratio.detach() * -torch.expm1(logp) * (logp + x.entropy.detach())
    return torch.where(x.mask, omega.abs(), 0.0)


@register("steer")
class Steer(PublishedSettings):
    """L_t = w_t * PPO_t, w_t = exp(-k |Omega_t|) >= .8; Omega_t estimates the entropy change."""

    paper = "2510.10150"
    off: ClassVar[Mapping[str, Any]] = {"w_min": 1.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {
        "clip_low": 0.2,
        "clip_high": 0.28,
        "dual_clip": 10.0,
        "kl": 0.0,
    }

    class Params(MethodParams):
        map: Literal["exp", "linear"] = Field("exp", description="from |Omega| to a weight")
        w_min: float = Field(0.8, gt=0, le=1, description="weight of the largest |Omega|")
        w_max: float | None = Field(
            None, ge=1, description="weight of the least; None: 1.0 (exp), 1.2 (linear)"
        )
        stat_scope: Scope = Field("micro", description="whose tokens max and min are taken over")
        role: Roles = Field("both", description="whose training")
        settings: Settings = Field("paper", description="'rzero': the baseline's clip and KL")

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        p = self.params
        if not plays(p.role, ctx) or p.w_min == self.w_max:
            return loss
        weight = self.weight(x)
        change = (weight - 1.0).abs()[x.mask]
        ctx.count("tokens_reweighted", int((change > 1e-3).sum()))
        ctx.count("weight_changed", float(change.sum()))
        return TokenLoss(weight * policy_loss(x) + penalties(x), loss.denominator)

    @property
    def w_max(self) -> float:
        """The largest weight."""
        chosen: float | None = self.params.w_max
        return W_MAX[self.params.map] if chosen is None else chosen

    def weight(self, x: TokenInputs) -> Tensor:
        """w, [m, T], without gradient."""
        wide = x.over(self.params.stat_scope)
        scope = entropy_change(wide)[wide.mask]
        low, high = (float(scope.min()), float(scope.max())) if len(scope) else (0.0, 0.0)
        omega, w_min = entropy_change(x), self.params.w_min
        if self.params.map == "exp":
            k = -math.log(w_min) / max(high, OMEGA_FLOOR)
            weight = (-k * omega).exp()
        else:
            # with a single value in the scope all weights are w_max
            weight = self.w_max - (omega - low) * (self.w_max - w_min) / max(high - low, 1e-12)
        # a wider scope's extremes are the old policy's, so they don't bound these tokens
        return weight.clamp(w_min, self.w_max)


@register("steer_control")
class SteerControl(SettingsControl):
    """STEER's clip (.2/.28, dual 10) and KL (none) with every weight 1."""

    paper = Steer.paper
    published = Steer.published
