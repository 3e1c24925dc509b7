"""Mirostat: mu by hand, both versions, and a state that is a function of the row alone."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from torch import Tensor

from baselines.mirostat import MirostatRule, top_k_for, zipf_exponent
from harness.methods import build
from harness.policy import Policy

EIGHT = torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.0078125]]).log()
"""1, 2, 3, 4, 5, 6, 7 and 7 bits."""


def rule_of(policy: Policy, params: str = "") -> MirostatRule:
    rule = build(f"mirostat:{params}")[0].logits_rule(tiny.make_context(policy.tokenizer), None)
    assert isinstance(rule, MirostatRule)
    return rule


def size(logits: Tensor) -> list[int]:
    return torch.isfinite(logits).sum(dim=1).tolist()


def prefix(*ids: int) -> Tensor:
    return torch.tensor([ids], dtype=torch.long)


def test_defaults() -> None:
    p = build("mirostat")[0].params
    assert (p.tau, p.eta, p.m, p.version, p.surprise) == (3.0, 0.1, 100, 2, "untruncated")
    assert (p.role, p.phases, p.logprobs) == ("proposer", ("train", "generate"), "behaviour")


def test_mu_by_hand(tiny_policy: Policy) -> None:
    """tau 1.6, eta 1: mu = 3.2; 1 bit: 3.2 - (1 - 1.6) = 3.8; 4 bits: 3.8 - 2.4 = 1.4."""
    rule = rule_of(tiny_policy, "tau=1.6,eta=1.0")
    assert size(rule(EIGHT, prefix(), [7])) == [3]  # 1, 2, 3 bits
    assert rule.mu[7] == 3.2
    assert size(rule(EIGHT, prefix(0), [7])) == [3]
    assert rule.mu[7] == pytest.approx(3.8, abs=1e-5)
    assert size(rule(EIGHT, prefix(0, 3), [7])) == [1]
    assert rule.mu[7] == pytest.approx(1.4, abs=1e-5)
    # 7 bits more: mu = 1.4 - 5.4 < 0, and the likeliest token still stays
    assert size(rule(EIGHT, prefix(0, 3, 7), [7])) == [1]
    assert rule.mu[7] == pytest.approx(-4.0, abs=1e-5)


def test_surprise_under_the_truncated_distribution(tiny_policy: Policy) -> None:
    """tau 1.1, mu 2.2: {1 bit, 2 bits} hold .75, so token 1 has log2(.75 / .25) = 1.585 bits."""
    rule = rule_of(tiny_policy, "tau=1.1,eta=1.0,surprise=truncated")
    assert size(rule(EIGHT, prefix(), [7])) == [2]
    rule(EIGHT, prefix(1), [7])
    assert rule.mu[7] == pytest.approx(2.2 - (1.584963 - 1.1), abs=1e-5)


def test_rows_have_their_own_state_and_start_over(tiny_policy: Policy) -> None:
    rule = rule_of(tiny_policy, "tau=1.6,eta=1.0")
    both = EIGHT.repeat(2, 1)
    rule(both, torch.zeros(2, 0, dtype=torch.long), [7, 8])
    rule(both, torch.tensor([[0], [6]]), [7, 8])
    assert rule.mu[7] == pytest.approx(3.8, abs=1e-5)
    assert rule.mu[8] == pytest.approx(3.2 - 5.4, abs=1e-5)
    rule(both, torch.zeros(2, 0, dtype=torch.long), [8, 7])  # a replay, in another order
    assert rule.mu == {7: 3.2, 8: 3.2}
    # a row that stands twice in a batch moves once
    rule(both, torch.zeros(2, 0, dtype=torch.long), [7, 7])
    rule(both, torch.tensor([[0], [0]]), [7, 7])
    assert rule.mu[7] == pytest.approx(3.8, abs=1e-5)


def test_zipf_exponent_of_a_zipf_law_is_its_own() -> None:
    """p_i ~ i^-s: b_i = s t_i for every i, so the fit is exact, whatever m is."""
    i = torch.arange(1, 201, dtype=torch.float64)
    for s in (0.7, 1.0, 1.6):
        logp = torch.log_softmax(-s * i.log(), dim=0)[None]
        for m in (2, 100, 500):
            assert float(zipf_exponent(logp, m)) == pytest.approx(s, abs=1e-9)
    masked = torch.tensor([[0.0, -math.inf, -math.log(2.0), -math.inf]])
    # two tokens are left: t_1 = ln 2 and b_1 = ln 2 give s = 1
    assert float(zipf_exponent(masked, 100)) == pytest.approx(1.0, abs=1e-6)
    assert float(zipf_exponent(torch.tensor([[0.0, -math.inf]]), 100)) == 0.0


@pytest.mark.parametrize(
    ("mu", "s", "n", "k"),
    [
        # eps = 1: k = (2^mu / (1 - 1/N))^(1/2); N = 4, mu = log2 12: (12 / .75)^.5 = 4
        (math.log2(12.0), 2.0, 1000, 3),  # (12 / .999)^.5 = 3.47
        (math.log2(12.0), 2.0, 4, 4),
        # eps = 0: 2^3 / ln 1000 = 1.158
        (3.0, 1.0, 1000, 1),
        (6.0, 1.0, 1000, 9),  # 64 / 6.908 = 9.26
        # eps = -1/2, N = 100: .5 / (10 - 1) * 8 = .444; its square is .198, at least 1
        (3.0, 0.5, 100, 1),
        (5.0, 0.5, 100, 3),  # .5 / 9 * 32 = 1.778; squared 3.16
        # everything fits
        (500.0, 1.5, 321, 321),
        (-20.0, 1.5, 321, 1),
        (6.0, 0.0, 50, 50),  # equal tokens: no exponent, nothing to cut
        (6.0, 1.3, 1, 1),
    ],
)
def test_k_by_hand(mu: float, s: float, n: int, k: int) -> None:
    found = top_k_for(torch.tensor([mu]).double(), torch.tensor([s]).double(), torch.tensor([n]))
    assert found.tolist() == [k]


def test_version_one_keeps_the_k_likeliest(tiny_policy: Policy) -> None:
    """p_i ~ 1/i over 1000 tokens: s = 1; mu = 6 gives k = 64 / ln 1000 = 9.26."""
    order = torch.arange(1000).flip(0)
    logits = -torch.arange(1, 1001).float().log()[None][:, order]
    rule = rule_of(tiny_policy, "version=1,tau=3.0")
    found = rule(logits, prefix(), [1])
    assert torch.isfinite(found[0]).nonzero()[:, 0].tolist() == list(range(991, 1000))


def test_a_sample_is_the_same_whoever_is_in_the_batch(tiny_policy: Policy) -> None:
    whole = tiny.make_batch(tiny_policy, rule=rule_of(tiny_policy, "tau=1.5,eta=0.5"), new=12)
    support = tiny_policy.support(whole.tokens)
    for row in (0, 5, 11):
        alone = whole.tokens.rows(torch.tensor([row]))
        alone.logits_rule = rule_of(tiny_policy, "tau=1.5,eta=0.5")
        (counts,) = tiny_policy.support(alone).counts
        assert torch.equal(counts, support.counts[row])


def test_the_mean_surprise_comes_near_the_target(tiny_policy: Policy) -> None:
    """Half of the free surprise is the target: the mean comes within 15 % of it."""

    def mean_bits(rule: MirostatRule | None) -> float:
        batch = tiny.make_batch(tiny_policy, rule=rule, groups=6, n=8, new=40, seed=5)
        with torch.no_grad():
            logp = tiny_policy.score(batch.tokens, full_support=True).logp
        return float(-logp.sum() / batch.tokens.response_mask.sum() / math.log(2.0))

    free = mean_bits(None)
    target = free / 2
    held = mean_bits(rule_of(tiny_policy, f"tau={target},eta=0.5"))
    assert abs(held - target) < 0.15 * target < abs(free - target)
