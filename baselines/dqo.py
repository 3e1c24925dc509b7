"""DQO (arXiv 2509.04784): a question earns what it adds to the determinant of its set."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from baselines._rewards import (
    Array,
    SetScope,
    embeddings,
    questions_of,
    sets_of,
    spread,
    valid_rows,
)
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


@register("dqo")
class Dqo(Method):
    """r_i += alpha * log[det(L + I) / det(L_-i + I)], L the Gram matrix of the set's embeddings.

    Equation: the sample's part of the paper's objective sum r + alpha log det (arXiv 2509.04784;
        fairytale9/diversity-quality-optimization, not read). L = E E^T with unit rows; L_-i lacks
        question i. By the Schur complement the ratio is 1 / [(L + I)^-1]_ii. Range: ln 2 = 0.693
        for a question orthogonal to the others down to ln((k + 1) / k), 0.223 among 4 copies.
    Defaults: alpha 0.5 (0.5 to 1 in the paper; 2 hurts), sets = groups (its k = 4).
    Hook: `reward`, proposer, training; only valid questions form sets and earn it.
    Unconfirmed: alpha and the leave-one-out form (by a third-party account); the embedder is the
        profile's. The paper's KL term is the baseline's own.
    """

    paper = "2509.04784"
    off: ClassVar = {"alpha": 0.0}

    class Params(MethodParams):
        alpha: float = Field(0.5, ge=0, description="weight of the log-determinant ratio")
        scope: SetScope = Field("group", description="whose questions form a set")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer" or self.params.alpha == 0:
            return rewards
        rows = valid_rows(batch)
        unit = embeddings(ctx, questions_of(batch, rows))
        gain = np.zeros(len(rows))
        for members in sets_of(batch, rows, self.params.scope):
            gain[members] = log_det_gains(unit[members])
        ctx.count("questions_with_bonus", int((gain > 0).sum()))
        return rewards.plus("dqo", spread(self.params.alpha * gain, rows, len(batch)))


def log_det_gains(unit: Array) -> Array:
    """log[det(L + I) / det(L_-i + I)] of unit rows [n, d], [n]."""
    n, d = unit.shape
    if d < n:  # diag (I + E E^T)^-1 = 1 - diag E (I + E^T E)^-1 E^T: the smaller inverse
        inner = np.linalg.solve(np.eye(d) + unit.T @ unit, unit.T)
        diagonal = 1.0 - np.einsum("nd,dn->n", unit, inner)
    else:
        diagonal = np.diag(np.linalg.inv(unit @ unit.T + np.eye(n)))
    gains: Array = -np.log(np.clip(diagonal, 1e-12, 1.0))
    return gains
