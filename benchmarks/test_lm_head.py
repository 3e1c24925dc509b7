"""Log-prob and entropy of tokens from hidden states, forward and backward, and the memory for it.

At a size of real models, N = 2,048 tokens, d = 1,024, V = 151,936, in float32. ``plain`` is
log-softmax over all logits and what autograd makes of it, ``trl`` the two functions that TRL's
GRPOTrainer calls. ``kept`` is the share of the vocabulary that a shared mask keeps: the peers
compute all logits and fill in -inf. On a GPU, in bfloat16, cut-cross-entropy and Liger are asked as
well; they know neither masks nor entropies. COEVOLUTION_BENCHMARK_TOKENS sets another N.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.memory import peak_mb
from harness.kernels import Keep, linear_logprob, plain_linear_logprob

N, D, V = int(os.environ.get("COEVOLUTION_BENCHMARK_TOKENS", "2048")), 1024, 151_936
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
Way = Callable[[Tensor, Tensor, Tensor, Keep], tuple[Tensor, Tensor]]


def harness_way(h: Tensor, w: Tensor, y: Tensor, keep: Keep) -> tuple[Tensor, Tensor]:
    return linear_logprob(h, w, y, keep=keep)


def plain_way(h: Tensor, w: Tensor, y: Tensor, keep: Keep) -> tuple[Tensor, Tensor]:
    return plain_linear_logprob(h, w, y, keep=keep)


def trl_way(h: Tensor, w: Tensor, y: Tensor, keep: Keep) -> tuple[Tensor, Tensor]:
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    logits = h @ w.T
    if keep.shared is not None:
        dropped = torch.ones(len(w), dtype=torch.bool, device=w.device)
        dropped.index_fill_(0, keep.shared, False)
        logits = logits.masked_fill(dropped, torch.finfo(logits.dtype).min)
    return selective_log_softmax(logits[None], y[None])[0], entropy_from_logits(logits)


def cut_cross_entropy_way(h: Tensor, w: Tensor, y: Tensor, keep: Keep) -> tuple[Tensor, Tensor]:
    from cut_cross_entropy import linear_cross_entropy

    return -linear_cross_entropy(h, w, y, reduction="none"), torch.zeros(())


def liger_way(h: Tensor, w: Tensor, y: Tensor, keep: Keep) -> tuple[Tensor, Tensor]:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    return -liger_fused_linear_cross_entropy(h, w, y, reduction="sum"), torch.zeros(())


WAYS: dict[str, Way] = {
    "harness": harness_way,
    "plain": plain_way,
    "trl": trl_way,
    "cut_cross_entropy": cut_cross_entropy_way,
    "liger_kernel": liger_way,
}
ON_GPUS = ("cut_cross_entropy", "liger_kernel")


def prepared(way: str, kept: float) -> Callable[[], tuple[Tensor, ...]]:
    """Inputs, head and gradients in memory; what is to be measured."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=draw).to(DEVICE, DTYPE).requires_grad_()
    head = (torch.randn(V, D, generator=draw) / D**0.5).to(DEVICE, DTYPE).requires_grad_()
    shared = (torch.rand(V, generator=draw) < kept).nonzero()[:, 0] if kept < 1 else None
    pool = torch.arange(V) if shared is None else shared
    targets = pool[torch.randint(0, len(pool), (N,), generator=draw)].to(DEVICE)
    shared = None if shared is None else shared.to(DEVICE)
    gradients = [torch.ones_like(hidden), torch.ones_like(head)]  # in memory, by being written
    del gradients

    def run() -> tuple[Tensor, ...]:
        hidden.grad = head.grad = None
        logp, entropy = WAYS[way](hidden, head, targets, Keep(shared))
        (logp.sum() + 0.01 * entropy.sum()).backward()
        assert hidden.grad is not None
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return hidden.grad, logp, entropy

    return run


@pytest.mark.parametrize("kept", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("way", WAYS)
def test_lm_head(benchmark: Any, way: str, kept: float) -> None:
    if way not in ("harness", "plain"):
        pytest.importorskip(way)
    if way in ON_GPUS and (DEVICE.type == "cpu" or kept < 1):
        pytest.skip(f"{way} needs a GPU, and knows no masks")
    benchmark.extra_info["peak_mb"] = round(peak_mb(prepared, way, kept))
    benchmark.pedantic(prepared(way, kept), rounds=1, warmup_rounds=0)
