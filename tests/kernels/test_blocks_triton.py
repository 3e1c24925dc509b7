"""The Triton kernels against torch's operations: in the interpreter, or on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.kernels.blocks import LOWEST, TorchOps

pytest.importorskip("triton", reason="Triton isn't installed; it is part of the dev extra on Linux")
from harness.kernels import blocks_triton as kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def block(seed: int, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Logits with dropped tokens, a row without any, and targets inside and outside the block."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=draw) * 4
    logits[torch.rand(rows, width, generator=draw) < 0.3] = -torch.inf
    logits[-1] = -torch.inf
    targets = torch.randint(-width, 2 * width, (rows,), generator=draw)
    inside = ((targets >= 0) & (targets < width)).nonzero()[:, 0]
    logits[inside, targets[inside]] = 0.5
    return logits.to(DEVICE), targets.to(DEVICE)


def start(rows: int) -> list[Tensor]:
    top = torch.full((rows,), LOWEST, device=DEVICE)
    return [top, *(torch.zeros(rows, device=DEVICE) for _ in range(3))]


@pytest.mark.parametrize("width", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_steps(monkeypatch, width: int, seed: int) -> None:
    monkeypatch.setattr(kernels, "WIDTH", 64)
    rows = 9
    ours, theirs = start(rows), start(rows)
    blocks = [block(2 * seed + i, rows, width) for i in range(2)]
    for logits, targets in blocks:
        kernels.TritonOps().accumulate(logits.clone(), targets, *ours)
        TorchOps().accumulate(logits.clone(), targets, *theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
    top, total, weighted, _ = theirs
    total = total.clamp(min=1e-30)
    lse, entropy = top + total.log(), total.log() - weighted / total
    for_logp, for_entropy = torch.randn(2, rows, generator=torch.Generator().manual_seed(seed))
    upstream = (lse, entropy, for_logp.to(DEVICE), for_entropy.to(DEVICE))
    for logits, targets in blocks:
        a = kernels.TritonOps().gradient(logits.clone(), targets, *upstream)
        b = TorchOps().gradient(logits.clone(), targets, *upstream)
        assert torch.isfinite(b[:-1]).all()
        assert torch.allclose(a[:-1], b[:-1], rtol=1e-5, atol=1e-5)
