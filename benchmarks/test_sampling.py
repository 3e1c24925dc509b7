"""Sampling: this engine beside ``transformers.generate`` and its continuous batching.

Cases: ``votes`` (questions x 10 answers, which end when they end), ``proposals`` (one prompt, many
rows), ``forced`` (distinct prompts, no end of sequence: nothing to share, nothing to drop) and
``single`` (one row). The temperature is 1, nothing is truncated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from harness.base import resolve
from harness.config import load_config
from harness.engines import SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.policy import Policy
from harness.rng import keys64
from harness.roles import parse_proposal, proposer_messages, render, solver_messages
from tasks.ladder.heldout import items

MODELS = ("ladder", "smollm2")
CASES = ("votes", "proposals", "forced", "single")


@dataclass(frozen=True)
class Case:
    """Prompts with rows for each, the longest response, and whether it may end earlier."""

    policy: Policy
    prompts: list[list[int]]
    n: int
    new_tokens: int
    ends: bool = True


def _policy(name: str) -> Policy:
    if name == "ladder":
        return Policy.load(resolve("tasks/ladder/base"))
    folder = os.environ.get("COEVOLUTION_TEST_MODEL")
    if folder is None:
        pytest.skip("set COEVOLUTION_TEST_MODEL to SmolLM2-135M-Instruct, a folder or .gguf file")
    return Policy.load(folder)


@pytest.fixture(scope="module", params=MODELS)
def model(request: Any) -> tuple[str, Policy]:
    torch.set_num_threads(1)
    return request.param, _policy(request.param)


@pytest.fixture(params=CASES)
def case(request: Any, model: tuple[str, Policy]) -> Case:
    name, policy = model
    small = name == "ladder"
    roles = load_config(name)[0].roles
    ask = render(policy.tokenizer, proposer_messages(roles))
    if request.param == "proposals":
        return Case(policy, [ask], *((256, 96) if small else (16, 96)))
    if request.param == "single":
        return Case(policy, [ask], 1, 64, ends=False)
    asked = _questions(policy, roles, ask) if small else _simple(4)
    prompts = [render(policy.tokenizer, solver_messages(roles, q)) for q in asked]
    if request.param == "votes":
        return Case(policy, prompts, 10, 56 if small else 192)
    return Case(policy, prompts, 1, 56, ends=False)


def _questions(policy: Policy, roles: Any, ask: list[int]) -> list[str]:
    """32 of the ladder base's own questions."""
    engine = TorchEngine(policy.model, policy.tokenizer)
    rollouts = engine.generate([ask], SamplingParams(80, n=64), row_keys=keys64(0, n=64))
    found = [parse_proposal(t, roles).question for t in rollouts.texts(policy.tokenizer)]
    return [q for q in found if q][:32]


def _simple(n: int) -> list[str]:
    return [str(item["question"]) for item in items(per_topic=1)][:n]


@contextmanager
def _endless(case: Case, engine: TorchEngine) -> Iterator[None]:
    """Where responses are forced to full length no token ends them."""
    kept = engine.stop_ids
    engine.stop_ids = kept if case.ends else [-1]
    yield
    engine.stop_ids = kept


@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled"])
def test_engine(benchmark: Any, case: Case, compiled: bool) -> None:
    if compiled and len(case.prompts) * case.n > 1 and not torch.cuda.is_available():
        pytest.skip("on a CPU a step over a whole fixed cache loses where rows are many")
    engine = TorchEngine(case.policy.model, case.policy.tokenizer, compiled=compiled)
    params = SamplingParams(case.new_tokens, n=case.n)
    keys = keys64(0, n=len(case.prompts) * case.n)
    with _endless(case, engine):
        made = benchmark.pedantic(
            engine.generate,
            (case.prompts, params),
            {"row_keys": keys},
            rounds=3,
            warmup_rounds=int(compiled),
        )
    benchmark.extra_info["tokens"] = int(made.response_mask.sum())


def _generation(case: Case, **settings: Any) -> GenerationConfig:
    pad = case.policy.tokenizer.pad_token_id
    end = TorchEngine(case.policy.model, case.policy.tokenizer).stop_ids if case.ends else None
    return GenerationConfig(
        max_new_tokens=case.new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=pad if pad is not None else 0,
        eos_token_id=end,
        **settings,
    )


def test_transformers(benchmark: Any, case: Case) -> None:
    model = case.policy.model
    settings = _generation(case, num_return_sequences=case.n)
    pad = settings.pad_token_id
    longest = max(map(len, case.prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in case.prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in case.prompts])
    model.generation_config.eos_token_id, kept = None, model.generation_config.eos_token_id

    def generate() -> Any:
        return model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)

    out = benchmark.pedantic(generate, rounds=3)
    model.generation_config.eos_token_id = kept
    benchmark.extra_info["tokens"] = _written(out[:, longest:].tolist(), settings.eos_token_id)


def test_continuous_batching(benchmark: Any, case: Case) -> None:
    model = case.policy.model
    settings = _generation(case)
    prompts = [p for p in case.prompts for _ in range(case.n)]
    attention = model.config._attn_implementation
    kept = model.generation_config.eos_token_id
    if not case.ends:
        settings.eos_token_id = -1

    def generate() -> Any:
        return model.generate_batch(inputs=prompts, generation_config=settings, progress_bar=False)

    out = benchmark.pedantic(generate, rounds=3)
    model.set_attn_implementation(attention)
    model.generation_config.eos_token_id = kept
    rows = [o.generated_tokens for o in out.values()]
    benchmark.extra_info["tokens"] = _written(rows, settings.eos_token_id)


def _written(rows: list[list[int]], ends: Any) -> int:
    """Tokens up to and with the first that ends a row."""
    stop = set(ends if isinstance(ends, list) else [ends])
    total = 0
    for row in rows:
        at = next((i for i, token in enumerate(row) if token in stop), len(row) - 1)
        total += at + 1
    return total
