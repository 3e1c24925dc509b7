"""Weighted GRPO with positive-negative pairing (arXiv 2602.03452)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from baselines._groups import group_rows, standardised
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register

Array = npt.NDArray[np.float64]


@register("weighted_grpo")
class WeightedGrpo(Method):
    """A_i = |x_i| (x_i - mean) / std over a hard and an easy group, x = +1 or -lambda_neg.

    Equation: within a step, groups are paired: q+ hard but solvable (lowest share s > 0 of correct
    rows first) with q- easy but brittle (s in [1 - c/G, 1 - 1/G], highest first; harder than q-
    q+ must be).
    x_i = +1 if correct, else -lambda_neg; mean and std (ddof 1) are the pair's.
    Defaults: outcomes +1 / -lambda_neg and the pairing rule of arXiv 2602.03452.
    Hook: `advantage`; solver, phase train. Groups without a partner keep their advantages.
    Unconfirmed: lambda_neg, c, and the exact equation (no public code). A map x of two outcomes is
    affine, so standardising undoes it, in one group and in a pair alike; hence |x_i| is kept as a
    weight after it (our adaptation; at lambda_neg = 1 only the pair's mean and std differ from
    GRPO's). scope=group keeps GRPO's standardisation and the weights alone. Pairs are formed anew
    in each step from the curriculum as it is; the paper chooses one pair before training.
    """

    paper = "2602.03452"
    off: ClassVar[Mapping[str, Any]] = {"pairing": False}
    active: ClassVar[Mapping[str, Any]] = {"c": 4}

    class Params(MethodParams):
        lambda_neg: float = Field(1.0, ge=0, description="weight of a failure; unconfirmed")
        c: int = Field(2, ge=1, description="failures that an easy group may have; unconfirmed")
        scope: Literal["pair", "group"] = Field("pair", description="whose mean and std")
        pairing: bool = Field(True, description="False: off")

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        if ctx.role != "solver" or not self.params.pairing:
            return advantages, blend
        assert batch.rewards is not None
        correct = batch.rewards.components.get("correct", batch.rewards.total) > 0
        pairs = self.pairs(correct, group_rows(batch.group_id))
        ctx.count("pairs", len(pairs))
        if not pairs:
            return advantages, blend
        changed = advantages.clone()
        mask = batch.tokens.response_mask
        for rows in ([*hard, *easy] for hard, easy in pairs):
            weight = torch.as_tensor(np.where(correct[rows], 1.0, self.params.lambda_neg)).float()
            if self.params.scope == "pair":
                value = torch.as_tensor(standardised(correct[rows].astype(np.float64))).float()
                changed[:, rows] = (value * weight)[:, None] * mask[rows]
            else:
                changed[:, rows] = changed[:, rows] * weight[None, :, None]
        ctx.count("rows_reweighted", int((changed != advantages).any(dim=2).any(dim=0).sum()))
        return changed, blend

    def pairs(
        self, correct: npt.NDArray[np.bool_], groups: list[list[int]]
    ) -> list[tuple[list[int], list[int]]]:
        """(hard, easy) groups' rows; ties by order in the batch."""
        share = [float(correct[rows].mean()) for rows in groups]
        order = sorted((i for i, s in enumerate(share) if 0 < s < 1), key=lambda i: share[i])
        found = []
        while len(order) > 1 and share[order[0]] < share[order[-1]]:
            hard, easy = order[0], order[-1]
            if int((~correct[groups[easy]]).sum()) > self.params.c:
                break
            found.append((groups[hard], groups[easy]))
            order = order[1:-1]
        return found
