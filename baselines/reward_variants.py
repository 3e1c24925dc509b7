"""R-Zero's proposer reward part by part: without repetition, as in the paper, invalid at 0.

R-Zero (arXiv 2508.05004): the released reward function (Chengsong-Huang/R-Zero at 5699329) and the
paper's formula differ, and both hold parts whose effect is an open question.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from baselines._rewards import changed, replaced, swapped
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import INVALID_REWARD, Rewards


@register("no_repetition_penalty")
class NoRepetitionPenalty(Method):
    """r = min(p, 1 - p) + weight * repetition, weight 0: R-Zero without its repetition penalty.

    Equation: r = min(p, 1 - p) - weight * share, where R-Zero (arXiv 2508.05004) has weight 1 and
        share is the part of the batch in the question's BLEU cluster. Invalid questions as before.
    Defaults: weight 0, the ablation.
    Hook: `reward`, proposer, training.
    Unconfirmed: nothing.
    """

    paper = "2508.05004"
    off: ClassVar = {"weight": 1.0}

    class Params(MethodParams):
        weight: float = Field(0.0, ge=0, description="of the repetition penalty; R-Zero: 1")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        old = rewards.components.get("repetition")
        if ctx.role != "proposer" or self.params.weight == 1 or old is None:
            return rewards
        found = swapped(rewards, {"repetition": self.params.weight * old})
        ctx.count("questions_with_other_penalty", changed(rewards, found))
        return found


@register("paper_reward")
class PaperReward(Method):
    """r = max(0, 2 min(p, 1 - p) - lambda * share), invalid 0: R-Zero's reward as its paper says.

    Equation: r = max(0, 1 - 2 |p - 1/2| - repetition_weight * share) for valid questions, 0 for
        invalid ones (the paper's format gate). The code halves the first term, has no maximum,
        and gives -1; under group normalisation its uncertainty weighs half as much. The part that
        the maximum adds is the component ``floor``. ``weight`` mixes the code's reward with it.
    Defaults: repetition_weight 1 (arXiv 2508.05004), uncertainty_scale 2 (1 - 2 |p - 1/2|).
    Hook: `reward`, proposer, training.
    Unconfirmed: nothing.
    """

    paper = "2508.05004"
    off: ClassVar = {"weight": 0.0}

    class Params(MethodParams):
        repetition_weight: float = Field(1.0, ge=0, description="lambda")
        uncertainty_scale: float = Field(2.0, gt=0, description="of min(p, 1 - p)")
        weight: float = Field(1.0, ge=0, le=1, description="0 is the code's reward")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        names = ("uncertainty", "repetition", "invalid")
        old = rewards.components
        if ctx.role != "proposer" or self.params.weight == 0 or not set(names) <= set(old):
            return rewards
        uncertainty = self.params.uncertainty_scale * old["uncertainty"]
        repetition = self.params.repetition_weight * old["repetition"]
        floor = np.maximum(0.0, -(uncertainty + repetition))
        parts = {"uncertainty": uncertainty, "repetition": repetition, "floor": floor}
        found = replaced(rewards, parts, self.params.weight, names)
        ctx.count("questions_at_the_floor", int((floor > 0).sum()))
        ctx.count("rewards_changed", changed(rewards, found))
        return found


@register("valid_zero")
class ValidZero(Method):
    """r = 0 instead of -1 for invalid questions; valid ones as in R-Zero.

    Equation: r_invalid = invalid. R-Zero's code (arXiv 2508.05004) has -1, its paper 0.
    Defaults: invalid 0, the paper's format gate. Valid questions may well be worth less than 0
        (their repetition share), so that an invalid one can pay here; watch the valid rate.
    Hook: `reward`, proposer, training.
    Unconfirmed: the motive: search self-play (arXiv 2510.18821) is said, by a third-party account,
        to have moved from -0.1 to 0 because the negative reward drove the valid rate to 0.
    """

    paper = "2508.05004"
    off: ClassVar = {"invalid": INVALID_REWARD}

    class Params(MethodParams):
        invalid: float = Field(0.0, ge=-10, le=1, description="of an invalid question; R-Zero: -1")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer" or self.params.invalid == INVALID_REWARD:
            return rewards
        bad = ~batch.valid
        found = swapped(rewards, {"invalid": np.where(bad, self.params.invalid, 0.0)})
        ctx.count("invalid_rows", int(bad.sum()))
        return found
