"""Scored proposer batches with questions, votes and embeddings of one's own choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tiny

from harness.grading.votes import Tally
from harness.methods import HookContext, RolloutBatch
from harness.policy import Policy
from harness.roles import Proposal, proposer_reward

VOTES = 10


def tally_of(p_hat: float, answer: str | None = "7") -> Tally:
    """Ten votes, a share ``p_hat`` of them for one answer and the others each for their own."""
    won = round(p_hat * VOTES)
    cluster = (0,) * won + tuple(range(1, VOTES - won + 1))
    return Tally(answer, p_hat, cluster, VOTES)


def proposed(
    policy: Policy,
    questions: Sequence[str | None],
    p_hat: Sequence[float],
    share: float | Sequence[float] = 0.0,
    *,
    groups: int = 1,
    solutions: Sequence[str | None] | None = None,
    jury: Sequence[Sequence[Tally | None]] | None = None,
) -> RolloutBatch:
    """A batch of R rows; None is an invalid question.

    Args:
        p_hat: [R], ignored where invalid.
        share: R-Zero's repetition share of the valid rows.
        jury: [R][J]; by default one juror with ``p_hat``.
    """
    size = len(questions)
    batch = tiny.make_batch(policy, groups=groups, n=size // groups, new=1)
    batch.proposals = [Proposal("", q, None) for q in questions]
    batch.tallies = [
        None if q is None else tally_of(p) for q, p in zip(questions, p_hat, strict=True)
    ]
    batch.jury = [list(row) for row in jury] if jury else [[t] for t in batch.tallies]
    batch.solutions = list(solutions) if solutions else [None] * size
    shares = np.broadcast_to(np.asarray(share, dtype=np.float64), size)
    batch.rewards = proposer_reward(batch.valid, batch.p_hat, shares)
    return batch


def embed_as(vectors: Mapping[str, Sequence[float]]) -> Callable[[Sequence[str]], Any]:
    """An embedder that knows the given texts; rows are scaled to length 1."""

    def embed(texts: Sequence[str]) -> Any:
        rows = np.array([vectors[t] for t in texts], dtype=np.float64)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return embed


def place(vectors: Mapping[str, Sequence[float]] | None = None, **changes: Any) -> HookContext:
    """A proposer's training context with an embedder of one's own."""
    if vectors is not None:
        changes["embed"] = embed_as(vectors)
    return tiny.make_context(**changes)


def reward(method: Any, ctx: HookContext, batch: RolloutBatch) -> Any:
    """The method's rewards, after the checks that hold of every reward."""
    found = method.reward(ctx, batch, batch.rewards)
    assert np.isfinite(found.total).all()
    np.testing.assert_allclose(sum(found.components.values()), found.total, atol=1e-12)
    return found
