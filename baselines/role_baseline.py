"""Role-conditioned advantages of SPIRAL (arXiv 2506.24119): a running baseline for each role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines._shared import Roles, plays
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register


@register("role_baseline")
class RoleBaseline(Method):
    """A_i = r_i - b_role, b_role <- gamma b_role + (1 - gamma) mean r.

    Equation: as above, one update of b per rollout step from the mean over its R rows; no group
    mean and no std.
    Defaults: gamma = .95, b = 0 at the start (arXiv 2506.24119, spiral-rl/spiral).
    Hook: `advantage`; both roles, phase train. It replaces the advantages that it is handed.
    State: b of both roles, across iterations.
    Unconfirmed: that b is updated before it is subtracted (update=before, from memory).
    """

    paper = "2506.24119"
    off: ClassVar[Mapping[str, Any]] = {"group_normalised": True}

    class Params(MethodParams):
        gamma: float = Field(0.95, ge=0, le=1, description="memory of the baseline")
        update: Literal["before", "after"] = Field("before", description="b is updated, then used")
        group_normalised: bool = Field(False, description="True: GRPO's advantages, method off")
        role: Roles = "both"

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self.baseline = {"proposer": 0.0, "solver": 0.0}

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.params.group_normalised or not plays(self.params.role, ctx):
            return advantages, blend
        assert batch.rewards is not None
        rewards, gamma = batch.rewards.total, self.params.gamma
        before = self.baseline[ctx.role]
        after = gamma * before + (1 - gamma) * float(rewards.mean())
        self.baseline[ctx.role] = after
        values = rewards - (after if self.params.update == "before" else before)
        row = torch.as_tensor(values, dtype=torch.float32)
        ctx.count("rows_rebaselined", len(batch))
        return (row[None, :, None] * batch.tokens.response_mask).expand_as(advantages), blend

    def state_dict(self) -> dict[str, Any]:
        return dict(self.baseline)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.baseline = {role: float(state[role]) for role in ("proposer", "solver")}
