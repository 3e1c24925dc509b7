"""The example of `docs/add_a_method.md`: a method in one file."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


@register("short_questions")
class ShortQuestions(Method):
    """R-Zero's proposer reward plus a bonus for brevity.

    Equation: r' = r + weight * max(0, budget - length) / budget, for valid questions only.
    Defaults: our own; there is no paper.
    Hook: `reward`, of the proposer.
    Unconfirmed: nothing.
    """

    off = {"weight": 0.0}

    class Params(MethodParams):
        weight: float = Field(0.2, ge=0, description="reward of an empty question")
        budget: int = Field(200, ge=1, description="characters from which on there is no bonus")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer":
            return rewards
        length = np.array([len(p.question or "") for p in batch.proposals])
        saved = np.clip(1 - length / self.params.budget, 0, None)
        bonus = np.where(batch.valid, self.params.weight * saved, 0.0)
        ctx.count("questions_with_bonus", int((bonus > 0).sum()))
        return rewards.plus("brevity", bonus)
