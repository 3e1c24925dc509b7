"""Sampling on the ladder's base: this engine beside ``transformers.generate``, same prompts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.base import resolve
from harness.config import load_config
from harness.engines import SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.policy import Policy
from harness.rng import keys64
from harness.roles import parse_proposal, proposer_messages, render, solver_messages

QUESTIONS, VOTES = 32, 10


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return Policy.load(resolve("tasks/ladder/base"))


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[list[int]]:
    """Vote prompts on the base's own questions."""
    roles = load_config("ladder")[0].roles
    engine = TorchEngine(policy.model, policy.tokenizer)
    ask = render(policy.tokenizer, proposer_messages(roles))
    n = 2 * QUESTIONS
    rollouts = engine.generate([ask], SamplingParams(80, n=n), row_keys=keys64(0, n=n))
    found = [parse_proposal(t, roles).question for t in rollouts.texts(policy.tokenizer)]
    asked = [q for q in found if q][:QUESTIONS]
    return [render(policy.tokenizer, solver_messages(roles, q)) for q in asked]


def test_votes_engine(benchmark: Any, policy: Policy, prompts: list[list[int]]) -> None:
    engine = TorchEngine(policy.model, policy.tokenizer)
    params = SamplingParams(56, n=VOTES)
    keys = keys64(0, n=len(prompts) * VOTES)
    rollouts = benchmark(engine.generate, prompts, params, row_keys=keys)
    benchmark.extra_info["tokens"] = int(rollouts.response_mask.sum())


def test_votes_transformers(benchmark: Any, policy: Policy, prompts: list[list[int]]) -> None:
    tokenizer = policy.tokenizer
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])

    def generate() -> Any:
        return policy.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            max_new_tokens=56,
            num_return_sequences=VOTES,
            pad_token_id=pad,
        )

    out = benchmark(generate)
    benchmark.extra_info["tokens"] = int((out[:, longest:] != pad).sum())
