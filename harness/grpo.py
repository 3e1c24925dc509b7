"""GRPO as R-Zero uses it: advantages and token losses, as plain functions of tensors.

Shapes: R rows, T response tokens, K advantage channels (1 but for blended methods).
Source: R-Zero (arXiv 2508.05004, EasyR1's core algorithms); GRPO arXiv 2402.03300; dual clip
arXiv 1912.09729; asymmetric clip arXiv 2503.14476; k3 estimator: http://joschu.net/blog/kl-approx.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]
_EPS = 1e-6


Scope = Literal["micro", "mini", "rollout"]
"""Whose tokens a statistic is taken over: those of one forward-backward pass at their current
log-probs, or those of an optimiser update or a rollout step at the old policy's."""


@dataclass(frozen=True)
class Coefficients:
    """What a method may change from step to step."""

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
    candidate_logp: Tensor | None = None
    """[m, T, C], log-probs of what `Method.candidates` named; -inf where it named nothing."""
    rows: Tensor | None = None
    """long [m]: these rows' places in the step's batch."""
    minibatch: Tensor | None = None
    """long [n]: the rows of the optimiser update that these belong to."""
    step: TokenInputs | None = None
    """the whole step at the old policy, [R, T]."""
    place: tuple[int, ...] = ()
    """(epoch, minibatch, micro-batch), for named random streams; shorter in a wider scope."""

    def over(self, scope: Scope) -> TokenInputs:
        """The inputs that a statistic of a scope is taken over, without gradient.

        ``rows`` says which rows of the step they are.
        """
        if scope == "micro" or self.step is None or self.rows is None:
            return replace(self, logp=self.logp.detach(), entropy=self.entropy.detach())
        wide, rows, place = self.step, torch.arange(len(self.step.mask)), self.place[:1]
        if scope == "mini" and self.minibatch is not None:
            wide, rows, place = wide.cut(self.minibatch), self.minibatch, self.place[:2]
        return replace(wide, coefficients=self.coefficients, rows=rows, place=place)

    def within(self, scope: Scope, choose: Callable[[TokenInputs], Tensor]) -> Tensor:
        """Choose tokens among those of a scope; the part that falls to these rows.

        Args:
            scope: whose tokens compete.
            choose: from the scope's inputs (`over`) to bool [n, T].

        Returns:
            bool [m, T].
        """
        wide = self.over(scope)
        chosen = choose(wide)
        if wide.rows is None or self.rows is None or wide.rows is self.rows:
            return chosen & self.mask
        position = torch.full((int(wide.rows.max()) + 1,), -1, dtype=torch.long)
        position[wide.rows] = torch.arange(len(wide.rows))
        own = chosen[position[self.rows], : self.mask.shape[1]]
        return own.to(self.mask.device) & self.mask

    def cut(self, rows: Tensor) -> TokenInputs:
        """The given rows (long [n]) of a whole step."""
        per_row = ("logp", "old", "ref", "entropy", "mask", "response_ids")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in per_row},
            advantages=self.advantages[:, rows],
            blend=self.blend[:, rows],
            stats={k: v[rows] for k, v in self.stats.items()},
        )

    @property
    def advantage(self) -> Tensor:
        """The channels' blended advantage, [m, T]."""
        return (self.advantages * self.blend[:, :, None]).sum(dim=0)

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


def penalties(x: TokenInputs) -> Tensor:
    """What the loss holds beside the policy's part: kl * k3 - entropy bonus, [m, T]."""
    loss = torch.zeros_like(x.logp)
    if x.coefficients.kl:
        loss = loss + x.coefficients.kl * k3(x.ref, x.logp)
    if x.coefficients.entropy:
        loss = loss - x.coefficients.entropy * x.entropy
    return loss


def policy_loss(x: TokenInputs) -> Tensor:
    """The blended clipped policy losses of the channels, [m, T]."""
    ratio = x.ratio
    loss = torch.zeros_like(x.logp)
    for advantage, weight in zip(x.advantages, x.blend, strict=True):
        loss = loss + weight[:, None] * ppo_loss(ratio, advantage, x.coefficients)
    return loss


def base_token_loss(x: TokenInputs) -> TokenLoss:
    """R-Zero's token loss: blended clipped policy losses + kl * k3 - entropy bonus."""
    return TokenLoss(policy_loss(x) + penalties(x), x.mask.float())
