"""The support that a truncation leaves: stored once, reused whatever the policy becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import tiny
import torch
from torch import Tensor

from harness.engines.base import Replay
from harness.methods import build
from harness.policy import Policy, TokenBatch
from harness.support import Support
from harness.training import GrpoTrainer


@dataclass(frozen=True)
class TopK:
    """The k largest logits."""

    k: int = 5
    replay: Replay = "behaviour"

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        floor = logits.topk(self.k, dim=-1).values[:, -1:]
        return logits.masked_fill(logits < floor, -math.inf)


@dataclass(frozen=True)
class Only:
    """Nothing but the given tokens."""

    ids: tuple[int, ...]
    replay: Replay = "current"

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        kept = torch.full_like(logits, -math.inf)
        kept[:, list(self.ids)] = logits[:, list(self.ids)]
        return kept


def logits_of(policy: Policy, batch: TokenBatch, row: int) -> Tensor:
    """The model's own logits [n, V] before each response token of a row."""
    n = int(batch.response_mask[row].sum())
    prompt = batch.prompt_ids[row]
    ids = torch.cat([torch.tensor(prompt), batch.response_ids[row, :n]])[None]
    with torch.no_grad():
        logits: Tensor = policy.model(ids).logits[0, len(prompt) - 1 : -1]
    return logits / batch.temperature


def ids_of(support: Support, row: int) -> list[set[int]]:
    parts = torch.split(support.ids[row], support.counts[row].tolist())
    return [set(part.tolist()) for part in parts]


def flat_policy(policy: Policy) -> Policy:
    """A policy whose logits are all 0: every token has the same probability."""
    flat = tiny.clone(policy)
    torch.nn.init.zeros_(flat.model.base_model.norm.weight)
    return flat


# Two rows: one of two tokens that keep {1, 4} and {2}, one of a token that keeps {0, 3, 4}.
HAND = Support.of([torch.tensor([1, 4]), torch.tensor([2]), torch.tensor([0, 3, 4])], [2, 1])


def test_rows_and_join_by_hand() -> None:
    assert len(HAND) == 2
    assert [ids_of(HAND, r) for r in (0, 1)] == [[{1, 4}, {2}], [{0, 3, 4}]]
    swapped = HAND.rows([1, 0, 1])
    assert [ids_of(swapped, r) for r in range(3)] == [[{0, 3, 4}], [{1, 4}, {2}], [{0, 3, 4}]]
    joined = Support.join([HAND.rows([1]), HAND])
    assert [ids_of(joined, r) for r in range(3)] == [[{0, 3, 4}], [{1, 4}, {2}], [{0, 3, 4}]]


def test_flat_by_hand() -> None:
    expected = [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 0, 1, 1]]
    flat = HAND.flat()
    for start, end in ((0, 3), (0, 1), (1, 3), (2, 3)):
        keep = flat.keep(torch.arange(start, end), 5)
        assert keep.int().tolist() == expected[start:end]


def test_rows_without_tokens() -> None:
    empty = Support.of([torch.tensor([3])], [0, 1, 0])
    assert [len(c) for c in empty.counts] == [0, 1, 0]
    assert ids_of(empty.rows([1]), 0) == [{3}]
    assert empty.flat().keep(torch.arange(1), 4).int().tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("chunk", [2**23, 3 * tiny.HEAD])
def test_stored_support_is_the_rule_s(tiny_policy: Policy, monkeypatch, chunk: int) -> None:
    monkeypatch.setattr("harness.policy._CHUNK_ELEMENTS", chunk)
    batch = tiny.make_batch(tiny_policy, rule=TopK(), new=6, temperature=0.8).tokens
    support = tiny_policy.support(batch)
    for row in range(len(batch)):
        best = logits_of(tiny_policy, batch, row).topk(5).indices.tolist()
        found = ids_of(support, row)
        assert found == [set(ids) for ids in best]
        sampled = batch.response_ids[row, : len(found)].tolist()
        assert all(token in ids for token, ids in zip(sampled, found, strict=True))


def test_support_under_a_mask_holds_only_what_both_keep(tiny_policy: Policy) -> None:
    mask = tiny.make_mask(0.5, "group")
    batch = tiny.make_batch(tiny_policy, rule=TopK(), mask=mask, new=4).tokens
    support = tiny_policy.support(batch)
    for row in range(len(batch)):
        kept = set(mask.keep_numpy([int(batch.mask_rows[row])])[0].nonzero()[0].tolist())
        assert all(ids <= kept and len(ids) == 5 for ids in ids_of(support, row))


