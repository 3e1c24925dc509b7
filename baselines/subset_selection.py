"""Diverse subsets of the window's questions, by what their embeddings say.

Equation: ``dpp_select``: argmax over |S| = k of log det L_S, L_ij = l_i^w cos(e_i, e_j) l_j^w with
    learnability l = 4 p (1 - p), greedily by the incremental Cholesky factor of arXiv 1709.05135;
    ``farthest_point``: greedy k-center (arXiv 1708.00489), next = argmax_i min_{j in S} 1 - cos.
Defaults: share .5 of the window; w = 1; ours, since neither paper is about a curriculum.
Hook: ``select``, on the solver's labelled pool.
Unconfirmed: the use for curricula, and learnability as quality, are our adaptation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from baselines._selection import Array, chosen, learnability, unexhausted
from harness.diversity.semantic import unit_rows
from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register

_RELATIVE = 1e-9
"""What is left of a row's own length when it lies in the span of those chosen, up to rounding."""


def greedy_map(rows: Array, quality: Array, k: int) -> list[int]:
    """Greedy maximum of log det L_S, L = diag(quality) rows rows^T diag(quality), |S| = k.

    Args:
        rows: unit rows [n, d].
        quality: >= 0 [n].

    Returns:
        At most k rows in the order chosen: fewer where all others would make the determinant 0.
        Ties fall to the first row.

    O(n k (d + k)) time, O(n k) memory (arXiv 1709.05135, Algorithm 1).
    """
    factor = np.zeros((min(k, len(rows)), len(rows)))
    gain = quality**2
    floor = np.maximum(_RELATIVE * gain, np.finfo(np.float64).tiny)
    picked: list[int] = []
    for m in range(len(factor)):
        j = int(np.argmax(np.where(gain > floor, gain, -1.0)))
        if gain[j] <= floor[j]:
            break
        kernel = quality * quality[j] * (rows @ rows[j])
        factor[m] = (kernel - factor[:m].T @ factor[:m, j]) / np.sqrt(gain[j])
        gain = gain - factor[m] ** 2
        gain[j] = -1.0
        picked.append(j)
    return picked


def k_center(rows: Array, start: int, k: int) -> list[int]:
    """Greedy k-center of unit rows [n, d] by cosine distance, from row ``start`` on.

    Returns:
        min(k, n) rows in the order chosen; ties fall to the first row.
    """
    picked = [start]
    nearest = 1.0 - rows @ rows[start]
    for _ in range(min(k, len(rows)) - 1):
        nearest[picked[-1]] = -np.inf
        picked.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, 1.0 - rows @ rows[picked[-1]])
    return picked


class _Subset(Method):
    off: ClassVar[Mapping[str, Any]] = {"share": 1.0}

    class Params(MethodParams):
        share: float = Field(0.5, gt=0, le=1, description="of the window's questions; 1: all")

    @abstractmethod
    def pick(self, ctx: HookContext, rows: Array, quality: Array, k: int) -> list[int]:
        """k different rows of ``rows`` [n, d], n > k >= 1, with ``quality`` [n] in [0, 1]."""

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        n = len(curriculum.index)
        if self.params.share == 1 or not n:
            return curriculum
        k = unexhausted(ctx, n, round(self.params.share * n))
        if k == n:
            return curriculum
        rows = unit_rows(ctx.embed([pool.questions[i] for i in curriculum.index]))
        quality = np.clip(learnability(pool.p_hat[curriculum.index]), 0.0, 1.0)
        picked = np.sort(np.array(self.pick(ctx, rows, quality, k), dtype=np.int64))
        return chosen(ctx, curriculum, curriculum.index[picked])


@register("dpp_select")
class DppSelect(_Subset):
    """Greedy argmax log det L_S, L_ij = l_i cos(e_i, e_j) l_j, l = 4 p (1 - p), |S| = share n.

    Source: arXiv 1709.05135. Where no further question adds a direction (copies, or more questions
    than dimensions), the rest is filled up by learnability, and counted.
    """

    paper = "1709.05135"

    class Params(_Subset.Params):
        quality_weight: float = Field(
            1.0, ge=0, le=10, description="w, exponent of learnability; 0: diversity alone"
        )

    def pick(self, ctx: HookContext, rows: Array, quality: Array, k: int) -> list[int]:
        picked = greedy_map(rows, quality**self.params.quality_weight, k)
        rest = [i for i in np.argsort(-quality, kind="stable").tolist() if i not in set(picked)]
        ctx.count("filled_by_learnability", k - len(picked))
        return picked + rest[: k - len(picked)]


@register("farthest_point")
class FarthestPoint(_Subset):
    """Greedy k-center: next = argmax_i min_{j in S} (1 - cos(e_i, e_j)), |S| = share n.

    Source: arXiv 1708.00489. The first one is the question with the highest learnability.
    """

    paper = "1708.00489"

    def pick(self, ctx: HookContext, rows: Array, quality: Array, k: int) -> list[int]:
        return k_center(rows, int(np.argmax(quality)), k)
