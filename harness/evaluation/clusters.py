"""Which of an item's samples give the same answer, and what follows for k of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.grading.votes import tally
from harness.statistics.samples import NO_ANSWER, best_of_majority, maj_at_k, pass_at_k

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from harness.grading import Grader


def answer_clusters(rows: pd.DataFrame, grader: Grader) -> NDArray[np.int64]:
    """The cluster of each row's answer among the samples of its item.

    Args:
        rows: columns task, mode, doc_id and answer (None: no answer) [N].
        grader: decides which answers are equal, as for votes.

    Returns:
        [N] 0 for the item's most frequent answer, 1 for the next, ...; -1 for no answer.
    """
    answers = [a if isinstance(a, str) else None for a in rows["answer"]]
    found = np.array([0 if a and a.strip() else NO_ANSWER for a in answers], dtype=np.int64)
    items = rows.groupby(["task", "mode", "doc_id"], sort=False, observed=True).indices
    several = [index for index in items.values() if len(index) > 1]
    tallies = tally([[answers[i] for i in index] for index in several], grader)
    for index, one in zip(several, tallies, strict=True):
        found[index] = one.cluster
    return found


def metrics_at_k(part: pd.DataFrame) -> dict[str, float]:
    """What k of an item's samples reach, mean over the items of one task and mode.

    Args:
        part: columns doc_id, score, cluster; the same number n of samples for each item.

    Returns:
        ``pass@k``, ``maj@k`` and ``best_of_majority@k`` for k = 2, 4, 8, ... with 2k <= n; nothing
        where n differs between items. An answer is right if most of its samples are scored 1.
    """
    items = [
        (one["cluster"].tolist(), (one["score"] == 1).tolist())
        for _, one in part.groupby("doc_id", sort=True)
    ]
    n = len(items[0][0])
    if any(len(clusters) != n for clusters, _ in items):
        return {}
    found: dict[str, float] = {}
    k = 2
    while 2 * k <= n:
        passed = [pass_at_k(n, sum(right), k) for _, right in items]
        known = [(clusters, _right(clusters, right)) for clusters, right in items]
        voted = [maj_at_k(clusters, correct, k) for clusters, correct in known]
        best = [best_of_majority(clusters, correct, k) for clusters, correct in known]
        for name, values in (("pass", passed), ("maj", voted), ("best_of_majority", best)):
            found[f"{name}@{k}"] = math.fsum(values) / len(values)
        k *= 2
    return found


def _right(clusters: list[int], right: list[bool]) -> list[int]:
    """The clusters most of whose samples are right."""
    sizes: dict[int, list[bool]] = {}
    for cluster, one in zip(clusters, right, strict=True):
        if cluster != NO_ANSWER:
            sizes.setdefault(cluster, []).append(one)
    return [cluster for cluster, members in sizes.items() if 2 * sum(members) > len(members)]
