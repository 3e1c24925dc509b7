"""80/20 (arXiv 2506.01939): the policy learns from its high-entropy tokens only.

Equation: L = mean over the ceil(r N) of a scope's N response tokens with the highest entropy of
    the clipped policy loss; the mean's denominator counts these tokens only. KL and entropy terms
    still are means over all response tokens.

Defaults: Shenzhi-Wang/Beyond-the-80-20-Rule-RLVR at 6f5dda6: r .2, the current policy's entropy,
    clip .2/.28, no KL; scope: one micro-batch. Their dynamic sampling is not part of this entry.
    The paper reports gains from 14B parameters on.

Hook: `token_loss`, and `coefficients` for the clip and the KL; training of the proposer, the
    solver or both (default both).

Unconfirmed: with KL or entropy terms (none in the published settings) each micro-batch's mean of
    them is carried by its kept tokens, so a micro-batch without any, which only a scope wider than
    `micro` can leave, has no such term (our adaptation). Entropy is taken over the whole response
    of the proposer, not only inside its question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, largest, plays
from harness.grpo import Scope, TokenInputs, TokenLoss, penalties, policy_loss
from harness.methods import HookContext, MethodParams, register


@register("high_entropy_tokens")
class HighEntropyTokens(PublishedSettings):
    """L = mean of the clipped policy loss over the 20 % of tokens with the highest entropy."""

    paper = "2506.01939"
    off: ClassVar[Mapping[str, Any]] = {"keep_fraction": 1.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"clip_low": 0.2, "clip_high": 0.28, "kl": 0.0}

    class Params(MethodParams):
        keep_fraction: float = Field(0.2, gt=0, le=1, description="r, a fraction of the tokens")
        stat_scope: Scope = Field("micro", description="whose tokens compete")
        role: Roles = Field("both", description="whose training")
        settings: Settings = Field("paper", description="'rzero': the baseline's clip and KL")

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        p = self.params
        if not plays(p.role, ctx) or p.keep_fraction == 1.0:
            return loss
        kept = x.within(p.stat_scope, self._top)
        ctx.count("tokens_left_out", int((x.mask & ~kept).sum()))
        everywhere = (penalties(x) * x.mask).sum() / x.mask.sum().clamp(min=1)
        return TokenLoss(policy_loss(x) + everywhere, loss.denominator * kept)

    def _top(self, wide: TokenInputs) -> Tensor:
        n = math.ceil(self.params.keep_fraction * int(wide.mask.sum()) - 1e-9)
        return largest(wide.entropy, wide.mask, n)


@register("high_entropy_tokens_control")
class HighEntropyTokensControl(SettingsControl):
    """80/20's clip (.2/.28) and KL (none) with every token kept."""

    paper = HighEntropyTokens.paper
    published = HighEntropyTokens.published
