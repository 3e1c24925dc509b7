"""Log-probability and entropy of tokens from hidden states, without the logits [N, V] in memory.

With logits l = (h W^T + b) / temperature over the kept tokens, p = softmax(l):

    logp = l_y - logsumexp(l)            d logp / d l_j = [j = y] - p_j
    H    = -sum_j p_j log p_j            d H    / d l_j = -p_j (log p_j + H)

Both passes walk over blocks of the vocabulary. The forward pass keeps a running maximum, sum and
weighted sum (online softmax, arXiv 1805.02867); the backward pass computes each block's logits
again, as cut-cross-entropy does for the loss (arXiv 2411.09009), so that it writes every row of the
head's gradient once. Dropped tokens of a shared mask take no part in any product.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.kernels.blocks import LOWEST, block_ops

BLOCK_ELEMENTS = 2**22
"""Logits of a block (16 MB in float32); three such blocks are held at once."""
PLAIN = "COEVOLUTION_PLAIN"
"""Environment variable: if set, the plain formula is used instead."""
ROWS = 2048
"""Tokens taken at once: more rows would only make the blocks narrower."""


@dataclass(frozen=True)
class Keep:
    """Which tokens of the vocabulary take part.

    Attributes:
        shared: long [K], sorted: the tokens kept for all rows; None for all.
        rows: (first row, last row, token ids long [b]) -> bool [rows, b]: what each row keeps of
            these; None for all. Rows are those of the call.
    """

    shared: Tensor | None = None
    rows: Callable[[int, int, Tensor], Tensor] | None = None


ALL = Keep()


def plain_linear_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    keep: Keep = ALL,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The formula itself, with the logits [N, V] in memory; arguments as `linear_logprob`."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    ids = torch.arange(weight.shape[0], device=weight.device)
    if keep.shared is not None:
        dropped = torch.ones_like(ids, dtype=torch.bool).index_fill(0, keep.shared, False)
        logits = logits.masked_fill(dropped, -torch.inf)
    if keep.rows is not None:
        logits = logits.masked_fill(~keep.rows(0, len(hidden), ids), -torch.inf)
    logp = torch.log_softmax(logits / temperature, dim=-1)
    # 0 * -inf is not 0: masked entries contribute nothing, in the gradient too.
    plogp = logp.exp() * logp.masked_fill(torch.isinf(logp), 0.0)
    return logp.gather(1, targets[:, None])[:, 0], -plogp.sum(dim=-1)


def linear_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    keep: Keep = ALL,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probability [N] of each target and entropy [N] in nats, differentiable.

    Args:
        hidden: [N, d], last hidden states.
        weight: [V, d], the language model's head.
        targets: long [N]; every target is kept by its row.
        bias: [V], the head's bias.
        keep: the tokens that take part.
        temperature: the logits are divided by it.

    Returns:
        Two tensors [N], float64 for float64 states, else float32. Memory beyond the arguments and
        their gradients is a few blocks of `BLOCK_ELEMENTS`, whatever N and V are.
    """
    if os.environ.get(PLAIN):
        return plain_linear_logprob(
            hidden, weight, targets, bias=bias, keep=keep, temperature=temperature
        )
    apply: Callable[..., tuple[Tensor, Tensor]] = _LinearLogprob.apply
    return apply(hidden, weight, bias, targets, keep, temperature)


@dataclass(frozen=True)
class _Block:
    """A piece of the vocabulary: its ids (None: the slice itself) and its place among the kept."""

    start: int
    stop: int
    ids: Tensor | None

    def of(self, table: Tensor) -> Tensor:
        """The block's rows of a table [V, ...]."""
        return table[self.start : self.stop] if self.ids is None else table[self.ids]

    def tokens(self, device: torch.device) -> Tensor:
        if self.ids is None:
            return torch.arange(self.start, self.stop, device=device)
        return self.ids


def _blocks(keep: Keep, vocabulary: int, rows: int) -> Iterator[_Block]:
    kept = vocabulary if keep.shared is None else len(keep.shared)
    width = max(1, BLOCK_ELEMENTS // max(1, rows))
    for start in range(0, kept, width):
        stop = min(start + width, kept)
        yield _Block(start, stop, None if keep.shared is None else keep.shared[start:stop])


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        keep: Keep,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        place = targets if keep.shared is None else torch.searchsorted(keep.shared, targets)
        ops = block_ops(hidden)
        lse = torch.empty(len(hidden), dtype=exact, device=hidden.device)
        picked, entropy = torch.empty_like(lse), torch.empty_like(lse)
        for first in range(0, len(hidden), ROWS):
            rows = slice(first, min(first + ROWS, len(hidden)))
            h = hidden[rows]
            top = torch.full((len(h),), LOWEST, dtype=exact, device=h.device)
            total, weighted, at_target = (torch.zeros_like(top) for _ in range(3))
            target = place[rows]
            for block in _blocks(keep, weight.shape[0], len(h)):
                logits = _logits(h, weight, bias, block, keep, temperature, rows, exact)
                ops.accumulate(logits, target - block.start, top, total, weighted, at_target)
            lse[rows] = top + total.log()
            picked[rows] = at_target
            entropy[rows] = total.log() - weighted / total
        ctx.save_for_backward(hidden, weight, bias, place, lse, entropy)
        ctx.keep, ctx.temperature = keep, temperature
        return picked - lse, entropy

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, place, lse, entropy = ctx.saved_tensors
        for_logp, for_entropy = upstream
        keep, temperature = ctx.keep, ctx.temperature
        ops = block_ops(hidden)
        d_hidden = torch.zeros(hidden.shape, dtype=lse.dtype, device=hidden.device)
        whole = keep.shared is None and len(hidden) <= ROWS
        d_weight = torch.empty_like(weight) if whole else torch.zeros_like(weight)
        d_bias = torch.zeros_like(bias) if bias is not None else None
        for first in range(0, len(hidden), ROWS):
            rows = slice(first, min(first + ROWS, len(hidden)))
            h = hidden[rows]
            for block in _blocks(keep, weight.shape[0], len(h)):
                logits = _logits(h, weight, bias, block, keep, temperature, rows, lse.dtype)
                grad = ops.gradient(
                    logits,
                    place[rows] - block.start,
                    lse[rows],
                    entropy[rows],
                    for_logp[rows],
                    for_entropy[rows],
                )
                grad = grad.div_(temperature).to(weight.dtype)
                d_hidden[rows] += grad @ block.of(weight)
                _add(d_weight, block, grad.T @ h, whole)
                if d_bias is not None:
                    _add(d_bias, block, grad.sum(dim=0).to(d_bias.dtype), False)
        return d_hidden.to(hidden.dtype), d_weight, d_bias, None, None, None


def _logits(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    block: _Block,
    keep: Keep,
    temperature: float,
    rows: slice,
    exact: torch.dtype,
) -> Tensor:
    """A block's logits [rows, b] in full precision; -inf where a row drops a token."""
    own = block.of(bias) if bias is not None else None
    logits = torch.nn.functional.linear(h, block.of(weight), own).to(exact)
    if temperature != 1.0:
        logits = logits.div_(temperature)
    if keep.rows is not None:
        kept = keep.rows(rows.start, rows.stop, block.tokens(h.device))
        logits = logits.masked_fill_(~kept, -torch.inf)
    return logits


def _add(into: Tensor, block: _Block, part: Tensor, first: bool) -> None:
    """Add a block's part to a gradient [V, ...]; the first time nothing is there yet."""
    if block.ids is not None:
        into.index_add_(0, block.ids, part)
    elif first:
        into[block.start : block.stop] = part
    else:
        into[block.start : block.stop] += part
