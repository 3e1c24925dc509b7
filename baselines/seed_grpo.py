"""SEED-GRPO (arXiv 2505.12346): groups whose answers are uncertain get smaller updates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from baselines._groups import answer_labels, group_rows, shares
from baselines._shared import Roles, plays
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.repetition import bleu_clusters

Array = npt.NDArray[np.float64]


@register("seed_grpo")
class SeedGrpo(Method):
    """A_i = (r_i - mean r) f(alpha SE / log G), SE = -1/K sum_k log p(C_k); f falls from 1.

    Equation: the G answers of a group fall into K clusters of equal meaning with count shares
    p(C_k); SE is in [0, log G]. f(x) = 1 - x (linear), exp(-x) (exponential) or (1 - x)^gamma
    (focal), never below 0. Advantages are centred, not divided by the group's std.
    Defaults: role solver and the centred advantages are the paper's (arXiv 2505.12346).
    Hook: `advantage`; solver, phase train. It scales the advantages that it is handed.
    Unconfirmed: alpha, the focal exponent and which f is the paper's best (parameters); rows
    without an answer form one cluster (our adaptation). For the proposer (role, our adaptation)
    the reading is inverted: the groups of one prompt are one, so f(alpha (1 - SE / log n)) is taken
    over the BLEU clusters of the batch's n valid questions, and a collapsed batch moves less.
    """

    paper = "2505.12346"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 0.0, "std_normalised": True}

    class Params(MethodParams):
        alpha: float = Field(1.0, ge=0, description="weight of the uncertainty; unconfirmed")
        form: Literal["linear", "exponential", "focal"] = "linear"
        focal_gamma: float = Field(2.0, gt=0, description="exponent of the focal form")
        std_normalised: bool = Field(False, description="keep the division by the group's std")
        role: Roles = "solver"

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not plays(self.params.role, ctx):
            return advantages, blend
        assert batch.rewards is not None
        groups = group_rows(batch.group_id)
        damping = self.damping(ctx, batch, groups)
        scale = np.ones(len(batch))
        for rows, factor in zip(groups, damping, strict=True):
            scale[rows] = factor
            if not self.params.std_normalised and len(rows) > 1:
                scale[rows] *= batch.rewards.total[rows].std(ddof=1) + 1e-6
        if (scale == 1.0).all():
            return advantages, blend
        taught = (advantages.abs().amax(dim=(0, 2)) > 0).numpy()
        ctx.count("advantages_rescaled", int((taught & (scale != 1.0)).sum()))
        damped = [bool(f < 1.0 and taught[r].any()) for r, f in zip(groups, damping, strict=True)]
        ctx.count("groups_damped", sum(damped))
        return advantages * torch.as_tensor(scale, dtype=torch.float32)[None, :, None], blend

    def damping(
        self, ctx: HookContext, batch: RolloutBatch, groups: Sequence[Sequence[int]]
    ) -> Array:
        """f of each group, float64 in [0, 1]."""
        if ctx.role == "solver":
            found = [semantic_entropy(x) for x in answer_labels(ctx, batch, groups)]
            return self._f(np.array(found))
        asked = [str(p.question) for p in batch.proposals if p.valid]
        if len(asked) < 2:
            return np.ones(len(groups))
        labels = bleu_clusters(asked, ctx.config.curriculum.repetition_threshold)
        collapse = 1.0 - semantic_entropy(labels.tolist())
        return np.repeat(self._f(np.array([collapse])), len(groups))

    def _f(self, uncertainty: Array) -> Array:
        x: Array = self.params.alpha * uncertainty
        if self.params.form == "exponential":
            return np.exp(-x)
        exponent = float(self.params.focal_gamma) if self.params.form == "focal" else 1.0
        return np.clip(1.0 - x, 0.0, None) ** exponent


def semantic_entropy(labels: Sequence[int]) -> float:
    """-1/K sum_k log(share of cluster k) over log n, in [0, 1]; 0 for a single label."""
    if len(labels) < 2:
        return 0.0
    return float(-np.log(shares(labels)).mean() / math.log(len(labels)))
