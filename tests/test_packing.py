"""Responses side by side behind one prompt are what they are alone: states, gradients, order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from harness import packing
from harness.kernels import PLAIN
from harness.packing import order, response_hidden
from harness.policy import Policy

IDS = st.lists(st.integers(0, 700), min_size=1, max_size=7)
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 700), max_size=9)), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def exact(base_policy: Policy) -> Any:
    return tiny.make_policy(base_policy.tokenizer, dtype=torch.float64).model


def alone(model: Any, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Tensor:
    """The states by the definition: one row at a time, without padding or a mask."""
    found = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = torch.tensor([prompt + response])
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        found.append(states[len(prompt) - 1 : len(prompt) - 1 + len(response)])
    return torch.cat(found)


def gradients(model: Any, states: Tensor) -> list[Tensor]:
    """Of a random functional of the states."""
    model.zero_grad()
    draw = torch.Generator().manual_seed(0)
    (states * torch.randn(states.shape, generator=draw, dtype=states.dtype)).sum().backward()
    return [p.grad.clone() for p in model.base_model.parameters() if p.grad is not None]


@given(st.lists(IDS, min_size=4, max_size=4), ROWS, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_states_and_gradients_are_those_of_the_rows_alone(exact, prompts, rows, together) -> None:
    asked = [prompts[p] for p, _ in rows]
    responses = [r for _, r in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_per_sequence", lambda *_: together)
        packed = response_hidden(exact, asked, responses, pad_id=1)
    plain = alone(exact, asked, responses)
    assert torch.allclose(packed, plain, rtol=1e-10, atol=1e-10)
    if len(plain):  # the model's norms compute in float32, also here
        for a, b in zip(gradients(exact, packed), gradients(exact, plain), strict=True):
            assert (a - b).norm() <= 1e-5 * b.norm() + 1e-12  # attention to one token has none


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_other_models_and_kernels(attention: str) -> None:
    config = LlamaConfig(
        vocab_size=90,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=attention,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).double().eval()
    prompts, responses = [[5] * 30] * 4 + [[7, 8]], [[1, 2, 3], [4], [], [5, 6], [9, 9]]
    with torch.no_grad():
        packed = response_hidden(model, prompts, responses, pad_id=0)
        assert torch.allclose(packed, alone(model, prompts, responses), rtol=1e-10, atol=1e-10)


def reads(monkeypatch: Any, model: Any, prompts: Any, responses: Any) -> int:
    """Tokens that the model reads."""
    seen: list[int] = []
    forward = model.base_model.forward

    def counted(input_ids: Tensor, **kwargs: Any) -> Any:
        seen.append(input_ids.numel())
        return forward(input_ids=input_ids, **kwargs)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(model.base_model, "forward", counted)
        response_hidden(model, prompts, responses, pad_id=0)
    return sum(seen)


def test_a_shared_prompt_is_read_once(exact, monkeypatch) -> None:
    """Eight rows of 40 + 3 tokens, the last of each read for nothing: 40 + 8 * 2, not 8 * 42."""
    rows = [[3] * 40] * 8, [[4, 5, 6]] * 8
    assert reads(monkeypatch, exact, *rows) == 40 + 8 * 2
    monkeypatch.setenv(PLAIN, "1")
    assert reads(monkeypatch, exact, *rows) == 8 * 42


def test_long_responses_are_read_the_plain_way(exact, monkeypatch) -> None:
    """With P = 18,656 and a = 64, at 2 + 100 tokens the mask costs more than the prompts save.

    Alone: 8 (2 P 102 + 2 a 102^2) = 41.1 M operations. Two to a sequence:
    4 (2 P 202 + 4 a 202^2) = 71.9 M; all in one: 2 P 802 + 4 a 802^2 = 194.6 M.
    """
    assert packing._parameters(exact) == 18_656
    assert reads(monkeypatch, exact, [[3, 4]] * 8, [[4] * 100] * 8) == 8 * 101


def test_a_model_with_windows_is_read_the_plain_way(monkeypatch) -> None:
    model = tiny.make_sliding_model(seed=0).double()
    rows = [[3] * 40] * 8, [[4, 5, 6]] * 8
    assert reads(monkeypatch, model, *rows) == 8 * 42
    with torch.no_grad():
        assert torch.allclose(response_hidden(model, *rows, pad_id=0), alone(model, *rows))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=20))
def test_order_keeps_prompts_together(rows: list[tuple[int, int]]) -> None:
    prompts = [[p] * (p + 1) for p, _ in rows]
    found = order(prompts, [n for _, n in rows])
    assert sorted(found) == list(range(len(rows)))
    runs = [rows[i][0] for i in found]
    assert len([p for i, p in enumerate(runs) if i == 0 or runs[i - 1] != p]) == len(set(runs))


@given(st.lists(st.integers(0, 30), max_size=20))
def test_order_of_single_rows_is_by_length(lengths: list[int]) -> None:
    prompts = [[i, i] if i % 2 else [i] for i in range(len(lengths))]
    found = [len(prompts[i]) + lengths[i] for i in order(prompts, lengths)]
    assert found == sorted(found)
