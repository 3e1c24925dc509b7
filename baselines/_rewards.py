"""What the reward methods share: a batch's valid questions, rewards that stay a sum of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.diversity.semantic import unit_rows
from harness.methods import HookContext, RolloutBatch
from harness.roles import Rewards

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
SetScope = Literal["group", "batch"]
"""Which questions form a set: those of one group (R-Zero's uid), or of the whole batch, since all
of its rows answer one prompt."""
WORTH = ("uncertainty", "repetition", "floor")
"""What a valid question is worth to R-Zero: its code's components, and its paper's maximum."""
_BLOCK = 256
"""Rows compared with a pool at once."""


def valid_rows(batch: RolloutBatch) -> Index:
    """The rows that hold a valid question, int64 [n]."""
    return np.flatnonzero(batch.valid).astype(np.int64)


def questions_of(batch: RolloutBatch, rows: Index) -> list[str]:
    """The questions of valid rows, [n]."""
    return [str(batch.proposals[i].question) for i in rows]


def embeddings(ctx: HookContext, texts: Sequence[str]) -> Array:
    """Unit vectors, float64 [n, d]; [0, 1] of no text."""
    return unit_rows(ctx.embed(texts)) if texts else np.zeros((0, 1))


def spread(values: Array, rows: Index, size: int) -> Array:
    """``values`` [n] at ``rows`` [n], 0 elsewhere, [size]."""
    full = np.zeros(size)
    full[rows] = values
    return full


def sets_of(batch: RolloutBatch, rows: Index, scope: SetScope) -> list[Index]:
    """The places within ``rows`` of each set's questions."""
    if scope == "batch":
        return [np.arange(len(rows))] if len(rows) else []
    group = np.asarray(batch.group_id)[rows] if len(rows) else np.zeros(0, dtype=np.int64)
    return [np.flatnonzero(group == g) for g in np.unique(group)]


def swapped(rewards: Rewards, parts: Mapping[str, Array]) -> Rewards:
    """Rewards with the named components put in (in place of those of that name)."""
    components = {**rewards.components, **parts}
    return Rewards(np.sum(list(components.values()), axis=0), components)


def replaced(
    rewards: Rewards, parts: Mapping[str, Array], weight: float, names: Sequence[str]
) -> Rewards:
    """(1 - weight) * the components called ``names`` + weight * ``parts``, the others as they are.

    With a weight of 0, the very same rewards.
    """
    if weight == 0:
        return rewards
    old = rewards.components
    mixed = {n: (1 - weight) * old[n] for n in names if n in old}
    for name, values in parts.items():
        mixed[name] = mixed.get(name, np.zeros(len(values))) + weight * values
    return swapped(rewards, mixed)


def changed(before: Rewards, after: Rewards) -> int:
    """How many rows have another reward."""
    return int((np.abs(after.total - before.total) > 1e-12).sum())


def nearest_distance(rows: Array, pool: Array, k: int, own: int | None = None) -> Array | None:
    """Mean cosine distance to the k nearest of a pool, float64 [n]; None where the pool is empty.

    Args:
        rows: unit vectors [n, d].
        pool: unit vectors [m, d].
        own: where in the pool the rows themselves stand; nobody is compared with itself.
    """
    k = min(k, len(pool) - (own is not None))
    if k < 1 or not len(rows):
        return None
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _BLOCK):
        part = np.arange(start, min(start + _BLOCK, len(rows)))
        distance = np.clip(1.0 - rows[part] @ pool.T, 0.0, 2.0)
        if own is not None:
            distance[np.arange(len(part)), own + part] = np.inf
        found[part] = np.partition(distance, k - 1, axis=1)[:, :k].mean(axis=1)
    return found


class Remembered:
    """Embeddings of chunks of texts that come back every step; each chunk is embedded once.

    A chunk is always embedded as a whole, so that what was kept and what is computed after a
    restart are the same numbers.
    """

    def __init__(self) -> None:
        self._chunks: list[tuple[list[str], Array]] = []

    def __call__(self, ctx: HookContext, chunks: Sequence[Sequence[str]]) -> Array:
        """Unit vectors of all texts, float64 [n, d]; [0, 1] of none."""
        del self._chunks[len(chunks) :]
        for i, chunk in enumerate(chunks):
            texts = list(chunk)
            if i < len(self._chunks) and self._chunks[i][0] == texts:
                continue
            self._chunks[i:] = [(texts, embeddings(ctx, texts))]
        rows = [e for _, e in self._chunks if len(e)]
        return np.concatenate(rows) if rows else np.zeros((0, 1))


def without_std(batch: RolloutBatch, advantages: Tensor) -> Tensor:
    """Group-normalised advantages [K, R, T] as r - mean only: multiplied by std + 1e-6 again."""
    assert batch.rewards is not None
    total, groups = batch.rewards.total, np.asarray(batch.group_id)
    scale = np.ones(len(total))
    for group in np.unique(groups):
        rows = groups == group
        if rows.sum() > 1:
            scale[rows] = total[rows].std(ddof=1) + 1e-6
    return advantages * torch.as_tensor(scale, dtype=torch.float32)[None, :, None]
