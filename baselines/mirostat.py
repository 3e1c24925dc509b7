"""Mirostat (arXiv 2007.14966): sampling that holds the mean surprise of a response at a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines._decoding import Census, Decoding, TruncationParams, by_order, with_top
from harness.engines import LogitsRule
from harness.engines.base import Replay
from harness.methods import HookContext, register


def zipf_exponent(logp: Tensor, m: int) -> Tensor:
    """The exponent s [b] of p_i ~ i^-s, least squares over the m likeliest tokens of [b, V].

    s = sum t_i b_i / sum t_i^2 with t_i = ln((i + 1) / i), b_i = ln(p_i / p_{i+1}), i = 1..m-1.
    Masked tokens (-inf) take no part; fewer than two tokens give 0.
    """
    top = logp.double().topk(min(m, logp.shape[1]), dim=-1).values
    there = torch.isfinite(top[:, 1:])
    b = (top[:, :-1] - top[:, 1:]).masked_fill(~there, 0.0)
    i = torch.arange(1, top.shape[1], dtype=torch.float64, device=logp.device)
    t = ((i + 1) / i).log() * there
    return (t * b).sum(dim=-1) / (t * t).sum(dim=-1).clamp(min=1e-300)


def top_k_for(mu: Tensor, s: Tensor, vocabulary: Tensor) -> Tensor:
    """How many tokens k [b] keep the surprise below mu bits, for exponents s and N tokens each.

    k = (eps 2^mu / (1 - N^-eps))^(1/s), eps = s - 1; at eps = 0: (2^mu / ln N)^(1/s). In logs, as
    2^mu overflows; rounded, and within 1 to N.
    """
    n = vocabulary.double()
    eps = s - 1.0
    log_n = n.log().clamp(min=1e-12)
    close = eps.abs() < 1e-9
    safe = torch.where(close, torch.ones_like(eps), eps)
    factor = torch.where(close, 1.0 / log_n, safe / -torch.expm1(-safe * log_n))
    log_k = (factor.log() + mu * math.log(2.0)) / s.clamp(min=1e-9)
    return log_k.clamp(max=math.log(2.0) * 60).exp().round().clamp(min=1.0).minimum(n).long()


@dataclass
class MirostatRule:
    """The `LogitsRule`: a bound mu per row, from what the row's tokens have surprised so far.

    A row's mu starts at 2 tau with its first token (so replays start over) and is moved by the last
    token of its prefix before each further one. Of every row the last distribution is kept.
    """

    tau: float
    eta: float
    m: int
    version: int
    surprise: Literal["untruncated", "truncated"]
    temperature: float
    replay: Replay
    census: Census
    mu: dict[int, float] = field(default_factory=dict)
    """bits, by row key."""
    last: dict[int, Tensor] = field(default_factory=dict)
    """surprises [V] in bits of the tokens that the row's last one was drawn from."""

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        logp = torch.log_softmax(logits / self.temperature, dim=-1)
        self._move(prefix, row_keys)
        mu = torch.tensor([self.mu[k] for k in row_keys], dtype=torch.float64, device=logp.device)
        kept = with_top(self._keep(logp, mu), logp)
        self.census(logp, kept, prefix, row_keys)
        bits = -logp / math.log(2.0)
        if self.surprise == "truncated":
            bits = bits + logp.masked_fill(~kept, -math.inf).logsumexp(1, keepdim=True) / math.log(
                2
            )
        self.last.update((key, row.clone()) for key, row in zip(row_keys, bits, strict=True))
        return logits.masked_fill(~kept, -math.inf)

    def _move(self, prefix: Tensor, row_keys: Sequence[int]) -> None:
        """mu -= eta (S - tau), S the surprise of each row's last token; 2 tau at the start."""
        if not prefix.shape[1]:
            self.mu.update(dict.fromkeys(row_keys, 2.0 * self.tau))
            return
        for key, token in dict(zip(row_keys, prefix[:, -1].tolist(), strict=True)).items():
            seen = float(self.last[key][token])
            # A masked token has no finite surprise: a row that is over is filled with such.
            if math.isfinite(seen):
                self.mu[key] -= self.eta * (seen - self.tau)

    def _keep(self, logp: Tensor, mu: Tensor) -> Tensor:
        if self.version == 2:
            return -logp.double() / math.log(2.0) <= mu[:, None]
        n = torch.isfinite(logp).sum(dim=-1)
        k = top_k_for(mu, zipf_exponent(logp, self.m), n)
        order = logp.argsort(dim=-1, descending=True, stable=True)
        place = torch.arange(logp.shape[1], device=logp.device)
        return by_order(order, place[None, :] < k[:, None])


@register("mirostat")
class Mirostat(Decoding):
    """S_t = {v: -log2 p_v <= mu_t} (v2) or top-k(mu_t) (v1); mu_{t+1} = mu_t - eta (S - tau).

    Equation: S = -log2 p(sampled token), mu_0 = 2 tau. Version 1 keeps the k likeliest tokens,
    k = (eps 2^mu / (1 - N^-eps))^(1/s), eps = s - 1, with Zipf's exponent s fitted to the m
    likeliest; version 2 keeps those of surprise at most mu. The likeliest token always stays. The
    trainer scores over the behaviour policy's support (``logprobs``). Source: arXiv 2007.14966 and
    basusourya/mirostat at 444fce2 (`mirostat.py`), which has tau 3, takes S from the distribution
    before truncation, and there sets eta 1, fits s to 3000 tokens and keeps k + 1.
    Defaults: tau 3 bits (3 to 5 are usual), eta .1, m 100, version 2, S untruncated.
    Hook: `logits_rule` (and `sampling`, to see the temperature); proposer, training and generation.
    Unconfirmed: eta .1, m 100 and version 2 are from memory. A response whose surprise stays below
    tau whatever is kept (the ladder's base) only ever raises mu, and the rule fades.
    """

    paper = "2007.14966"
    off: ClassVar[Mapping[str, Any]] = {"tau": None}

    class Params(TruncationParams):
        tau: float | None = Field(
            3.0, gt=0, le=64, description="target surprise in bits; None: off"
        )
        eta: float = Field(0.1, ge=0, le=2, description="learning rate of mu")
        m: int = Field(100, ge=2, description="tokens that s is fitted to (version 1)")
        version: Literal[1, 2] = 2
        surprise: Literal["untruncated", "truncated"] = Field(
            "untruncated", description="the distribution that S is taken from"
        )

    def rule(self, ctx: HookContext, temperature: float, census: Census) -> LogitsRule | None:
        p = self.params
        if p.tau is None:
            return None
        return MirostatRule(
            p.tau, p.eta, p.m, p.version, p.surprise, temperature, p.logprobs, census
        )
