"""Rows that served engines are asked for, and how they compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tiny import make_context, make_prompts

from harness.engines import Rollouts
from harness.masks import VocabMask
from harness.methods import Method, RolloutBatch
from harness.policy import Policy, TokenBatch
from harness.rng import keys64, stream
from harness.roles import Rewards

PROMPTS = make_prompts(5)
KEYS = keys64(0, "rows", n=20)


def rows_of(n: int) -> list[int]:
    """The prompt of each row."""
    return [i for i in range(len(PROMPTS)) for _ in range(n)]


def agree(ours: Rollouts, theirs: Rollouts, gap: float = 1e-4) -> None:
    """The same responses, and log-probs within ``gap`` as far as they are the same.

    A uniform that lies within rounding of the boundary between two tokens gives one to either
    engine: it happens to about one draw in a thousand here, since each of 800 boundaries may move
    by 1e-6. From there on a row is another, so one in ten rows may be.
    """
    assert ours.prompt_ids == theirs.prompt_ids
    apart = 0
    for row in range(len(ours)):
        n = [int(rollouts.lengths[row]) for rollouts in (ours, theirs)]
        ids = [r.response_ids[row, :k].tolist() for r, k in zip((ours, theirs), n, strict=True)]
        same = next((t for t in range(min(n)) if ids[0][t] != ids[1][t]), min(n))
        values = [rollouts.logprobs[row, :same] for rollouts in (ours, theirs)]
        assert same == 0 or float((values[0] - values[1]).abs().max()) < gap
        apart += ids[0] != ids[1]
        if ids[0] == ids[1]:
            assert bool(ours.truncated[row]) == bool(theirs.truncated[row])
    assert apart <= len(ours) // 10


def gap_to_trainer(
    policy: Policy, made: Rollouts, temperature: float, mask: VocabMask | None
) -> float:
    """The largest difference between an engine's log-probs and the trainer's."""
    tokens = TokenBatch(
        made.prompt_ids,
        made.response_ids,
        made.response_mask,
        temperature or 1.0,
        mask,
        torch.as_tensor(mask.row_ids(rows_of(len(made) // len(PROMPTS)))) if mask else None,
    )
    with torch.no_grad():
        logp, _ = policy.logprobs(tokens)
    return float((logp - made.logprobs)[made.response_mask].abs().max())


def batch_of(
    policy: Policy, rollouts: Rollouts, method: Method
) -> tuple[RolloutBatch, Method, Any]:
    """What `GrpoTrainer.update` takes, with rewards drawn at random."""
    tokens = TokenBatch(rollouts.prompt_ids, rollouts.response_ids, rollouts.response_mask)
    group_id = rows_of(len(rollouts) // len(PROMPTS))
    rewards = Rewards(np.asarray(stream(0, "rewards").random(len(rollouts))), {})
    texts = rollouts.texts(policy.tokenizer)
    batch = RolloutBatch(rollouts, tokens, group_id, group_id, texts, rewards=rewards)
    return batch, method, make_context(policy.tokenizer)
