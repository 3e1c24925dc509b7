"""``a+b``: methods applied in that order, hook by hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.config.schema import RunConfig
from harness.engines.base import LogitsRule, SamplingParams
from harness.errors import HarnessError
from harness.grading.votes import Tally
from harness.grpo import Coefficients, TokenInputs, TokenLoss
from harness.masks import VocabMask
from harness.methods.base import (
    EXCLUSIVE,
    Ballots,
    Curriculum,
    HookContext,
    Method,
    Pool,
    TokenTools,
    overridden,
)
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.roles import Message, Rewards


class Composite(Method):
    """Several methods as one.

    Args:
        parts: the methods, first to last.

    Raises:
        HarnessError: two of them claim the same exclusive hook.
    """

    def __init__(self, parts: Sequence[Method]) -> None:
        super().__init__()
        self.parts = list(parts)
        for hook in EXCLUSIVE:
            claim = [p.name for p in parts if hook in overridden(type(p))]
            if len(claim) > 1:
                raise HarnessError(
                    f"methods {' and '.join(claim)} both replace the hook '{hook}'; choose one"
                )

    def check(self, config: RunConfig) -> None:
        for part in self.parts:
            part.check(config)

    def files(self) -> tuple[Path, ...]:
        return tuple(path for part in self.parts for path in part.files())

    def steps(self, ctx: HookContext, steps: int) -> int:
        for part in self.parts:
            steps = part.steps(ctx, steps)
        return steps

    def jury(self, ctx: HookContext, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        for part in self.parts:
            snapshots = part.jury(ctx, snapshots)
        return snapshots

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        for part in self.parts:
            coefficients = part.coefficients(ctx, coefficients)
        return coefficients

    def prompts(self, ctx: HookContext, messages: list[list[Message]]) -> list[list[Message]]:
        for part in self.parts:
            messages = part.prompts(ctx, messages)
        return messages

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        for part in self.parts:
            params = part.sampling(ctx, params)
        return params

    def mask(self, ctx: HookContext, mask: VocabMask | None) -> VocabMask | None:
        for part in self.parts:
            mask = part.mask(ctx, mask)
        return mask

    def logits_rule(self, ctx: HookContext, rule: LogitsRule | None) -> LogitsRule | None:
        for part in self.parts:
            rule = part.logits_rule(ctx, rule)
        return rule

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        for part in self.parts:
            batch = part.after_rollout(ctx, batch, tools)
        return batch

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        for part in self.parts:
            tallies = part.label(ctx, ballots, tallies)
        return tallies

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        for part in self.parts:
            rewards = part.reward(ctx, batch, rewards)
        return rewards

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            advantages, blend = part.advantage(ctx, batch, advantages, blend)
        return advantages, blend

    def token_stats(
        self, ctx: HookContext, batch: RolloutBatch, stats: dict[str, Tensor], tools: TokenTools
    ) -> dict[str, Tensor]:
        for part in self.parts:
            stats = part.token_stats(ctx, batch, stats, tools)
        return stats

    def candidates(
        self, ctx: HookContext, batch: RolloutBatch, candidates: Tensor | None
    ) -> Tensor | None:
        for part in self.parts:
            candidates = part.candidates(ctx, batch, candidates)
        return candidates

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        for part in self.parts:
            loss = part.token_loss(ctx, x, loss)
        return loss

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        for part in self.parts:
            curriculum = part.select(ctx, pool, curriculum)
        return curriculum

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        for part in self.parts:
            part.on_step_end(ctx, metrics)

    def on_iteration_end(self, ctx: HookContext, metrics: Mapping[str, float | None]) -> None:
        for part in self.parts:
            part.on_iteration_end(ctx, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])
