"""What the decoding methods share: where they act, and truncation rules that a trainer replays."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines._shared import Roles, plays
from harness.engines import LogitsRule, SamplingParams
from harness.engines.base import Replay
from harness.masks import special_ids
from harness.methods import HookContext, Method, MethodParams

Phases = tuple[Literal["train", "generate"], ...]
"""Where a decoding method acts: the training rollouts, the curriculum's generation, or both."""
Keep = Callable[[Tensor], Tensor]
"""Log-probs [b, V] (-inf where masked) -> the tokens that may be sampled, bool [b, V]."""


class DecodingParams(MethodParams):
    """Whose rollouts are decoded otherwise, and in which phases (a solver only trains)."""

    role: Roles = Field("proposer", description="whose sampling")
    phases: Phases = Field(("train", "generate"), min_length=1, description="in which rollouts")


class TruncationParams(DecodingParams):
    """A truncation's options beside its own threshold."""

    logprobs: Literal["behaviour", "none"] = Field(
        "behaviour", description="'none': the trainer scores with the full softmax"
    )
    distribution: Literal["tempered", "raw"] = Field(
        "tempered", description="what the rule sees: softmax(z / tau) or softmax(z)"
    )


def decodes(params: DecodingParams, ctx: HookContext) -> bool:
    """Whether a method with these parameters acts here."""
    return plays(params.role, ctx) and ctx.phase in params.phases


class Census:
    """Counts the sampled tokens that a step's rules touched: ``tokens_cut`` and ``mass_dropped``.

    ``tokens_cut`` are response tokens before which a rule dropped something, ``mass_dropped`` is
    the probability that it dropped there, summed. A token counts once, when it is sampled: neither
    the trainer's replays nor rows that are over count again.
    """

    def __init__(self, ctx: HookContext) -> None:
        self._ctx = ctx
        self._place = (ctx.role, ctx.phase, ctx.iteration, ctx.step)
        self._ends = torch.as_tensor(sorted(special_ids(ctx.tokenizer)))
        self._seen: dict[int, int] = {}

    def is_of(self, ctx: HookContext) -> bool:
        """Whether this counts the tokens of this place in the run."""
        same = self._place == (ctx.role, ctx.phase, ctx.iteration, ctx.step)
        return same and self._ctx.counts is ctx.counts

    def __call__(self, logp: Tensor, keep: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> None:
        """Take note of one call of the rule: log-probs and support [b, V], prefix [b, t]."""
        t = prefix.shape[1]
        fresh = torch.as_tensor([self._seen.get(key, -1) < t for key in row_keys])
        self._seen.update((key, max(t, self._seen.get(key, t))) for key in row_keys)
        if t:
            fresh &= ~torch.isin(prefix[:, -1].cpu(), self._ends)
        if not bool(fresh.any()):
            return
        dropped = torch.isfinite(logp) & ~keep
        cut = dropped.any(dim=1).cpu() & fresh
        self._ctx.count("tokens_cut", int(cut.sum()))
        lost = (logp.exp() * dropped).sum(dim=1).double().cpu()
        self._ctx.count("mass_dropped", float(lost[cut].sum()))


@dataclass(frozen=True)
class Truncated:
    """A `LogitsRule`: -inf outside a support that always holds the likeliest token.

    Attributes:
        keep: chooses the support from log-probs.
        temperature: that of these log-probs.
        replay: how the trainer replays the rule.
        census: counts what was cut.
    """

    keep: Keep
    temperature: float
    replay: Replay
    census: Census

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        logp = torch.log_softmax(logits / self.temperature, dim=-1)
        kept = with_top(self.keep(logp), logp)
        self.census(logp.detach(), kept, prefix, row_keys)
        return logits.masked_fill(~kept, -math.inf)


def with_top(keep: Tensor, logp: Tensor) -> Tensor:
    """The support [b, V] and the likeliest token of each row."""
    return keep.scatter(1, logp.argmax(dim=-1, keepdim=True), True)


def by_order(order: Tensor, kept: Tensor) -> Tensor:
    """Support [b, V] from flags [b, n] of the tokens ``order`` (long [b, V], n <= V) in a line."""
    flags = torch.zeros_like(order, dtype=torch.bool)
    flags[:, : kept.shape[1]] = kept
    return torch.zeros_like(flags).scatter(1, order, flags)


class Decoding(Method):
    """A method that samples under a logits rule of its own."""

    Params: ClassVar[type[MethodParams]] = TruncationParams

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._temperature: dict[tuple[str, str], float] = {}
        self._census: Census | None = None

    @abstractmethod
    def rule(self, ctx: HookContext, temperature: float, census: Census) -> LogitsRule | None:
        """The rule in force here; None where the method is off."""

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        self._temperature[ctx.role, ctx.phase] = params.temperature
        return params

    def logits_rule(self, ctx: HookContext, rule: LogitsRule | None) -> LogitsRule | None:
        if not decodes(self.params, ctx):
            return rule
        if self._census is None or not self._census.is_of(ctx):
            self._census = Census(ctx)
        return self.rule(ctx, self._in_force(ctx), self._census) or rule

    def _in_force(self, ctx: HookContext) -> float:
        """The temperature that the rule reckons with: as seen by `sampling`, or configured."""
        if self.params.distribution == "raw":
            return 1.0
        stage = ctx.config.proposer if ctx.role == "proposer" else ctx.config.solver
        configured = stage if ctx.phase == "train" else ctx.config.curriculum
        return self._temperature.get((ctx.role, ctx.phase), configured.temperature) or 1.0


class Truncation(Decoding):
    """A method that cuts the support by a function of each row's log-probs alone."""

    @abstractmethod
    def keep(self) -> Keep | None:
        """The support's rule; None where the method is off."""

    def replay(self) -> Replay:
        """How the trainer replays it."""
        replay: Replay = self.params.logprobs
        return replay

    def rule(self, ctx: HookContext, temperature: float, census: Census) -> LogitsRule | None:
        keep = self.keep()
        return None if keep is None else Truncated(keep, temperature, self.replay(), census)
