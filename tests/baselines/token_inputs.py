"""A few tokens' worth of what a token loss sees, from plain lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.grpo import Coefficients, TokenInputs, TokenLoss, base_token_loss
from harness.methods import HookContext, Method

BASE = Coefficients(clip_low=0.2, clip_high=0.3, dual_clip=3.0, kl=0.01)
"""The baseline's."""
Rows = Sequence[Sequence[float]]


def make_inputs(
    logp: Rows,
    advantage: Rows,
    *,
    old: Rows | None = None,
    ref: Rows | None = None,
    entropy: Rows | None = None,
    mask: Rows | None = None,
    stats: dict[str, Rows] | None = None,
    **coefficients: float,
) -> TokenInputs:
    """[m, T] of each; old and ref are logp where not given. logp is a leaf with a gradient."""
    leaf = torch.tensor(logp, requires_grad=True)

    def rows(value: Rows | None, default: Tensor) -> Tensor:
        return default.clone() if value is None else torch.tensor(value)

    now = leaf.detach()
    return TokenInputs(
        logp=leaf,
        old=rows(old, now),
        ref=rows(ref, now),
        entropy=rows(entropy, torch.ones_like(now)),
        mask=rows(mask, torch.ones_like(now)).bool(),
        advantages=torch.tensor([advantage]),
        blend=torch.ones(1, len(now)),
        response_ids=torch.zeros(now.shape, dtype=torch.long),
        coefficients=replace(BASE, **{"kl": 0.0, **coefficients}),
        stats={name: torch.tensor(value) for name, value in (stats or {}).items()},
        place=(0, 0, 0),
    )


def micro_batches(step: TokenInputs, minibatches: Sequence[Sequence[Sequence[int]]]) -> list[Any]:
    """A step's micro-batches: [minibatch][micro-batch][row] -> their inputs, in that order."""
    whole = replace(step, logp=step.logp.detach(), place=())
    parts = []
    for i, micros in enumerate(minibatches):
        mini = torch.tensor([row for micro in micros for row in micro])
        for j, micro in enumerate(micros):
            part = whole.cut(torch.tensor(micro))
            part = replace(
                part, rows=torch.tensor(micro), minibatch=mini, step=whole, place=(0, i, j)
            )
            parts.append(part)
    return parts


def loss_of(method: Method, ctx: HookContext, x: TokenInputs) -> TokenLoss:
    """The method's token loss on top of the baseline's."""
    return method.token_loss(ctx, x, base_token_loss(x))


def gradient_of(method: Method, ctx: HookContext, x: TokenInputs) -> Tensor:
    """d(sum of the losses) / d logp, [m, T]."""
    x.logp.grad = None
    result = loss_of(method, ctx, x)
    (result.loss * result.denominator).sum().backward()
    assert x.logp.grad is not None
    return x.logp.grad


def is_untouched(method: Method, ctx: HookContext, x: TokenInputs) -> bool:
    """Whether coefficients and loss are the very objects that were given."""
    given = base_token_loss(x)
    same = method.coefficients(ctx, BASE) is BASE
    return same and method.token_loss(ctx, x, given) is given and not any(ctx.counts.values())
