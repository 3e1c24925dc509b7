"""A question earns what it adds to the Vendi score of the batch (our adaptation)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from baselines._rewards import Array, embeddings, questions_of, spread, valid_rows
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


@register("vendi_reward")
class VendiReward(Method):
    """r_i += alpha * (VS(S) - VS(S without i)), VS the Vendi score of the batch's questions.

    Equation: VS = exp(-sum l ln l), l the eigenvalues of the cosine Gram matrix over n (arXiv
        2210.02410); 0 of an empty set. 1 for a question orthogonal to all others; below 0 for a
        copy, which makes the set more lopsided. A batch of more than ``subset`` valid questions
        is cut at random into equal parts of at most that many, scored on their own.
    Defaults: none published: a reward from this score is our adaptation.
    Hook: `reward`, proposer, training; only valid questions.
    Unconfirmed: everything: alpha .5 makes an orthogonal question worth as much as the highest
        uncertainty reward, and subset 128 keeps R-Zero's 2048 questions within seconds.
    """

    paper = "2210.02410"
    off: ClassVar = {"alpha": 0.0}

    class Params(MethodParams):
        alpha: float = Field(0.5, ge=0, description="weight of the marginal Vendi score")
        subset: int = Field(128, ge=2, le=1024, description="questions scored together, at most")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer" or self.params.alpha == 0:
            return rewards
        rows = valid_rows(batch)
        unit = embeddings(ctx, questions_of(batch, rows))
        gain = np.zeros(len(rows))
        order = np.arange(len(rows))
        parts = -(-len(rows) // self.params.subset)
        if parts > 1:
            order = ctx.stream("vendi_reward").permutation(len(rows))
        for members in np.array_split(order, max(1, parts)):
            gain[members] = vendi_gains(unit[members])
        ctx.count("questions_with_bonus", int((np.abs(gain) > 1e-12).sum()))
        return rewards.plus("vendi", spread(self.params.alpha * gain, rows, len(batch)))


def vendi_gains(unit: Array) -> Array:
    """VS of unit rows [n, d] minus VS of the same rows without each one, [n]."""
    n = len(unit)
    if n < 2:
        return np.ones(n)
    gram = unit @ unit.T
    whole = _vendi(gram)
    kept = [np.delete(np.arange(n), i) for i in range(n)]
    return np.array([whole - _vendi(gram[np.ix_(k, k)]) for k in kept])


def _vendi(gram: Array) -> float:
    eigenvalues = np.linalg.eigvalsh(gram / len(gram))
    positive = eigenvalues[eigenvalues > 1e-15]
    return float(np.exp(-(positive * np.log(positive)).sum()))
