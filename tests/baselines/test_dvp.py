"""Dynamic vocabulary pruning: the safe vocabulary of each policy by itself."""

from __future__ import annotations

import math

import pytest
import tiny
import torch

from harness.methods import build
from harness.policy import Policy


def test_published_default() -> None:
    params = build("dvp")[0].params
    assert params.threshold == pytest.approx(2.260329e-6, rel=1e-6)  # e^-13
    assert (params.role, params.phases) == ("proposer", ("train",))


def test_only_the_extreme_tail_goes(tiny_policy: Policy) -> None:
    """Logits 13 below the maximum stand at the threshold; 12.9 stays, 13.1 goes."""
    rule = build("dvp")[0].logits_rule(tiny.make_context(tiny_policy.tokenizer), None)
    assert rule is not None
    logits = torch.tensor([[5.0, 5.0 - 12.9, 5.0 - 13.1, -math.inf, 4.0]])
    found = rule(logits, torch.zeros(1, 0, dtype=torch.long), [3])
    assert torch.isfinite(found[0]).tolist() == [True, True, False, False, True]


def test_each_policy_is_pruned_by_its_own_logits(tiny_policy: Policy) -> None:
    """Scored by another policy, the log-probs are over that policy's safe set."""
    spec = "dvp:threshold=0.05"
    rule = build(spec)[0].logits_rule(tiny.make_context(tiny_policy.tokenizer), None)
    tokens = tiny.make_batch(tiny_policy, rule=rule, new=6).tokens
    other = tiny.make_policy(tiny_policy.tokenizer, seed=9)
    assert tokens.support is None
    with torch.no_grad():
        found, _ = other.logprobs(tokens)
        for row, prompt in enumerate(tokens.prompt_ids):
            n = int(tokens.response_mask[row].sum())
            response = tokens.response_ids[row, :n]
            ids = torch.cat([torch.tensor(prompt), response])[None]
            logits = other.model(ids).logits[0, len(prompt) - 1 : -1].double()
            for t in range(n):
                safe = logits[t] >= logits[t].max() + math.log(0.05)
                safe[response[t]] = True  # the sampled token is put back
                expected = logits[t, response[t]] - logits[t, safe].logsumexp(0)
                assert float(found[row, t]) == pytest.approx(float(expected), abs=1e-4)


def test_ratio_and_gradient_stay_finite_where_the_token_left_every_set(tiny_policy: Policy) -> None:
    """A threshold of 1 keeps the likeliest token alone; the sampled ones come from elsewhere."""
    tokens = tiny.make_batch(tiny_policy, new=6).tokens
    ctx = tiny.make_context(tiny_policy.tokenizer)
    tokens.logits_rule = build("dvp:threshold=1.0")[0].logits_rule(ctx, None)
    policy = tiny.clone(tiny_policy)
    logp, entropy = policy.logprobs(tokens)
    assert torch.isfinite(logp).all()
    assert torch.isfinite(entropy).all()
    (logp.sum() + entropy.sum()).backward()
    for parameter in policy.model.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
