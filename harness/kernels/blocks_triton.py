"""The block operations as two Triton kernels: one pass over the logits each, one program per row.

Runs in Triton's interpreter on a CPU as well (TRITON_INTERPRET=1), which the tests use.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from harness.kernels.blocks import NOTHING

WIDTH = 4096
"""Columns that a program holds at once."""


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _accumulate(
    logits: Any,
    target: Any,
    top: Any,
    total: Any,
    weighted: Any,
    at_target: Any,
    width: Any,
    stride: Any,
    nothing: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    m, s, u = tl.load(top + row), tl.load(total + row), tl.load(weighted + row)
    line = logits + row.to(tl.int64) * stride
    for start in range(0, width, columns):
        column = start + tl.arange(0, columns)
        x = tl.load(line + column, mask=column < width, other=-float("inf"))
        new = tl.maximum(m, tl.max(x, axis=0))
        below = tl.maximum(x - new, nothing)
        mass = tl.exp(below)
        shrink = tl.exp(m - new)
        u = shrink * (u + s * (m - new)) + tl.sum(mass * below, axis=0)
        s = shrink * s + tl.sum(mass, axis=0)
        m = new
    tl.store(top + row, m)
    tl.store(total + row, s)
    tl.store(weighted + row, u)
    y = tl.load(target + row)
    if (y >= 0) & (y < width):
        tl.store(at_target + row, tl.load(line + y))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _gradient(
    logits: Any,
    target: Any,
    lse: Any,
    entropy: Any,
    for_logp: Any,
    for_entropy: Any,
    width: Any,
    stride: Any,
    nothing: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = column < width
    line = logits + row.to(tl.int64) * stride
    x = tl.load(line + column, mask=inside, other=-float("inf"))
    logp = tl.maximum(x - tl.load(lse + row), nothing)
    upstream = tl.load(for_logp + row)
    spread = upstream + tl.load(for_entropy + row) * (logp + tl.load(entropy + row))
    grad = -tl.exp(logp) * spread + tl.where(column == tl.load(target + row), upstream, 0.0)
    tl.store(line + column, grad, mask=inside)


class TritonOps:
    """Both steps as kernels; logits must be contiguous along a row."""

    def accumulate(
        self,
        logits: Tensor,
        target: Tensor,
        top: Tensor,
        total: Tensor,
        weighted: Tensor,
        at_target: Tensor,
    ) -> None:
        _accumulate[(len(logits),)](
            logits,
            target,
            top,
            total,
            weighted,
            at_target,
            logits.shape[1],
            logits.stride(0),
            NOTHING,
            WIDTH,
        )

    def gradient(
        self,
        logits: Tensor,
        target: Tensor,
        lse: Tensor,
        entropy: Tensor,
        for_logp: Tensor,
        for_entropy: Tensor,
    ) -> Tensor:
        _gradient[(len(logits), triton.cdiv(logits.shape[1], WIDTH))](
            logits,
            target,
            lse,
            entropy,
            for_logp.contiguous(),
            for_entropy.contiguous(),
            logits.shape[1],
            logits.stride(0),
            NOTHING,
            WIDTH,
        )
        return logits
