"""R-Diverse (arXiv 2602.13103): repetition by solution skill, a memory of questions, and replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from baselines._rewards import (
    Array,
    Remembered,
    changed,
    embeddings,
    replaced,
    spread,
    valid_rows,
)
from harness.diversity.skeletons import skeleton
from harness.methods import (
    Curriculum,
    HookContext,
    Method,
    MethodParams,
    Pool,
    RolloutBatch,
    register,
)
from harness.roles import Rewards

_SPELLED = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "divided",
    "^": "power",
    "<": "compared",
    ">": "compared",
    "+-": "either",
}
"""Operations in letters, since the hashing embedder reads nothing else."""


@register("r_diverse")
class RDiverse(Method):
    """r = uncertainty - P_rep(batch; phi) - P_MAP(bank; phi), with 30 % replay for the solver.

    Equation: phi embeds a question's solution skill. P_rep: share of the batch in the question's
        cluster under phi (average linkage, cosine distance below ``cluster_distance``), in place
        of R-Zero's BLEU share. P_MAP = .5 [max cos - .5]+ + .5 [mean cos - .25]+ to a persistent
        bank of questions with .3 <= p_hat <= .8 from earlier iterations, 0 while it is empty.
        Replay: rows of the bank with their labels, ``replay_share`` of what the solver reads.
    Defaults: both penalties 1, P_MAP's .5/.5/.5/.25, window .3 to .8, replay 0.3.
    Hook: `reward` (proposer, training), `select`, `on_iteration_end`. State: the bank's texts.
    Unconfirmed: all numbers (by a third-party account; Gengsheng-Li/R-Diverse at dfd1a74 holds no
        code). The paper's phi is a code embedding of a program that a second model writes; ours is
        the profile's embedder on the operations of a solution (`harness.diversity.skeletons`), or
        on the question where nobody solved it. Its clusters, ``bank_size`` and the uncertainty,
        which is R-Zero's code's min(p, 1 - p), are our adaptation.
    """

    paper = "2602.13103"
    off: ClassVar = {"weight": 0.0, "replay_share": 0.0}

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, le=1, description="0 is R-Zero's reward")
        repetition_weight: float = Field(1.0, ge=0, description="of P_rep")
        memory_weight: float = Field(1.0, ge=0, description="of P_MAP")
        max_above: float = Field(0.5, ge=-1, le=1, description="largest cosine without penalty")
        mean_above: float = Field(0.25, ge=-1, le=1, description="mean cosine without penalty")
        cluster_distance: float = Field(0.5, gt=0, le=2, description="cosine distance of a cluster")
        low: float = Field(0.3, ge=0, le=1, description="least p_hat in the bank")
        high: float = Field(0.8, ge=0, le=1, description="highest p_hat in the bank")
        bank_size: int = Field(2000, ge=1, description="questions kept, the newest")
        replay_share: float = Field(0.3, ge=0, lt=1, description="of the solver's rows")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._bank: list[list[str]] = []
        """[question, label, skill] of earlier iterations."""
        self._pending: list[list[str]] = []
        """The same of this iteration, as of its latest round."""
        self._skills = Remembered()

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        p = self.params
        if ctx.role != "proposer" or p.weight == 0:
            return rewards
        rows, size = valid_rows(batch), len(batch)
        phi = embeddings(
            ctx, [skill(str(batch.proposals[i].question), batch.solutions[i]) for i in rows]
        )
        share = cluster_share(phi, p.cluster_distance) * (len(rows) / max(1, size))
        bank = self._skills(ctx, [[skill for _, _, skill in self._bank]])
        memory = np.zeros(len(rows))
        if len(rows) and len(bank):
            cosine = phi @ bank.T
            memory = map_penalty(cosine.max(axis=1), cosine.mean(axis=1), p.max_above, p.mean_above)
        ctx.count("questions_like_the_bank", int((memory > 0).sum()))
        parts = {
            "repetition": spread(-p.repetition_weight * share, rows, size),
            "memory": spread(-p.memory_weight * memory, rows, size),
        }
        found = replaced(rewards, parts, p.weight, ("repetition",))
        ctx.count("rewards_changed", changed(rewards, found))
        return found

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        low, high = self.params.low - 1e-9, self.params.high + 1e-9
        self._pending = [
            [question, tally.answer, skill(question, solution)]
            for question, tally, solution in zip(
                pool.questions, pool.tallies, pool.solutions, strict=True
            )
            if tally.answer is not None and low <= tally.p_hat <= high
        ][-self.params.bank_size :]
        share = self.params.replay_share
        n = min(len(self._bank), round(len(curriculum) * share / (1.0 - share)))
        if not n:
            return curriculum
        drawn = ctx.stream("r_diverse").choice(len(self._bank), n, replace=False)
        ctx.count("rows_replayed", n)
        rows = tuple((self._bank[i][0], self._bank[i][1]) for i in drawn)
        return replace(curriculum, replay=(*curriculum.replay, *rows))

    def on_iteration_end(self, ctx: HookContext, metrics: Mapping[str, float | None]) -> None:
        self._bank = [*self._bank, *self._pending][-self.params.bank_size :]
        self._pending = []

    def state_dict(self) -> dict[str, Any]:
        return {"bank": [*self._bank], "pending": [*self._pending]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._bank = [list(row) for row in state["bank"]]
        self._pending = [list(row) for row in state["pending"]]


def skill(question: str, solution: str | None) -> str:
    """What phi embeds: the operations of a solution in words, or the question without one."""
    if solution is None:
        return question
    return " ".join(_SPELLED.get(o, o) for o in skeleton(solution)) or "none"


def cluster_share(unit: Array, distance: float) -> Array:
    """Share of n unit rows [n, d] that lie in each one's cluster, [n]."""
    n = len(unit)
    if n < 2:
        return np.ones(n)
    apart = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    np.fill_diagonal(apart, 0.0)
    tree = hierarchy.linkage(squareform(apart, checks=False), method="average")
    label = hierarchy.fcluster(tree, t=float(np.nextafter(distance, -1.0)), criterion="distance")
    share: Array = np.bincount(label)[label] / n
    return share


def map_penalty(largest: Array, mean: Array, max_above: float, mean_above: float) -> Array:
    """.5 [max cos - max_above]+ + .5 [mean cos - mean_above]+, [n]."""
    penalty: Array = 0.5 * np.maximum(0.0, largest - max_above)
    return penalty + 0.5 * np.maximum(0.0, mean - mean_above)
