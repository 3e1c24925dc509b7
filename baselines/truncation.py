"""Truncated sampling that the trainer replays: RLPT, min-p, locally typical and top-H.

Before each token a rule chooses a support S from the distribution p; logits outside S become -inf,
and the token is drawn from p renormalised over S. S always holds the likeliest token.

Sampling from S but scoring with the full softmax is an off-policy mismatch, so the trainer scores
old, current and reference policies over the S that the rollouts' own policy had
(``logprobs: behaviour``, the device of RLPT); ``none`` scores with the full softmax. The rules see
p under the temperature in force (``distribution: tempered``), as engines apply them; in ``a+b`` a
method that sets the temperature stands first. ``raw`` sees softmax(z).

Truncation alone reduces diversity: to raise it, compose with `temperature` above 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines._decoding import Keep, Truncation, TruncationParams, by_order, decodes
from harness.engines import SamplingParams
from harness.engines.sampling import truncate
from harness.methods import HookContext, register


@dataclass(frozen=True)
class SamplerKeep:
    """The support that a sampler's own top-k, top-p and min-p leave."""

    params: SamplingParams

    def __call__(self, logp: Tensor) -> Tensor:
        return truncate(logp.exp(), self.params) > 0


@dataclass(frozen=True)
class MinPKeep:
    """p_v >= share * max p."""

    share: float

    def __call__(self, logp: Tensor) -> Tensor:
        return logp >= logp.amax(dim=-1, keepdim=True) + math.log(self.share)


@dataclass(frozen=True)
class TypicalKeep:
    """The smallest set of mass >= tau, those with -ln p next to the entropy first."""

    tau: float

    def __call__(self, logp: Tensor) -> Tensor:
        p = logp.exp()
        entropy = -(p * logp.masked_fill(torch.isinf(logp), 0.0)).sum(dim=-1, keepdim=True)
        order = (-logp - entropy).abs().argsort(dim=-1, stable=True)
        ordered = p.gather(1, order)
        return by_order(order, ordered.cumsum(dim=-1) - ordered < self.tau)


@dataclass(frozen=True)
class TopHKeep:
    """The likeliest tokens while their entropy is at most alpha times the whole's."""

    alpha: float
    top_n: int
    rule: Literal["stated", "released"]

    def __call__(self, logp: Tensor) -> Tensor:
        ordered, order = logp.double().sort(dim=-1, descending=True, stable=True)
        p = ordered.exp()
        surprise = p * -ordered.masked_fill(torch.isinf(ordered), 0.0) / math.log(2.0)
        n = min(self.top_n, p.shape[1])
        partial = surprise.cumsum(dim=-1)
        if self.rule == "released":
            kept = partial[:, :n] <= self.alpha * partial[:, n - 1 : n]
        else:
            # H(q) of q = p / m over the first k: (partial entropy) / m + log2 m.
            mass = p.cumsum(dim=-1)[:, :n]
            kept = partial[:, :n] / mass + mass.log2() <= self.alpha * partial[:, -1:]
        return by_order(order, kept.int().cummin(dim=-1).values.bool())


@register("rlpt")
class Rlpt(Truncation):
    """S = top-p of the behaviour policy; pi, pi_old and pi_ref are all renormalised over that S.

    Equation: pi^S(v) = pi(v) [v in S] / sum_{u in S} pi(u), ratio = pi^S / pi_old^S, where S is
    stored token by token when the rollout is made; also by top-k and min-p. The sampler's own
    truncation is switched off where this one is in force. Source: arXiv 2602.03195.
    Defaults: top_p .99, that of R-Zero's training (arXiv 2508.05004), which samples truncated but
    scores with the full softmax; `logprobs: none` is that practice.
    Hook: `logits_rule` (and `sampling`); proposer, training and generation.
    Unconfirmed: the rule is known here by a third-party account of the paper, not from the paper.
    S is found from the old policy's logits in the trainer, so a token at the nucleus's edge may
    differ from the engine's by rounding; the sampled token always belongs.
    """

    paper = "2602.03195"
    off: ClassVar[Mapping[str, Any]] = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
    active: ClassVar[Mapping[str, Any]] = {}

    class Params(TruncationParams):
        top_p: float = Field(0.99, gt=0, le=1, description="mass of the nucleus; 1: off")
        top_k: int = Field(0, ge=0, description="0: off")
        min_p: float = Field(0.0, ge=0, lt=1, description="0: off")

    def keep(self) -> Keep | None:
        p = self.params
        if p.top_p == 1.0 and not p.top_k and not p.min_p:
            return None
        return SamplerKeep(SamplingParams(1, top_p=p.top_p, top_k=p.top_k, min_p=p.min_p))

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        super().sampling(ctx, params)
        if self.keep() is None or not decodes(self.params, ctx):
            return params
        return replace(params, top_p=1.0, top_k=0, min_p=0.0)


