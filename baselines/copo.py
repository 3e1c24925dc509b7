"""COPO (arXiv 2508.04138): a batch-level advantage where a group's answers agree too well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.special import expit
from torch import Tensor

from baselines._groups import answer_labels, group_rows, shares, standardised
from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.grading import extract_answer
from harness.methods import HookContext, MethodParams, RolloutBatch, register

Array = npt.NDArray[np.float64]


@register("copo")
class Copo(PublishedSettings):
    """L = w L_PPO(A_group) + (1 - w) L_PPO(A_batch), w = sigmoid(k (H_answers - b)), H in bits.

    Equation: g_q = mean_i r_i (1 - lambda H_q), lambda = (1 - 1/G) / log2 G;
    A_batch = (g_q - mean) / (std + 1e-6) over the step's questions, the same for all rows of q.
    Two clipped losses are blended, not two advantages. w = 0 where a row's A_group is 0.
    Defaults: k = 20, b = .5 (7B scripts; 3B: k = 5, b = 1), clip .2/.2, KL .001, of
    hijih/copo-code for arXiv 2508.04138. The harness's token mean stays (theirs: mean of rows).
    Hook: `advantage` (a second channel) and `coefficients`; solver, phase train.
    Unconfirmed: whether lambda is on in the headline runs (entropy_penalty). Our adaptation:
    answers are equal by equivalence (their code compares strings: same_answer=string), 'no answer'
    is an answer here, and for the proposer H_q is the mean entropy of the solver's votes on the
    group's valid questions, with M votes in place of G.
    """

    paper = "2508.04138"
    off: ClassVar[Mapping[str, Any]] = {"global_weight": 0.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"clip_low": 0.2, "clip_high": 0.2, "kl": 0.001}

    class Params(MethodParams):
        k: float = Field(20.0, gt=0, description="steepness of the blend")
        b: float = Field(0.5, ge=0, description="entropy in bits at which both weigh alike")
        entropy_penalty: bool = Field(True, description="lambda as above; else g_q = mean reward")
        forced: bool = Field(True, description="w = 0 where a row's group advantage is 0")
        same_answer: Literal["equivalent", "string"] = "equivalent"
        global_weight: float = Field(1.0, ge=0, le=1, description="scales 1 - w; 0: off")
        role: Roles = "solver"
        settings: Settings = Field("paper", description="clip and KL")

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        p = self.params
        if not plays(p.role, ctx) or not p.global_weight:
            return advantages, blend
        assert batch.rewards is not None
        groups = group_rows(batch.group_id)
        bits, most = self._entropy(ctx, batch, groups)
        score = np.array([batch.rewards.total[rows].mean() for rows in groups])
        if p.entropy_penalty:
            # (1 - 1/G) / log2 G; a single answer has no entropy to penalise
            score *= 1.0 - (1.0 - 1.0 / most) / np.log2(np.maximum(most, 2)) * bits
        of_row = np.empty(len(batch), dtype=np.int64)
        for q, rows in enumerate(groups):
            of_row[rows] = q
        local = torch.as_tensor(expit(p.k * (bits - p.b))[of_row], dtype=torch.float32)
        if p.forced:
            local = local.masked_fill(advantages.abs().amax(dim=(0, 2)) == 0, 0.0)
        share = p.global_weight * (1.0 - local)
        wide = torch.as_tensor(standardised(score)[of_row], dtype=torch.float32)
        ctx.count("rows_blended", int(((share > 0) & (wide != 0)).sum()))
        channel = wide[None, :, None] * batch.tokens.response_mask[None]
        return torch.cat([advantages, channel]), torch.cat([blend * (1.0 - share), share[None]])

    def _entropy(
        self, ctx: HookContext, batch: RolloutBatch, groups: Sequence[Sequence[int]]
    ) -> tuple[Array, Array]:
        """Answer entropy of each group in bits, and how many answers it is of."""
        if ctx.role == "proposer":
            found = [[t for i in rows if (t := batch.tallies[i])] for rows in groups]
            mean = [np.mean([_bits(t.cluster) for t in x]) if x else 0.0 for x in found]
            return np.array(mean), np.array(
                [max((len(t.cluster) for t in x), default=1) for x in found], dtype=np.float64
            )
        if self.params.same_answer == "string":
            names: dict[str | None, int] = {}
            text = [names.setdefault(extract_answer(t), len(names)) for t in batch.texts]
            labels = [tuple(text[i] for i in rows) for rows in groups]
        else:
            labels = answer_labels(ctx, batch, groups)
        return np.array([_bits(x) for x in labels]), np.array([float(len(x)) for x in labels])


def _bits(labels: Sequence[int]) -> float:
    share = shares(labels)
    return float(-(share * np.log2(share)).sum()) + 0.0


@register("copo_control")
class CopoControl(SettingsControl):
    """COPO's clip and KL (.2/.2, .001) with the blend off.

    Equation: R-Zero's loss. Defaults: those of `copo` (arXiv 2508.04138).
    Hook: `coefficients`; solver, phase train.
    Unconfirmed: nothing beyond `copo`.
    """

    paper = "2508.04138"
    published = Copo.published

    class Params(SettingsControl.Params):
        role: Roles = Field("solver", description="whose coefficients")
