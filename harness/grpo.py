"""GRPO as R-Zero uses it: advantages and token losses, as plain functions of tensors.

Shapes: R rows, T response tokens, K advantage channels (1 but for blended methods).
Source: R-Zero (arXiv 2508.05004, EasyR1's core algorithms); GRPO arXiv 2402.03300; dual clip
arXiv 1912.09729; asymmetric clip arXiv 2503.14476; k3 estimator: http://joschu.net/blog/kl-approx.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]
_EPS = 1e-6


@dataclass
class Coefficients:
    """What schedules and adaptive methods may change between steps."""

    clip_low: float
    clip_high: float
    dual_clip: float
    kl: float
    entropy: float = 0.0


@dataclass
class TokenInputs:
    """What a token loss sees of m rows. float32 [m, T] unless stated."""

    logp: Tensor
    old: Tensor
    ref: Tensor
    entropy: Tensor
    mask: Tensor
    """bool [m, T]: response tokens."""
    advantages: Tensor
    """[K, m, T]"""
    blend: Tensor
    """[K, m], weights of the channels; sums to 1 over K."""
    response_ids: Tensor
    """long [m, T]"""
    coefficients: Coefficients
    stats: dict[str, Tensor] = field(default_factory=dict)
    """what `Method.token_stats` returned, cut to these rows."""

    @property
    def ratio(self) -> Tensor:
        """exp(logp - old), [m, T]."""
        return (self.logp - self.old).clamp(-20.0, 20.0).exp()


@dataclass
class TokenLoss:
    """A loss [m, T] and the weights [m, T] that its mean is taken with."""

    loss: Tensor
    denominator: Tensor


def group_advantages(rewards: Array, group_id: Sequence[int]) -> tuple[Array, int]:
    """(r - mean) / (std + 1e-6) within each group, std with ddof 1.

    A group without variance has nothing to teach: its advantages are exactly 0.

    Args:
        rewards: [R].
        group_id: [R].

    Returns:
        advantages [R] and the number of groups without variance.
    """
    groups = np.asarray(group_id)
    advantages = np.zeros(len(rewards))
    flat = 0
    for group in np.unique(groups):
        rows = groups == group
        r = rewards[rows]
        if len(r) < 2 or np.ptp(r) <= 1e-12:
            flat += 1
            continue
        advantages[rows] = (r - r.mean()) / (r.std(ddof=1) + _EPS)
    return advantages, flat


def k3(ref: Tensor, logp: Tensor) -> Tensor:
    """The low-variance estimate of KL(policy || reference) per token, clamped to 10."""
    d = (ref - logp).clamp(-20.0, 20.0)
    return (d.exp() - d - 1.0).clamp(-10.0, 10.0)


def ppo_loss(ratio: Tensor, advantage: Tensor, c: Coefficients) -> Tensor:
    """The clipped policy loss with the dual clip for negative advantages, [m, T]."""
    plain = -advantage * ratio
    clipped = -advantage * ratio.clamp(1.0 - c.clip_low, 1.0 + c.clip_high)
    loss = torch.maximum(plain, clipped)
    return torch.where(advantage < 0, torch.minimum(loss, -advantage * c.dual_clip), loss)


def clipped_tokens(ratio: Tensor, advantage: Tensor, c: Coefficients) -> Tensor:
    """Which tokens [m, T] the clip takes out of the gradient."""
    high = (advantage > 0) & (ratio > 1.0 + c.clip_high)
    low = (advantage < 0) & (ratio < 1.0 - c.clip_low)
    return high | low


def base_token_loss(x: TokenInputs) -> TokenLoss:
    """R-Zero's token loss: blended clipped policy losses + kl * k3 - entropy bonus."""
    ratio = x.ratio
    loss = torch.zeros_like(x.logp)
    for advantage, weight in zip(x.advantages, x.blend, strict=True):
        loss = loss + weight[:, None] * ppo_loss(ratio, advantage, x.coefficients)
    if x.coefficients.kl:
        loss = loss + x.coefficients.kl * k3(x.ref, x.logp)
    if x.coefficients.entropy:
        loss = loss - x.coefficients.entropy * x.entropy
    return TokenLoss(loss, x.mask.float())
