"""A guard that pays ill-posed questions as if they were invalid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.config.schema import RunConfig
from harness.errors import HarnessError
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import INVALID_REWARD, Rewards


@register("well_posed_guard")
class WellPosedGuard(Method):
    """r' = (1 - w) r + w pay where the world's checker calls the question ill-posed.

    **An oracle enters training here: an upper bound on what a guard could do, not a competitor.**
    A proposer learns to ask what has no answer, because ill-posed text splits the votes; the
    checker of a world with known answers sees that, and nobody else does. Profiles without a
    checker are refused.

    Equation: r'_i = (1 - w) r_i + w pay if valid_i and not wellposed_i, else r_i; pay = -1 or 0.
    Defaults: w = 1, pay 'invalid' (-1, R-Zero's price of an unparsable response, arXiv 2508.05004);
        ours.
    Hook: ``reward``, proposer.
    Unconfirmed: nothing is claimed of a paper.
    """

    off: ClassVar[Mapping[str, Any]] = {"weight": 0.0}

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, le=1, description="w; 0: no guard")
        pay: Literal["invalid", "zero"] = Field("invalid", description="of an ill-posed question")

    def check(self, config: RunConfig) -> None:
        if config.checker is None:
            raise HarnessError(
                "method well_posed_guard: needs a profile with a checker, such as ladder"
            )

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        weight = self.params.weight
        checker = ctx.checker
        if ctx.role != "proposer" or weight == 0 or checker is None:
            return rewards
        ill = np.array(
            [
                p.question is not None and not checker.check(p.question).well_posed
                for p in batch.proposals
            ],
            dtype=bool,
        )
        pay = INVALID_REWARD if self.params.pay == "invalid" else 0.0
        total = np.where(ill, (1 - weight) * rewards.total + weight * pay, rewards.total)
        ctx.count("ill_posed_questions", int((total != rewards.total).sum()))
        return Rewards(total, {**rewards.components, "guard": total - rewards.total})
