"""Vocabulary dropout (arXiv 2604.03472): a hard, non-stationary mask on the proposer's logits.

Equation: per batch, b_v ~ Bernoulli(alpha) for v outside a protected set F, b_v = 1 inside; logits
with b_v = 0 are set to -inf before the softmax.
Defaults: alpha = .85 is the retention probability (15 % dropped), the value reported as best for
the 4B model; .75 is the paper's other value. One mask per batch (``granularity: step``); ``mini``
has one for the groups of each optimiser update, ``group`` and ``sequence`` one for each of those.
Hook: ``mask`` of the proposer, in policy training and in curriculum generation (the full method),
or in one of them (the paper's ablation and its mirror).
Unconfirmed: from what is known of the paper, the exact protected set F, and whether log-probs
are computed under the mask. ``logprob_mask: behaviour`` (default) renormalises old, current and
reference policies over the kept tokens; ``none`` scores masked samples with the full softmax.
Granularities but ``step``, schedules and the solver's mask are our additions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from baselines._shared import Roles, plays
from harness.masks import Granularity, ProtectedKind, VocabMask, protected_set
from harness.methods import HookContext, Method, MethodParams, register
from harness.roles import format_strings


@register("vocab_dropout")
class VocabDropout(Method):
    """logit_v = -inf where b_v = 0, b_v ~ Bernoulli(alpha), in proposer training and generation."""

    paper = "2604.03472"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 1.0}
    phases: ClassVar[tuple[str, ...]] = ("train", "generate")

    class Params(MethodParams):
        alpha: float = Field(
            0.85, gt=0, le=1, description="retention of unprotected tokens; 1: off"
        )
        alpha_end: float | None = Field(
            None, gt=0, le=1, description="retention in the last iteration; None: constant"
        )
        schedule: Literal["linear", "cosine"] = Field(
            "linear", description="from alpha to alpha_end over the iterations"
        )
        granularity: Granularity = Field("step", description="what shares one mask")
        logprob_mask: Literal["behaviour", "none"] = "behaviour"
        protected: tuple[ProtectedKind, ...] | None = Field(
            None, description="kinds in the protected set F; None: the profile's"
        )
        role: Roles = Field("proposer", description="whose logits; a solver's in training only")

    def alpha(self, ctx: HookContext) -> float:
        """The retention probability in force in this iteration."""
        p = self.params
        if p.alpha_end is None or ctx.config.iterations == 1:
            return float(p.alpha)
        share = (ctx.iteration - 1) / (ctx.config.iterations - 1)
        if p.schedule == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return float(p.alpha + share * (p.alpha_end - p.alpha))

    def mask(self, ctx: HookContext, mask: VocabMask | None) -> VocabMask | None:
        alpha = self.alpha(ctx)
        if not plays(self.params.role, ctx) or ctx.phase not in self.phases or alpha == 1.0:
            return mask
        protected = ctx.protected
        if self.params.protected is not None:
            protected = protected_set(
                ctx.tokenizer, self.params.protected, format_strings(ctx.config.roles)
            )
        drawn = VocabMask(
            key=ctx.key("vocab_dropout"),
            alpha=alpha,
            protected=protected,
            vocab_size=len(ctx.tokenizer),
            granularity=self.params.granularity,
            in_logprobs=self.params.logprob_mask == "behaviour",
        )
        ctx.count("masked_batches")
        # Of the batch's first mask: the number of others is only known with its rows.
        ctx.count("masked_tokens", int((~drawn.keep_numpy([0])).sum()))
        return drawn


@register("vocab_dropout_train_only")
class VocabDropoutTrainOnly(VocabDropout):
    """Vocabulary dropout in proposer training only; questions are generated without a mask."""

    phases = ("train",)


@register("vocab_dropout_generation_only")
class VocabDropoutGenerationOnly(VocabDropout):
    """Vocabulary dropout in curriculum generation only; the proposer trains without a mask."""

    phases = ("generate",)
