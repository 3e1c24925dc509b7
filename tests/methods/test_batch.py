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


def noted(policy: Policy, temperature: float = 1.0, seed: int = 0) -> RolloutBatch:
    """Four rows with everything that a proposer's batch may know of them."""
    batch = proposer_batch(policy, groups=2, n=2, new=3, temperature=temperature, seed=seed)
    batch.jury = [[t, Tally("2", 0.5, (0, 1), 2)] if t else [None, None] for t in batch.tallies]
    batch.solutions = [f"solution {seed} {i}" if t else None for i, t in enumerate(batch.tallies)]
    batch.marks = {f"mark{seed}": [float(i) for i in range(4)]}
    return batch


def test_what_is_known_of_rows_goes_with_them(tiny_policy: Policy) -> None:
    batch = noted(tiny_policy)
    batch.off_policy = [False, True, False, False]
    part = batch.select([2, 1, 1, 0])
    assert part.marks == {"mark0": [2.0, 1.0, 1.0, 0.0]}
    assert part.off_policy == [False, True, True, False]
    assert part.solutions == ["solution 0 2", "solution 0 1", "solution 0 1", None]
    assert part.jury == [batch.jury[i] for i in (2, 1, 1, 0)]
    assert part.tallies == [seen[0] for seen in part.jury]
    nothing = batch.select([])
    assert len(nothing) == 0
    assert nothing.marks == {"mark0": []}
    assert nothing.jury == nothing.solutions == nothing.off_policy == []


def test_joined_rows_keep_their_notes_and_lack_those_of_others(tiny_policy: Policy) -> None:
    a, b = noted(tiny_policy, seed=0), noted(tiny_policy, seed=1)
    joined = RolloutBatch.join([a, b])
    assert joined.marks["mark0"] == pytest.approx([0, 1, 2, 3] + [np.nan] * 4, nan_ok=True)
    assert joined.marks["mark1"] == pytest.approx([np.nan] * 4 + [0, 1, 2, 3], nan_ok=True)
    assert joined.jury == a.jury + b.jury
    assert joined.solutions == a.solutions + b.solutions
    assert joined.off_policy == [False] * 8
    assert a.marks == {"mark0": [0.0, 1.0, 2.0, 3.0]}  # the parts stay as they were


def test_rows_of_another_temperature_are_off_policy_for_good(tiny_policy: Policy) -> None:
    base, hot = noted(tiny_policy), noted(tiny_policy, temperature=1.5, seed=1)
    joined = RolloutBatch.join([base, hot])
    assert joined.off_policy == [False] * 4 + [True] * 4
    assert joined.tokens.temperature == 1.0
    # Once marked, neither picking nor joining them with the like washes it off.
    later = RolloutBatch.join([joined.select([0, 5]), noted(tiny_policy, seed=2)])
    assert later.off_policy == [False, True] + [False] * 4
    again = RolloutBatch.join([joined.select([5, 6]), base])
    assert again.off_policy == [True, True] + [False] * 4


def test_off_policy_rows_are_no_gap_between_engine_and_trainer(tiny_policy: Policy) -> None:
    base, hot = (
        tiny.make_batch(tiny_policy, groups=2, temperature=t, seed=s) for t, s in ((1, 0), (2, 1))
    )
    hot.group_id = [g + 2 for g in hot.group_id]
    joined = RolloutBatch.join([base, hot])
    found = {}
    for name, marks in (("marked", joined.off_policy), ("unmarked", [])):
        joined.off_policy = marks
        found[name] = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage()).update(
            joined, Method(), tiny.make_context()
        )["logprob_gap_max"]
    assert found["marked"] < 1e-4
    assert found["unmarked"] > 0.1


def test_an_empty_batch_leaves_the_policy_alone(tiny_policy: Policy) -> None:
    batch, policy = tiny.make_batch(tiny_policy, groups=1), tiny.clone(tiny_policy)
    before = tiny.weights(policy)
    metrics = GrpoTrainer(policy, tiny.make_stage()).update(
        batch.select([]), Method(), tiny.make_context()
    )
    assert metrics == {"updates_skipped": 1.0}
    assert torch.equal(tiny.weights(policy), before)


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
