"""Positive-negative pairs (arXiv 2602.03452): hard-but-solvable beside easy-but-brittle questions.

Equation: C = {q+_1, q-_1, ..., q+_n, q-_n} with p(q+) in [hard_low, hard_high] and p(q-) in
    [easy_low, easy_high]; n is the size of the smaller bin.
Defaults: bins .1 to .3 and .7 to .9, our adaptation to R-Zero's vote shares; ``max_pairs`` None,
    as many as there are.
Hook: ``select``, on the solver's labelled pool; the bins reach beyond the baseline's window.
Unconfirmed: by a third-party account, the paper's q- has p in [1 - c/G, 1 - 1/G] with an unknown c,
    and a pair is chosen once before training; here every iteration's curriculum is made of pairs.
    The paper's pair-level reweighting is left out: a map of the two outcomes of one question is
    undone by the group's own normalisation. The paper updates on a pair at a time; here a step's
    questions come from a shuffled order, so the two bins are balanced over an epoch rather than
    within an update. p is the agreement of the votes, not accuracy: a low p has the noisiest label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from baselines._selection import chosen, unexhausted
from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register

_SLACK = 1e-9


@register("positive_negative_pairs")
class PositiveNegativePairs(Method):
    """C = as many questions with p in [.1, .3] (hard) as with p in [.7, .9] (easy), interleaved.

    Of the larger bin a random part is taken. Where the pairs are fewer than
    ``curriculum.min_survivors``, questions of the window fill up, in the pool's order.
    """

    paper = "2602.03452"
    off: ClassVar[Mapping[str, Any]] = {"max_pairs": 0}

    class Params(MethodParams):
        hard_low: float = Field(0.1, ge=0, le=1, description="least p of a hard question")
        hard_high: float = Field(0.3, ge=0, le=1, description="largest p of a hard question")
        easy_low: float = Field(0.7, ge=0, le=1, description="least p of an easy question")
        easy_high: float = Field(0.9, ge=0, le=1, description="largest p of an easy question")
        max_pairs: int | None = Field(
            None, ge=0, description="None: as many as there are; 0: the window's curriculum"
        )

        @model_validator(mode="after")
        def _in_order(self) -> PositiveNegativePairs.Params:
            if not self.hard_low <= self.hard_high < self.easy_low <= self.easy_high:
                raise ValueError("needs hard_low <= hard_high < easy_low <= easy_high")
            return self

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        params = self.params
        if params.max_pairs == 0:
            return curriculum
        p = pool.p_hat
        labelled = np.array([t.answer is not None for t in pool.tallies], dtype=bool)

        def bin_of(low: float, high: float) -> list[int]:
            inside = labelled & (p >= low - _SLACK) & (p <= high + _SLACK)
            return np.flatnonzero(inside).tolist()

        hard = bin_of(params.hard_low, params.hard_high)
        easy = bin_of(params.easy_low, params.easy_high)
        limit = len(p) if params.max_pairs is None else params.max_pairs
        n = min(len(hard), len(easy), limit)
        draw = ctx.stream("positive_negative_pairs")
        picked = [draw.choice(rows, n, replace=False) for rows in (hard, easy) if n]
        pairs = np.stack(picked, axis=1).ravel() if n else np.zeros(0, dtype=np.int64)
        spare = curriculum.index[~np.isin(curriculum.index, pairs)]
        fill = unexhausted(ctx, len(pairs) + len(spare), len(pairs)) - len(pairs)
        ctx.count("pairs", n)
        return chosen(ctx, curriculum, np.concatenate([pairs, spare[:fill]]).astype(np.int64))
