"""Rows added, dropped and repeated: what a hook returns is what the trainer can use."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.grading.votes import Tally
from harness.methods import Method, RolloutBatch
from harness.policy import Policy
from harness.roles import Proposal
from harness.training import GrpoTrainer


def proposer_batch(policy: Policy, **kwargs: object) -> RolloutBatch:
    batch = tiny.make_batch(policy, **kwargs)  # type: ignore[arg-type]
    n = len(batch)
    batch.proposals = [
        Proposal(t, f"q{i}" if i % 3 else None, None) for i, t in enumerate(batch.texts)
    ]
    batch.tallies = [Tally("1", 0.25, (0,), 1) if i % 3 else None for i in range(n)]
    return batch


def uneven(policy: Policy, seed: int = 3) -> RolloutBatch:
    """Rows of very different lengths: some end after a token or two."""
    batch = tiny.make_batch(policy, new=10, seed=seed, mask=tiny.make_mask(0.6, "sequence"))
    lengths = torch.arange(12) % 10 + 1
    keep = torch.arange(10) < lengths[:, None]
    for part in (batch.rollouts, batch.tokens):
        part.response_mask = part.response_mask & keep
    return batch


@given(st.lists(st.integers(0, 11), min_size=1, max_size=15))
@settings(max_examples=12, deadline=None)
def test_any_selection_can_be_trained_on(tiny_policy: Policy, rows: list[int]) -> None:
    batch = uneven(tiny_policy)
    part = batch.select(rows)
    assert len(part) == len(rows) == len(part.tokens) == len(part.rollouts)
    assert part.rollouts.response_ids.shape == part.tokens.response_ids.shape
    assert part.group_id == [batch.group_id[i] for i in rows]
    assert part.texts == [batch.texts[i] for i in rows]
    assert part.tokens.row_keys == [batch.tokens.row_keys[i] for i in rows]
    assert part.rewards.total.tolist() == batch.rewards.total[rows].tolist()
    metrics = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage()).update(
        part, Method(), tiny.make_context()
    )
    assert metrics["logprob_gap_max"] < 1e-4


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_joining_what_was_split_gives_it_back(tiny_policy: Policy, data: st.DataObject) -> None:
    batch = uneven(tiny_policy)
    cut = data.draw(st.integers(1, 11))
    joined = RolloutBatch.join([batch.select(range(cut)), batch.select(range(cut, 12))])
    width = joined.rollouts.response_ids.shape[1]
    mask = batch.rollouts.response_mask[:, :width]
    assert torch.equal(joined.rollouts.response_mask, mask)
    for name in ("response_ids", "logprobs"):
        ours, before = getattr(joined.rollouts, name), getattr(batch.rollouts, name)[:, :width]
        assert torch.equal(ours[mask], before[mask])
    assert torch.equal(joined.tokens.mask_rows, batch.tokens.mask_rows)
    for name in ("group_id", "prompt_id", "texts"):
        assert getattr(joined, name) == getattr(batch, name)
    assert joined.tokens.row_keys == batch.tokens.row_keys
    assert joined.rewards.total.tolist() == batch.rewards.total.tolist()
    found = tiny_policy.logprobs(joined.tokens)[0].detach()
    assert (found - joined.rollouts.logprobs)[mask].abs().max() < 1e-4


def test_a_part_without_rewards_leaves_the_whole_without(tiny_policy: Policy) -> None:
    a, b = (tiny.make_batch(tiny_policy, groups=1, n=2, new=3, seed=s) for s in (0, 1))
    b.rewards = None
    assert RolloutBatch.join([a, b]).rewards is None


def test_validity_and_vote_shares(tiny_policy: Policy) -> None:
    batch = proposer_batch(tiny_policy, groups=2, n=2, new=3)
    assert batch.valid.tolist() == [False, True, True, False]
    assert batch.p_hat == pytest.approx([np.nan, 0.25, 0.25, np.nan], nan_ok=True)
    part = batch.select([3, 1])
    assert part.valid.tolist() == [False, True]
    assert part.gold == []  # a field that the role doesn't use stays empty


def test_resampled_groups_train_as_usual(tiny_policy: Policy) -> None:
    """Dynamic sampling by hand: drop the flat group, add another step's rows under a new id."""
    flat_and_good = tiny.make_batch(
        tiny_policy, groups=2, rewards=[1.0] * 4 + [0.0, 1.0, 0.0, 1.0], seed=1
    )
    more = tiny.make_batch(tiny_policy, groups=1, rewards=[1.0, 0.0, 0.0, 0.0], seed=2, new=14)
    more.group_id = [9] * 4
    batch = RolloutBatch.join([flat_and_good.select(range(4, 8)), more])
    metrics = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage()).update(
        batch, Method(), tiny.make_context()
    )
    assert metrics["zero_variance_groups"] == 0.0
    assert metrics["reward"] == pytest.approx(3 / 8)
