"""Dynamic sampling of DAPO (arXiv 2503.14476): groups that teach nothing are sampled anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from baselines._groups import group_rows, varies
from baselines._shared import Roles, plays
from harness.errors import HarnessError
from harness.methods import (
    HookContext,
    Method,
    MethodParams,
    RolloutBatch,
    RolloutTools,
    register,
)

Array = npt.NDArray[np.float64]


@register("dynamic_sampling")
class DynamicSampling(Method):
    """Groups with std(metric) = 0 are dropped; fresh prompts fill their place, 10 draws at most.

    Equation: keep groups with std > 0, draw further prompts until there are as many groups as
    before; what is over is left out, first come first served.
    Defaults: 10 generation batches, the first one counted (DAPO, arXiv 2503.14476: its
    max_num_gen_batches). Its clip-higher and overlong rules are not part of this entry.
    Hook: `after_rollout`; solver, phase train (the proposer's reward is rarely tied: a near no-op).
    Unconfirmed: nothing. Our adaptation: a draw asks for what is missing (times oversample) rather
    than for a whole generation batch; a step that stays short trains on what it has, where the
    published code stops. Every token of every draw is in the ledger.
    """

    paper = "2503.14476"
    off: ClassVar[Mapping[str, Any]] = {"max_gen_batches": 0}

    class Params(MethodParams):
        max_gen_batches: int = Field(10, ge=0, description="draws, the first included; 0: off")
        metric: str = Field("total", description="reward whose std counts: total or a component")
        oversample: float = Field(1.0, ge=1, le=16, description="prompts asked per missing group")
        role: Roles = "solver"

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        if not self.params.max_gen_batches or not plays(self.params.role, ctx):
            return batch
        wanted = len(group_rows(batch.group_id))
        groups = self._teaching(batch)
        dropped = wanted - len(groups)
        ctx.count("groups_dropped", dropped)
        if not dropped:
            return batch
        parts, have = [_only(batch, groups)], len(groups)
        for _ in range(self.params.max_gen_batches - 1):
            if have >= wanted:
                break
            extra = tools.more(math.ceil((wanted - have) * self.params.oversample))
            found = self._teaching(extra)[: wanted - have]
            ctx.count("groups_drawn", len(group_rows(extra.group_id)))
            parts.append(_only(extra, found))
            have += len(found)
        ctx.count("groups_added", have - len(groups))
        ctx.count("groups_short", wanted - have)
        return tools.join(parts)

    def _teaching(self, batch: RolloutBatch) -> list[list[int]]:
        """The rows of the groups whose metric varies."""
        values = self._metric(batch)
        return [rows for rows in group_rows(batch.group_id) if varies(values[rows])]

    def _metric(self, batch: RolloutBatch) -> Array:
        assert batch.rewards is not None
        if self.params.metric == "total":
            return batch.rewards.total
        if self.params.metric not in batch.rewards.components:
            known = ", ".join(["total", *batch.rewards.components])
            raise HarnessError(
                f"dynamic_sampling: no reward named {self.params.metric!r}; there are {known}"
            )
        return batch.rewards.components[self.params.metric]


def _only(batch: RolloutBatch, groups: list[list[int]]) -> RolloutBatch:
    return batch.select([i for rows in groups for i in rows])
