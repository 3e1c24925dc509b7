"""The blocked log-probability against the plain formula: values, gradients, memory, switch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.kernels import Keep, linear_logprob, lm_head, plain_linear_logprob

KINDS = ("all", "shared", "rows", "both")


def case(
    seed: int, n: int, d: int, v: int, dtype: torch.dtype, kind: str
) -> tuple[list[Tensor], Tensor, Keep]:
    """Hidden states, head and bias that want gradients; targets; what is kept."""
    draw = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((n, d), (v, d), (v,))
    )
    targets = torch.randint(0, v, (n,), generator=draw)
    shared = torch.rand(v, generator=draw) < 0.6
    shared[targets] = True
    table = torch.rand(n, v, generator=draw) < 0.5
    table[torch.arange(n), targets] = True
    keep = Keep(
        shared.nonzero()[:, 0] if kind in ("shared", "both") else None,
        (lambda a, b, ids: table[a:b][:, ids]) if kind in ("rows", "both") else None,
    )
    return [hidden, weight, bias], targets, keep


def evaluated(function: Any, tensors: list[Tensor], *rest: Any, temperature: float) -> list[Tensor]:
    """Log-prob, entropy, and the gradients of a random mix of them."""
    targets, keep = rest
    for x in tensors:
        x.grad = None
    logp, entropy = function(
        *tensors[:2], targets, bias=tensors[2], keep=keep, temperature=temperature
    )
    draw = torch.Generator().manual_seed(1)
    mix = torch.randn(2, len(targets), generator=draw, dtype=torch.float64).to(logp.dtype)
    (mix[0] * logp + mix[1] * entropy).sum().backward()
    return [logp.detach(), entropy.detach(), *(x.grad for x in tensors)]  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    v=st.integers(2, 300),
    rows=st.integers(1, 50),
    block=st.integers(1, 4000),
    temperature=st.floats(0.2, 3.0),
)
@settings(max_examples=30, deadline=None)
def test_equals_the_plain_formula(kind, seed, n, v, rows, block, temperature) -> None:
    """In float64 to 1e-10, however rows and vocabulary are cut."""
    given_case = case(seed, n, 8, v, torch.float64, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_head, "BLOCK_ELEMENTS", block)
        patch.setattr(lm_head, "ROWS", rows)
        ours = evaluated(linear_logprob, *given_case, temperature=temperature)
    plain = evaluated(plain_linear_logprob, *given_case, temperature=temperature)
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


# Rounding: log-probs of size L are sums of V terms in float32 (unit 6e-8 x L x a few); bfloat16
# rounds every logit to 8 bits (4e-3 x its size), in the plain formula as well, and the two products
# of the backward pass round once more.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_precisions(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    for seed in range(3):
        given_case = case(seed, 33, 16, 500, dtype, kind)
        ours = evaluated(linear_logprob, *given_case, temperature=0.8)
        plain = evaluated(plain_linear_logprob, *given_case, temperature=0.8)
        for a, b in zip(ours, plain, strict=True):
            assert a.dtype == b.dtype
            assert (a - b).norm() <= tolerance * b.norm()


class Largest(TorchDispatchMode):
    """Remembers the largest number of elements of any tensor that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        made = function(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else [made]:
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.itemsize)
        return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_never_there(kind: str, monkeypatch) -> None:
    """No tensor is larger than a block or the head, though the logits would be ten times that."""
    n, d, v = 600, 4, 2000
    monkeypatch.setattr(lm_head, "BLOCK_ELEMENTS", 6000)
    tensors, targets, _ = case(0, n, d, v, torch.float32, "all")
    ids = torch.arange(v)
    few = ids[(ids % 3 > 0) | torch.isin(ids, targets)]
    keep = Keep(
        few if kind in ("shared", "both") else None,
        (lambda a, b, at: (at - targets[a:b, None]) % 5 != 1) if kind in ("rows", "both") else None,
    )
    with Largest() as seen:
        evaluated(linear_logprob, tensors, targets, keep, temperature=1.0)
    assert seen.elements <= max(v * d, 6000)
    with Largest() as seen:
        evaluated(plain_linear_logprob, tensors, targets, keep, temperature=1.0)
    assert seen.elements >= n * v


def test_switch_runs_the_plain_formula(monkeypatch) -> None:
    tensors, targets, keep = case(0, 50, 4, 3000, torch.float32, "all")
    monkeypatch.setattr(lm_head, "BLOCK_ELEMENTS", 1000)
    monkeypatch.setenv(lm_head.PLAIN, "1")
    with Largest() as seen:
        linear_logprob(tensors[0], tensors[1], targets, keep=keep)
    assert seen.elements >= 50 * 3000
