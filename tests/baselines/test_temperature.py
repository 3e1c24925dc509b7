"""Temperature: where it is set, and that the trainer divides by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from harness.engines import SamplingParams
from harness.methods import build
from harness.policy import Policy

PARAMS = SamplingParams(9, n=4, top_p=0.9)


def test_default_is_ours() -> None:
    params = build("temperature")[0].params
    assert (params.tau, params.role, params.phases) == (1.2, "proposer", ("train", "generate"))


@pytest.mark.parametrize("role", ["proposer", "solver"])
@pytest.mark.parametrize("phase", ["train", "generate", "vote", "label"])
@pytest.mark.parametrize("who", ["proposer", "solver", "both"])
def test_where_it_is_set(role: str, phase: str, who: str) -> None:
    ctx = tiny.make_context(role=role, phase=phase)
    found = build(f"temperature:tau=1.5,role={who}")[0].sampling(ctx, PARAMS)
    if phase in ("train", "generate") and who in ("both", role):
        assert found == replace(PARAMS, temperature=1.5)
        assert ctx.counts["batches_at_tau"] == 1
    else:
        assert found is PARAMS
        assert not ctx.counts


@pytest.mark.parametrize("phase", ["train", "generate"])
def test_one_phase_alone(phase: str) -> None:
    method = build(f"temperature:phases=[{phase}]")[0]
    for here in ("train", "generate"):
        found = method.sampling(tiny.make_context(phase=here), PARAMS)
        assert found.temperature == (1.2 if here == phase else 1.0)


def test_nothing_changes_without_one() -> None:
    ctx = tiny.make_context()
    assert build("temperature:tau=null")[0].sampling(ctx, PARAMS) is PARAMS
    assert build("temperature:tau=1.0")[0].sampling(ctx, PARAMS) is PARAMS
    assert not ctx.counts


def test_the_trainer_divides_by_the_same(tiny_policy: Policy) -> None:
    params = build("temperature:tau=1.5")[0].sampling(tiny.make_context(), PARAMS)
    batch = tiny.make_batch(tiny_policy, temperature=params.temperature, new=6)
    with torch.no_grad():
        logp, _ = tiny_policy.logprobs(batch.tokens)
    assert (logp - batch.rollouts.logprobs).abs().max() < 1e-4
