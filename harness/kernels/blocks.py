"""What happens to one block of logits [n, b]: torch's operations, or one Triton kernel on a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

LOWEST = -1e30
"""Stands for -inf in the running maximum: its difference to itself is 0."""
NOTHING = -1e4
"""exp of it is 0 in every precision, and so is its product with 0."""


class BlockOps(Protocol):
    """The two steps of `linear_logprob` on a block of logits [n, b], which they may overwrite.

    ``target`` long [n] is the target's column in the block; outside 0..b-1 it is in another block.
    """

    def accumulate(
        self,
        logits: Tensor,
        target: Tensor,
        top: Tensor,
        total: Tensor,
        weighted: Tensor,
        at_target: Tensor,
    ) -> None:
        """Update in place, all [n]: maximum m, sum of exp(l - m), of exp(l - m)(l - m), and l_y."""

    def gradient(
        self,
        logits: Tensor,
        target: Tensor,
        lse: Tensor,
        entropy: Tensor,
        for_logp: Tensor,
        for_entropy: Tensor,
    ) -> Tensor:
        """d loss / d logits [n, b] from the losses' derivatives by log-prob and entropy [n]."""


class TorchOps:
    """With torch alone; few passes over the block, most of them in place."""

    def accumulate(
        self,
        logits: Tensor,
        target: Tensor,
        top: Tensor,
        total: Tensor,
        weighted: Tensor,
        at_target: Tensor,
    ) -> None:
        width = logits.shape[1]
        found = logits.gather(1, target.clamp(0, width - 1)[:, None])[:, 0]
        at_target.copy_(torch.where((target >= 0) & (target < width), found, at_target))
        new = torch.maximum(top, logits.amax(dim=1))
        below = logits.sub_(new[:, None]).clamp_(min=NOTHING)
        mass = below.exp()
        drop = top - new
        shrink = drop.exp()
        weighted.add_(total * drop).mul_(shrink).add_((mass * below).sum(dim=1))
        total.mul_(shrink).add_(mass.sum(dim=1))
        top.copy_(new)

    def gradient(
        self,
        logits: Tensor,
        target: Tensor,
        lse: Tensor,
        entropy: Tensor,
        for_logp: Tensor,
        for_entropy: Tensor,
    ) -> Tensor:
        logp = logits.sub_(lse[:, None]).clamp_(min=NOTHING)
        mass = logp.exp()
        # -p (g_logp + g_H (log p + H))
        logp.add_(entropy[:, None]).mul_(for_entropy[:, None]).add_(for_logp[:, None])
        grad = logp.mul_(mass).neg_()
        row = ((target >= 0) & (target < logits.shape[1])).nonzero()[:, 0]
        grad[row, target[row]] += for_logp[row]
        return grad


def block_ops(hidden: Tensor) -> BlockOps:
    """The operations for a tensor's device; the switch is `linear_logprob`'s plain twin."""
    if hidden.is_cuda and find_spec("triton") is not None:
        from harness.kernels.blocks_triton import TritonOps

        return TritonOps()
    return TorchOps()
