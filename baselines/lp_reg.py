"""Lp-Reg (arXiv 2510.03222): improbable but plausible tokens are shielded from negative updates.

Equation: q is the old policy filtered by min-p (v stays if p_v >= kappa max p) and renormalised.
    Among the tokens with A < 0, the floor(k n) of lowest logp that also have logp < ln q get
    -A rho + beta k3(logp, ln q), unclipped, with k3 = e^d - d - 1 and d = ln q - logp; all others
    keep the clipped loss. Tokens that the filter drops have ln q = -1e4 and are never shielded.
    Where k n <= 1 nothing is selected.

Defaults: CarlanLark/Lp-Reg-dev at 33b27e2: kappa .02, k .01 (a fraction; Qwen3-14B; .005 for
    Qwen2.5-32B), beta 1, clip 1.0/9.0, no KL, no entropy bonus; scope: one micro-batch.

Hook: `token_stats` (one more pass of the old policy), `token_loss`, and `coefficients` for the
    clip and the KL; training of the proposer, the solver or both (default both).

Unconfirmed: the dual clip stays the baseline's. k3 is clamped to 10 as in the baseline's KL (the
    released exponential may overflow). A proposer's invalid rows are not shielded by default
    (`protect_invalid`, our adaptation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.grpo import Scope, TokenInputs, TokenLoss, k3, penalties
from harness.methods import HookContext, MethodParams, RolloutBatch, TokenTools, register

PROXY = "lp_reg_proxy"
DROPPED = -1e4
"""ln q where the filter drops the token."""


@register("lp_reg")
class LpReg(PublishedSettings):
    """L_t = -A rho + beta k3(logp, ln q) where A < 0, logp is in the lowest 1 % and below ln q."""

    paper = "2510.03222"
    off: ClassVar[Mapping[str, Any]] = {"k_fraction": 0.0, "settings": "rzero"}
    active: ClassVar[Mapping[str, Any]] = {"k_fraction": 0.2}
    published: ClassVar[dict[str, Any]] = {"clip_low": 1.0, "clip_high": 9.0, "kl": 0.0}

    class Params(MethodParams):
        kappa: float = Field(0.02, gt=0, le=1, description="min-p threshold of the proxy q")
        k_fraction: float = Field(0.01, ge=0, le=1, description="fraction of the tokens with A < 0")
        beta: float = Field(1.0, ge=0, description="weight of k3(logp, ln q)")
        protect_invalid: bool = Field(False, description="shield a proposer's invalid rows, too")
        stat_scope: Scope = Field("micro", description="whose tokens compete")
        role: Roles = Field("both", description="whose training")
        settings: Settings = Field("paper", description="'rzero': the baseline's clip and KL")

    def token_stats(
        self, ctx: HookContext, batch: RolloutBatch, stats: dict[str, Tensor], tools: TokenTools
    ) -> dict[str, Tensor]:
        p = self.params
        if not plays(p.role, ctx) or not p.k_fraction:
            return stats
        # p_v >= kappa max p, on logits that the temperature is still to divide
        margin = -math.log(p.kappa) * batch.tokens.temperature

        def min_p(logits: Tensor) -> Tensor:
            floor = logits.amax(dim=-1, keepdim=True) - margin
            return logits.masked_fill(logits < floor, -torch.inf)

        proxy = tools.logprobs(min_p).clamp(min=DROPPED)
        if ctx.role == "proposer" and not p.protect_invalid:
            proxy[~torch.as_tensor(batch.valid)] = DROPPED
        return {**stats, PROXY: proxy}

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        p = self.params
        if not plays(p.role, ctx) or not p.k_fraction:
            return loss
        chosen = x.within(p.stat_scope, self._sparks)
        ctx.count("tokens_shielded", int(chosen.sum()))
        pull = p.beta * k3(x.stats[PROXY], x.logp)
        shielded = -x.advantage * x.ratio + pull + penalties(x)
        return TokenLoss(torch.where(chosen, shielded, loss.loss), loss.denominator)

    def _sparks(self, wide: TokenInputs) -> Tensor:
        negative = wide.mask & (wide.advantage < 0)
        share = self.params.k_fraction * int(negative.sum())
        chosen = torch.zeros(negative.numel(), dtype=torch.bool, device=negative.device)
        if share > 1:
            logp = wide.logp.masked_fill(~negative, torch.inf).flatten()
            chosen[logp.topk(math.floor(share + 1e-9), largest=False).indices] = True
        return chosen.reshape(negative.shape) & (wide.logp < wide.stats[PROXY])


@register("lp_reg_control")
class LpRegControl(SettingsControl):
    """Lp-Reg's clip (1.0/9.0) and KL (none) with no token shielded."""

    paper = LpReg.paper
    published = LpReg.published
