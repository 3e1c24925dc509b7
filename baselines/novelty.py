"""Rewards for being far from what was asked before: novelty search and OpenSIR."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from baselines._rewards import (
    WORTH,
    Array,
    Remembered,
    changed,
    embeddings,
    nearest_distance,
    questions_of,
    replaced,
    spread,
    valid_rows,
)
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


class _Novel(Method):
    """Distances to the archive (valid questions of earlier iterations) and to the batch."""

    def __init__(self, params: dict[str, object] | None = None) -> None:
        super().__init__(params)
        self._archive = Remembered()

    def distance(self, ctx: HookContext, unit: Array, k: int, within_batch: bool) -> Array | None:
        """Mean distance of unit rows [n, d] to the k nearest, [n]; None without any other."""
        if not len(unit):
            return None
        pool = self._archive(ctx, ctx.archive)
        own = None
        if within_batch:
            own = len(pool)
            pool = np.concatenate([pool, unit]) if own else unit
        return nearest_distance(unit, pool, k, own)


@register("novelty_search")
class NoveltySearch(_Novel):
    """r_i += eta * mean cosine distance to the k nearest questions of archive and batch.

    Equation: the sparseness of novelty search (Lehman and Stanley 2011, Evolutionary Computation
        19(2)): rho(x) = 1/k sum_i dist(x, mu_i) over the k nearest among the archive (here every
        valid question of earlier iterations) and the current population (the rest of the batch).
        ``within_batch: false`` leaves the archive alone; iteration 1 then has no bonus.
    Defaults: k 15, as commonly used; fewer where there are not so many others.
    Hook: `reward`, proposer, training; only valid questions.
    Unconfirmed: eta, and cosine distance under the profile's embedder: the use as a proposer's
        reward is our adaptation.
    """

    off: ClassVar = {"eta": 0.0}

    class Params(MethodParams):
        eta: float = Field(0.5, ge=0, description="weight of the mean distance")
        k: int = Field(15, ge=1, description="nearest neighbours")
        within_batch: bool = Field(True, description="the batch's other questions count, too")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer" or self.params.eta == 0:
            return rewards
        rows = valid_rows(batch)
        unit = embeddings(ctx, questions_of(batch, rows))
        found = self.distance(ctx, unit, self.params.k, self.params.within_batch)
        bonus = np.zeros(len(rows)) if found is None else self.params.eta * found
        ctx.count("questions_with_bonus", int((bonus > 0).sum()))
        return rewards.plus("novelty", spread(bonus, rows, len(batch)))


@register("opensir")
class OpenSir(_Novel):
    """r = triangle(p) + (1 - max cosine to earlier questions) + solution length / 1000.

    Equation: OpenSIR's teacher reward (arXiv 2511.00602; EdinburghNLP/OpenSIR at 579c3a5) in place
        of R-Zero's: solvability falls linearly from 1 in the middle of [low, high] to 1 / (number
        of reachable solve rates inside) at its ends, 0 outside; novelty to the nearest question
        of the pool (the archive and the rest of the batch); length in tokens over ``length``, cut
        at 1. Invalid questions as in R-Zero. ``weight`` mixes.
    Defaults: low 0.5, high 0.9, three weights of 1, length 1000 (the released configuration).
        low 0.1 is said to cut the share of valid problems from 71 to 42 %.
    Hook: `reward`, proposer, training.
    Unconfirmed: our adaptations: p is the majority's share; the length is that of one solution
        that gives the majority's answer (its code: the mean of all), which is kept up to 2000
        characters; its format reward of 0.1 is R-Zero's -1 for invalid questions.
    """

    paper = "2511.00602"
    off: ClassVar = {"weight": 0.0}

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, le=1, description="0 is R-Zero's reward")
        low: float = Field(0.5, ge=0, le=1, description="least solve rate with a reward")
        high: float = Field(0.9, ge=0, le=1, description="highest solve rate with a reward")
        solvability_weight: float = Field(1.0, ge=0, description="of the triangle")
        novelty_weight: float = Field(1.0, ge=0, description="of the distance")
        length_weight: float = Field(1.0, ge=0, description="of the solution's length")
        length: float = Field(1000.0, gt=0, description="tokens from which on nothing is gained")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        p = self.params
        if ctx.role != "proposer" or p.weight == 0:
            return rewards
        rows, size = valid_rows(batch), len(batch)
        unit = embeddings(ctx, questions_of(batch, rows))
        distance = self.distance(ctx, unit, 1, within_batch=True)
        novelty = np.ones(len(rows)) if distance is None else distance
        votes = next((len(t.cluster) for t in batch.tallies if t), 1)
        solvable = triangle(batch.p_hat[rows], p.low, p.high, votes)
        length = np.array([self._tokens(ctx, batch.solutions[i]) for i in rows])
        parts = {
            "solvability": spread(p.solvability_weight * solvable, rows, size),
            "novelty": spread(p.novelty_weight * novelty, rows, size),
            "length": spread(p.length_weight * np.minimum(1.0, length / p.length), rows, size),
        }
        found = replaced(rewards, parts, p.weight, WORTH)
        ctx.count("rewards_changed", changed(rewards, found))
        return found

    @staticmethod
    def _tokens(ctx: HookContext, solution: str | None) -> int:
        if not solution:
            return 0
        return len(ctx.tokenizer(solution, add_special_tokens=False)["input_ids"])


def triangle(p: Array, low: float, high: float, votes: int) -> Array:
    """OpenSIR's solvability of solve rates ``p`` [n], measured with ``votes`` votes each."""
    slack = 1e-9  # shares such as 9/10 are not exact
    rates = np.arange(1, votes + 1) / votes
    edge = 1.0 / max(1, int(((rates >= low - slack) & (rates <= high + slack)).sum()))
    half = max((high - low) / 2, slack)
    inside = (p >= low - slack) & (p <= high + slack)
    value = 1.0 - (1.0 - edge) * np.minimum(1.0, np.abs(p - (low + high) / 2) / half)
    return np.where(inside, value, 0.0)
