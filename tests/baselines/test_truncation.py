"""Truncation rules by hand, and replayed by the trainer as they were sampled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.engines import SamplingParams
from harness.methods import build
from harness.policy import Policy
from harness.training import GrpoTrainer

NAMES = ("rlpt", "min_p", "locally_typical", "top_h", "dvp", "mirostat")
PREFIX = torch.zeros(1, 0, dtype=torch.long)


def rule_of(spec: str, policy: Policy, **place: Any):
    rule = build(spec)[0].logits_rule(tiny.make_context(policy.tokenizer, **place), None)
    assert rule is not None
    return rule


def kept(spec: str, policy: Policy, p: list[float]) -> list[int]:
    """The tokens that stay of a distribution."""
    logits = torch.tensor([p]).log()
    found = rule_of(spec, policy)(logits, PREFIX, [1])
    stays = torch.isfinite(found[0])
    assert torch.equal(found[0][stays], logits[0][stays])
    return stays.nonzero()[:, 0].tolist()


QUARTERS = [0.5, 0.25, 0.125, 0.125]
"""1, 2, 3 and 3 bits; entropy 1.75 bits."""


@pytest.mark.parametrize(
    ("spec", "p", "expected"),
    [
        # the floor is .1 * .5 = .05, the last token has .04
        ("min_p", [0.5, 0.31, 0.15, 0.04], [0, 1, 2]),
        ("min_p:p_base=0.4", [0.5, 0.31, 0.15, 0.04], [0, 1]),  # floor .2
        ("min_p:p_base=1", [0.2, 0.5, 0.3], [1]),
        # mass before each token: 0, .5, .81, .96; those with less than top_p before them stay
        ("rlpt:top_p=0.8", [0.5, 0.31, 0.15, 0.04], [0, 1]),
        ("rlpt:top_p=0.9", [0.5, 0.31, 0.15, 0.04], [0, 1, 2]),
        ("rlpt:top_p=1.0,top_k=1", [0.31, 0.5, 0.15, 0.04], [1]),
        ("rlpt:top_p=1.0,min_p=0.4", [0.5, 0.31, 0.15, 0.04], [0, 1]),
        # distance of each surprise from the entropy, in bits: .75, .25, 1.25, 1.25
        ("locally_typical:tau=0.5", QUARTERS, [0, 1]),  # token 1 has .25, with token 0 .75
        ("locally_typical:tau=0.8", QUARTERS, [0, 1, 2]),  # .75 is not enough, .875 is
        ("locally_typical:tau=0.2", QUARTERS, [0, 1]),  # token 1 would do; the likeliest stays
        # limit .4 * 1.75 = .7 bits; of two tokens q = (2/3, 1/3) has .918
        ("top_h", QUARTERS, [0]),
        # limit 1.05; of three q = (4/7, 2/7, 1/7) has 1.379
        ("top_h:alpha=0.6", QUARTERS, [0, 1]),
        ("top_h:alpha=0.8", QUARTERS, [0, 1, 2]),  # limit 1.4
        # partial sums -sum p log2 p: .5, 1, 1.375, 1.75; limits .7 and 1.05
        ("top_h:rule=released", QUARTERS, [0]),
        ("top_h:alpha=0.6,rule=released", QUARTERS, [0, 1]),
        # eight equal tokens, limit 1.2 bits: two have log2 2 = 1 bit, three log2 3 = 1.58;
        # the released sums are .375 each: three of them are 1.125
        ("top_h", [0.125] * 8, [0, 1]),
        ("top_h:rule=released", [0.125] * 8, [0, 1, 2]),
        # nobody looks beyond top_n; the released limit is .9 * .75 = .675, two tokens have .75
        ("top_h:alpha=0.9,top_n=2", [0.125] * 8, [0, 1]),
        ("top_h:alpha=0.9,top_n=2,rule=released", [0.125] * 8, [0]),
        ("dvp:threshold=0.1", [0.5, 0.31, 0.15, 0.04], [0, 1, 2]),
    ],
)
def test_support_by_hand(tiny_policy: Policy, spec: str, p: list[float], expected) -> None:
    assert kept(spec, tiny_policy, p) == expected


def test_published_defaults() -> None:
    assert build("rlpt")[0].params.top_p == 0.99
    assert build("min_p")[0].params.p_base == 0.1
    assert build("locally_typical")[0].params.tau == 0.95
    top_h = build("top_h")[0].params
    assert (top_h.alpha, top_h.top_n, top_h.rule) == (0.4, 100, "stated")
    for name in NAMES[:4]:
        params = build(name)[0].params
        assert (params.role, params.phases) == ("proposer", ("train", "generate"))
        assert (params.logprobs, params.distribution) == ("behaviour", "tempered")


class TestTemperature:
    """p = (.5, .31, .15, .04) at tau 2 is as sqrt p = (.707, .557, .387, .2): all above .0707."""

    LOGITS = torch.tensor([[0.5, 0.31, 0.15, 0.04]]).log()

    def size(self, spec: str, policy: Policy, sampled_at: float | None = None) -> int:
        method = build(spec)[0]
        ctx = tiny.make_context(policy.tokenizer)
        if sampled_at is not None:
            method.sampling(ctx, SamplingParams(4, temperature=sampled_at))
        rule = method.logits_rule(ctx, None)
        assert rule is not None
        return int(torch.isfinite(rule(self.LOGITS, PREFIX, [1])).sum())

    def test_the_rule_sees_the_temperature_in_force(self, tiny_policy: Policy) -> None:
        assert self.size("min_p", tiny_policy) == 3  # the profile's 1
        assert self.size("min_p", tiny_policy, 2.0) == 4
        assert self.size("min_p:distribution=raw", tiny_policy, 2.0) == 3

    def test_composed_the_temperature_stands_first(self, tiny_policy: Policy) -> None:
        assert self.size("temperature:tau=2.0+min_p", tiny_policy, 1.0) == 4
        assert self.size("min_p+temperature:tau=2.0", tiny_policy, 1.0) == 3

    def test_each_phase_has_its_own(self, tiny_policy: Policy) -> None:
        method = build("min_p")[0]
        train = tiny.make_context(tiny_policy.tokenizer)
        method.sampling(train, SamplingParams(4, temperature=2.0))
        generate = tiny.make_context(tiny_policy.tokenizer, phase="generate")
        rule = method.logits_rule(generate, None)
        assert int(torch.isfinite(rule(self.LOGITS, PREFIX, [1])).sum()) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["proposer", "solver"])
@pytest.mark.parametrize("phase", ["train", "generate", "vote", "label"])
def test_acts_where_it_says(tiny_policy: Policy, name: str, role: str, phase: str) -> None:
    ctx = tiny.make_context(tiny_policy.tokenizer, role=role, phase=phase)
    params = SamplingParams(4, top_p=0.9)
    for who in ("proposer", "solver", "both"):
        method = build(f"{name}:role={who},phases=[train]")[0]
        acts = phase == "train" and who in ("both", role)
        rule = method.logits_rule(ctx, None)
        assert (rule is not None) is acts
        if not acts:
            assert method.sampling(ctx, params) is params
            earlier = rule_of("min_p", tiny_policy)
            assert method.logits_rule(ctx, earlier) is earlier


@pytest.mark.parametrize("name", NAMES)
def test_off_is_no_rule_at_all(tiny_policy: Policy, name: str) -> None:
    cls = type(build(name)[0])
    method = cls(cls.off)
    ctx = tiny.make_context(tiny_policy.tokenizer)
    params = SamplingParams(4, top_p=0.9, top_k=7)
    assert method.sampling(ctx, params) is params
    assert method.logits_rule(ctx, None) is None
    assert not ctx.counts


def test_rlpt_takes_the_sampler_s_own_truncation_over(tiny_policy: Policy) -> None:
    params = SamplingParams(4, top_p=0.9, top_k=7, min_p=0.1, temperature=0.8)
    ctx = tiny.make_context(tiny_policy.tokenizer)
    assert build("rlpt")[0].sampling(ctx, params) == SamplingParams(4, temperature=0.8)
    assert build("min_p")[0].sampling(ctx, params) is params


@pytest.mark.parametrize(
    ("spec", "replay"),
    [
        ("rlpt", "behaviour"),
        ("min_p", "behaviour"),
        ("locally_typical", "behaviour"),
        ("top_h", "behaviour"),
        ("mirostat", "behaviour"),
        ("dvp", "current"),
        *[(f"{name}:logprobs=none", "none") for name in NAMES],
    ],
)
def test_how_it_is_replayed(tiny_policy: Policy, spec: str, replay: str) -> None:
    assert rule_of(spec, tiny_policy).replay == replay


@given(data=st.data(), name=st.sampled_from(NAMES))
@settings(max_examples=60, deadline=None)
def test_any_row_keeps_its_likeliest_token_and_no_masked_one(tiny_policy, data, name) -> None:
    value = st.one_of(st.floats(-40, 40), st.just(-math.inf), st.just(0.0))
    rows = data.draw(st.lists(st.lists(value, min_size=5, max_size=5), min_size=1, max_size=4))
    logits = torch.tensor(rows)
    logits[:, data.draw(st.integers(0, 4))] = 1.0  # something is always left
    prefix = torch.zeros(len(rows), 0, dtype=torch.long)
    found = rule_of(name, tiny_policy)(logits, prefix, list(range(len(rows))))
    stays = torch.isfinite(found)
    assert stays.any(dim=1).all()
    assert torch.equal(found[stays], logits[stays])
    assert not (stays & torch.isinf(logits)).any()
    best = logits.argmax(dim=1)
    assert stays[torch.arange(len(rows)), best].all()


def logits_rows(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def test_every_sampled_token_is_counted_once(tiny_policy: Policy) -> None:
    """Two rows lose .04 and nothing; the second token of row 7 comes after its end."""
    ctx = tiny.make_context(tiny_policy.tokenizer)
    method = build("min_p")[0]
    rule = method.logits_rule(ctx, None)
    assert rule is not None
    logits = logits_rows([0.5, 0.31, 0.15, 0.04], [0.25] * 4)
    empty = torch.zeros(2, 0, dtype=torch.long)
    rule(logits, empty, [7, 8])
    assert ctx.counts["tokens_cut"] == 1
    assert ctx.counts["mass_dropped"] == pytest.approx(0.04)
    rule(logits, empty, [7, 8])  # a replay
    assert ctx.counts["tokens_cut"] == 1
    end = tiny_policy.tokenizer.eos_token_id
    swapped = logits.flip(0)
    rule(swapped, torch.tensor([[end], [300]]), [7, 8])  # row 8 goes on and loses .04
    assert ctx.counts["tokens_cut"] == 2
    rule(logits, torch.tensor([[end], [300]]), [7, 8])
    assert ctx.counts["tokens_cut"] == 2
    again = method.logits_rule(ctx, None)  # further rollouts of the same step, joined to the first
    assert again is not None
    again(logits, empty, [7, 9])
    assert ctx.counts["tokens_cut"] == 2
    other = tiny.make_context(tiny_policy.tokenizer, step=1)
    later = method.logits_rule(other, None)
    assert later is not None
    later(logits, empty, [7, 8])
    assert (other.counts["tokens_cut"], ctx.counts["tokens_cut"]) == (1, 2)


@pytest.mark.parametrize(
    "spec",
    [
        "rlpt:top_p=0.8",
        "min_p",
        "locally_typical:tau=0.6",
        "top_h:alpha=0.7",
        "top_h:alpha=0.7,rule=released",
        "dvp:threshold=0.05",
        "mirostat:tau=1.5,eta=0.5",
        "mirostat:tau=1.5,eta=0.5,version=1,surprise=truncated",
    ],
)
@pytest.mark.parametrize("granularity", [None, "group"])
def test_trainer_and_engine_agree(tiny_policy: Policy, spec: str, granularity: Any) -> None:
    """Under behaviour replay and several updates; row by row, whatever the micro-batches are."""
    ctx = tiny.make_context(tiny_policy.tokenizer)
    rule = build(spec)[0].logits_rule(ctx, None)
    mask = tiny.make_mask(0.7, granularity) if granularity else None
    batch = tiny.make_batch(tiny_policy, rule=rule, mask=mask, temperature=1.0, new=12, seed=2)
    counted = dict(ctx.counts)
    stage = tiny.make_stage(minibatches=3, micro_rows=5, kl_coef=0.1)
    trainer = GrpoTrainer(tiny.clone(tiny_policy), stage)
    metrics = trainer.update(batch, build("rzero")[0], ctx)
    assert metrics["logprob_gap_mean"] < 1e-5
    assert metrics["updates_skipped"] == 0
    assert counted["tokens_cut"] > 0
    assert ctx.counts["tokens_cut"] == counted["tokens_cut"]
    assert counted["tokens_cut"] <= int(batch.tokens.response_mask.sum())