@register("min_p")
class MinP(Truncation):
    """S = {v: p_v >= p_base * max p}, the floor that follows the model's confidence.

    Equation: keep v iff p_v >= p_base * max_u p_u. Source: arXiv 2407.01082.
    Defaults: p_base .1 (.05 to .1 are usual).
    Hook: `logits_rule` (and `sampling`, to see the temperature); proposer, training and generation.
    Unconfirmed: the definition and its defaults are from memory.
    """

    paper = "2407.01082"
    off: ClassVar[Mapping[str, Any]] = {"p_base": 0.0}

    class Params(TruncationParams):
        p_base: float = Field(0.1, ge=0, le=1, description="share of the maximum; 0: off")

    def keep(self) -> Keep | None:
        return MinPKeep(self.params.p_base) if self.params.p_base else None


@register("locally_typical")
class LocallyTypical(Truncation):
    """S = the smallest set of mass >= tau by ascending |-ln p - H(p)|.

    Equation: order v by |-ln p_v - H(p)|, keep the first ones until their mass reaches tau; the
    likeliest token stays in any case (ours; the definition may drop it). Source: arXiv 2202.00666.
    Defaults: tau .95 (.2 to .95 are usual); 1 is off.
    Hook: `logits_rule` (and `sampling`, to see the temperature); proposer, training and generation.
    Unconfirmed: the definition and its default are from memory.
    """

    paper = "2202.00666"
    off: ClassVar[Mapping[str, Any]] = {"tau": 1.0}

    class Params(TruncationParams):
        tau: float = Field(0.95, gt=0, le=1, description="mass; 1: off")

    def keep(self) -> Keep | None:
        return TypicalKeep(self.params.tau) if self.params.tau < 1.0 else None


@register("top_h")
class TopH(Truncation):
    """S = the likeliest tokens, one by one, while H(q) <= alpha * H(p), q being p over S.

    Equation: `stated`: the longest prefix of the tokens by falling p with
    H(q) = -sum q log2 q <= alpha * H(p), q = p / p(S). `released`: what the published code's test
    amounts to, -sum_{v in S} p log2 p <= alpha * (the same sum over the top_n), not renormalised;
    it keeps more tokens. Neither looks beyond the top_n. Source: arXiv 2509.02510 and
    ErfanBaghaei/Top-H-Decoding at 0744155 (`logit_processor.py`; it reads a name `bias` that is
    not defined there, taken as 0, and takes one row at a time).
    Defaults: alpha .4, top_n 100 (both the code's); rule `stated` is our choice; alpha 1 is off.
    Hook: `logits_rule` (and `sampling`, to see the temperature); proposer, training and generation.
    Unconfirmed: which of the two rules the paper's tables were made with.
    """

    paper = "2509.02510"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 1.0}

    class Params(TruncationParams):
        alpha: float = Field(0.4, gt=0, le=1, description="share of the entropy; 1: off")
        top_n: int = Field(100, ge=1, description="tokens considered")
        rule: Literal["stated", "released"] = "stated"

    def keep(self) -> Keep | None:
        p = self.params
        return TopHKeep(p.alpha, p.top_n, p.rule) if p.alpha < 1.0 else None
