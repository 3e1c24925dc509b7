"""What methods that choose the solver's curriculum share.

``select`` sees the whole pool again after every round of generation, so counts add up over rounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from harness.methods import Curriculum, HookContext

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def learnability(p_hat: Array) -> Array:
    """4 p (1 - p), in [0, 1]: the variance of a right-or-wrong answer, scaled."""
    return 4.0 * p_hat * (1.0 - p_hat)


def unexhausted(ctx: HookContext, n: int, wanted: int) -> int:
    """How many of ``n`` questions to keep: ``wanted``, but not fewer than the run needs.

    A choice among enough questions must neither cost a further round of generation nor end the
    run; what is kept beyond ``wanted`` for that reason is counted.
    """
    kept = max(wanted, min(ctx.config.curriculum.min_survivors, n))
    ctx.count("kept_for_min_survivors", kept - wanted)
    return kept


def chosen(ctx: HookContext, base: Curriculum, index: Index) -> Curriculum:
    """``base`` with other rows of the pool; what changed is counted."""
    before, after = set(base.index.tolist()), set(index.tolist())
    ctx.count("questions_added", len(after - before))
    ctx.count("questions_dropped", len(before - after))
    ctx.count("questions_repeated", len(index) - len(after))
    return replace(base, index=index)


def best_share(ctx: HookContext, base: Curriculum, score: Array, share: float) -> Curriculum:
    """The ``share`` of the curriculum's questions with the highest score, in the pool's order.

    Args:
        score: [n], one per row of ``base.index``; ties fall to the earlier row.
    """
    n = len(base.index)
    k = unexhausted(ctx, n, round(share * n))
    if k == n:
        return base
    best = np.sort(np.argsort(-score, kind="stable")[:k])
    return chosen(ctx, base, base.index[best])


def clusters(rows: Array, k: int) -> Index:
    """Ward's clusters of unit rows [n, d]: labels [n] from 0, at most k, fewer among copies.

    Deterministic: unlike k-means in parallel threads, whose sums depend on which thread is first.
    """
    distinct = len(np.unique(rows, axis=0))
    if distinct < 2:
        return np.zeros(len(rows), dtype=np.int64)
    labels = fcluster(linkage(rows, method="ward"), min(k, distinct), criterion="maxclust")
    return np.asarray(labels, dtype=np.int64) - 1