def test_a_sampled_token_always_belongs(tiny_policy: Policy) -> None:
    batch = tiny.make_batch(tiny_policy, new=4).tokens
    batch.logits_rule = Only((1,), "behaviour")
    support = tiny_policy.support(batch)
    for row in range(len(batch)):
        n = int(batch.response_mask[row].sum())
        sampled = batch.response_ids[row, :n].tolist()
        assert ids_of(support, row) == [{1, token} for token in sampled]


def test_log_probs_are_renormalised_over_the_support_by_hand(tiny_policy: Policy) -> None:
    """All logits equal: over k tokens each has log-prob -ln k, and the entropy is ln k."""
    flat = flat_policy(tiny_policy)
    batch = tiny.make_batch(flat, groups=1, n=2, new=3).tokens
    lengths = batch.response_mask.sum(dim=1).tolist()
    keeps = [
        torch.unique(torch.tensor([int(batch.response_ids[row, t]), 701, 702, 703]))
        for row, n in enumerate(lengths)
        for t in range(n)
    ]
    batch.support = Support.of(keeps, lengths)
    scores = flat.score(batch)
    expected = torch.tensor([-math.log(len(k)) for k in keeps])
    assert torch.allclose(scores.logp[batch.response_mask], expected, atol=1e-6)
    assert torch.allclose(scores.entropy[batch.response_mask], -expected, atol=1e-6)
    full = flat.score(batch, full_support=True)
    uniform = torch.full_like(expected, -math.log(tiny.HEAD))
    assert torch.allclose(full.logp[batch.response_mask], uniform, atol=1e-5)


def test_after_an_update_the_support_stays_the_behaviour_policy_s(tiny_policy: Policy) -> None:
    policy = tiny.clone(tiny_policy)
    batch = tiny.make_batch(policy, rule=TopK(), new=6).tokens
    batch.support = policy.support(batch)
    before = policy.logprobs(batch)[0].detach()
    with torch.no_grad():
        head = policy.model.get_output_embeddings().weight
        head.add_(0.5 * torch.sin(torch.arange(head.numel())).view_as(head))
    after = policy.logprobs(batch)[0].detach()
    assert (after - before).abs().max() > 0.1
    moved = 0
    for row in range(len(batch)):
        logits = logits_of(policy, batch, row)
        own = [set(ids) for ids in logits.topk(5).indices.tolist()]
        stored = ids_of(batch.support, row)
        moved += own != stored
        for t, ids in enumerate(stored):
            token = int(batch.response_ids[row, t])
            expected = logits[t, token] - logits[t, sorted(ids)].logsumexp(0)
            assert float(after[row, t]) == pytest.approx(float(expected), abs=1e-4)
    assert moved  # the new policy's own support would have been another


def test_replay_none_scores_the_full_softmax(tiny_policy: Policy) -> None:
    batch = tiny.make_batch(tiny_policy, rule=TopK(replay="none"), new=5)
    with torch.no_grad():
        found = tiny_policy.score(batch.tokens)
        full = tiny_policy.score(batch.tokens, full_support=True)
    assert torch.equal(found.logp, full.logp)
    gap = (batch.rollouts.logprobs - found.logp)[batch.tokens.response_mask]
    assert (gap > 0).all()  # the engine's are over five tokens
    trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage())
    metrics = trainer.update(batch, build("rzero")[0], tiny.make_context())
    assert batch.tokens.support is None
    assert metrics["logprob_gap_mean"] > 0.1
    assert metrics["logprob_gap_alarm"] == 0  # a gap by choice


@pytest.mark.parametrize("replay", ["current", "behaviour"])
def test_the_trainer_replays_what_was_sampled(tiny_policy: Policy, replay: Replay) -> None:
    batch = tiny.make_batch(tiny_policy, rule=TopK(replay=replay), new=6)
    stage = tiny.make_stage(minibatches=3, kl_coef=0.1)
    trainer = GrpoTrainer(tiny.clone(tiny_policy), stage)
    metrics = trainer.update(batch, build("rzero")[0], tiny.make_context())
    assert metrics["logprob_gap_max"] < 1e-4
    assert metrics["updates_skipped"] == 0
    assert (batch.tokens.support is not None) is (replay == "behaviour")


def test_a_token_that_left_the_current_support_is_put_back(tiny_policy: Policy) -> None:
    """All logits equal, tokens 701 and 702 kept: with the sampled one that makes 3, so -ln 3."""
    flat = flat_policy(tiny_policy)
    batch = tiny.make_batch(flat, groups=1, n=3, new=4).tokens
    batch.logits_rule = Only((701, 702))
    scores = flat.score(batch)
    sampled = batch.response_ids[batch.response_mask]
    sizes = torch.where((sampled == 701) | (sampled == 702), 2.0, 3.0)
    assert torch.allclose(scores.logp[batch.response_mask], -sizes.log(), atol=1e-6)
    scores.logp.sum().backward()
    gradients = [p.grad for p in flat.model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
