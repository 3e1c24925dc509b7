"""Rollouts written by hand, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.engines.base import Rollouts
from harness.grading.votes import Tally
from harness.grpo import group_advantages
from harness.methods import RolloutBatch
from harness.policy import TokenBatch
from harness.roles import Proposal, Rewards


def make(
    group_id: Sequence[int],
    rewards: Sequence[float] | None = None,
    *,
    texts: Sequence[str] | None = None,
    ids: Sequence[Sequence[int]] | None = None,
    questions: Sequence[str | None] | None = None,
    votes: Sequence[Sequence[int] | None] | None = None,
    components: Mapping[str, Sequence[float]] | None = None,
    temperature: float = 1.0,
) -> RolloutBatch:
    """R rows of the given tokens (two each by default); ``votes`` are cluster ids per question."""
    n = len(group_id)
    ids = ids or [[300 + i, 301 + i] for i in range(n)]
    width = max(map(len, ids), default=1)
    response_ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids]).reshape(n, -1)
    mask = torch.tensor([[True] * len(r) + [False] * (width - len(r)) for r in ids], dtype=bool)
    mask = mask.reshape(n, -1)
    prompts = [[10 + g] for g in group_id]
    zeros = torch.zeros(response_ids.shape)
    rollouts = Rollouts(prompts, response_ids, mask, zeros, torch.zeros(n, dtype=torch.bool))
    batch = RolloutBatch(
        rollouts,
        TokenBatch(prompts, response_ids, mask, temperature, row_keys=list(range(n))),
        list(group_id),
        list(group_id),
        list(texts) if texts is not None else [f"row {i}" for i in range(n)],
    )
    if questions is not None:
        batch.proposals = [Proposal("", q, None) for q in questions]
    if votes is not None:
        batch.tallies = [
            None if v is None else Tally("1", v.count(0) / len(v), tuple(v), len(v)) for v in votes
        ]
    if rewards is not None:
        parts = {k: np.array(v, dtype=float) for k, v in (components or {}).items()}
        batch.rewards = Rewards(np.array(rewards, dtype=float), parts)
    return batch


def grpo(batch: RolloutBatch) -> tuple[Tensor, Tensor]:
    """What the trainer hands to `Method.advantage`: [1, R, T] and [1, R]."""
    assert batch.rewards is not None
    values, _ = group_advantages(batch.rewards.total, batch.group_id)
    mask = batch.tokens.response_mask
    base = torch.as_tensor(values, dtype=torch.float32)[None, :, None] * mask[None]
    return base, torch.ones(1, len(batch))


def boxed(*answers: object) -> list[str]:
    r"""Responses whose final answers are the given ones; None: no box."""
    return ["no box" if a is None else rf"so \boxed{{{a}}}" for a in answers]
