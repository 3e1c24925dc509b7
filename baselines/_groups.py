"""Groups of rollouts, and how their answers fall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.grading import extract_answer
from harness.methods import HookContext, RolloutBatch

Array = npt.NDArray[np.float64]
_FLAT = 1e-12


def group_rows(group_id: Sequence[int]) -> list[list[int]]:
    """The rows of each group, groups in order of first appearance."""
    rows: dict[int, list[int]] = {}
    for i, group in enumerate(group_id):
        rows.setdefault(group, []).append(i)
    return list(rows.values())


def shares(labels: Sequence[int] | npt.NDArray[np.int64]) -> Array:
    """The share of each label that occurs, float64 [K]; sums to 1."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    share: Array = counts / max(1, counts.sum())
    return share


def answer_labels(
    ctx: HookContext, batch: RolloutBatch, groups: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """The cluster of each row's final answer, group by group; -1 where there is none."""
    answers = [[extract_answer(batch.texts[i]) for i in rows] for rows in groups]
    return [tally.cluster for tally in ctx.tally(answers)]


def standardised(values: Array) -> Array:
    """(v - mean) / (std + 1e-6) with ddof 1; exactly 0 where nothing varies."""
    if len(values) < 2 or np.ptp(values) <= _FLAT:
        return np.zeros(len(values))
    result: Array = (values - values.mean()) / (values.std(ddof=1) + 1e-6)
    return result


def varies(values: Array) -> bool:
    """Whether a group's rewards teach anything."""
    return len(values) > 1 and bool(np.ptp(values) > _FLAT)
