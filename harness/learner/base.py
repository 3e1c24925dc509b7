"""What the trainer needs of whatever holds the trainable weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from harness.policy import Scores, TokenBatch
from harness.support import Support

Source = Literal["policy", "reference"]
"""The policy as it is, or as it was when the stage began."""
Part = tuple[TokenBatch, Tensor | None]
"""Rows of one micro-batch and the candidates [m, T, C] to score in it."""


@dataclass(frozen=True)
class Grads:
    """The loss' gradient in what `Learner.forward` gave for one micro-batch; None: none.

    Attributes:
        logp, entropy: [m, T].
        candidates: [m, T, C].
    """

    logp: Tensor | None
    entropy: Tensor | None
    candidates: Tensor | None = None

    @classmethod
    def of(cls, scores: Scores) -> Grads:
        """The gradients that a backward pass left in leaves."""
        named = scores.candidates
        return cls(scores.logp.grad, scores.entropy.grad, None if named is None else named.grad)


class Learner(Protocol):
    """Weights, gradient and optimiser of one stage.

    A loss is computed by the caller from what `forward` returns, so that a method's hooks run in
    one process whatever holds the weights; its gradient in those values comes back by `backward`.
    """

    width: int
    """Micro-batches of one `forward`, `backward` or `score`."""
    redoes: bool
    """Whether a pass that ran out of memory may be tried again."""

    def score(
        self,
        parts: Sequence[TokenBatch],
        source: Source = "policy",
        *,
        full_support: bool = False,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Scores]:
        """`Policy.score` of up to `width` parts, without gradient."""
        ...

    def support(self, part: TokenBatch) -> Support:
        """`Policy.support`."""
        ...

    def forward(self, parts: Sequence[Part]) -> list[Scores]:
        """Scores of up to `width` micro-batches, each a leaf that takes a gradient."""
        ...

    def backward(self, grads: Sequence[Grads]) -> None:
        """Add the gradient of the last `forward`'s micro-batches."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradient, and a `forward` that had no `backward`."""
        ...

    def step(self, divide_by: float, max_norm: float) -> float | None:
        """Divide the gradient, clip it and update the weights.

        Returns:
            Its norm before it is clipped; None where there is no gradient. If the norm isn't
            finite, the weights stay as they are.
        """
        ...

    def sync(self) -> None:
        """Write the weights into the policy's own model, where engines and checkpoints see them."""
        ...

    def save(self, folder: Path) -> None:
        """Write what the policy's own folder doesn't hold."""
        ...

    def load(self, folder: Path) -> bool:
        """Take it back; the folder's ``policy`` is in the policy's own model already.

        Returns:
            Whether it was saved after an update.
        """
        ...

    def close(self) -> None:
        """Let go of all but the policy. May be called twice."""
        ...


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the host's allocator."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "not enough memory" in text or "can't allocate memory" in text
    )


def leaf(value: Tensor) -> Tensor:
    """The same values, where a gradient can be left."""
    return value.detach().requires_grad_()


def leaves(scores: Scores) -> Scores:
    """Scores as leaves."""
    named = scores.candidates
    return Scores(leaf(scores.logp), leaf(scores.entropy), None if named is None else leaf(named))


def backpropagate(scores: Scores, grads: Grads) -> None:
    """Run the backward pass of one micro-batch from the gradient in its scores."""
    pairs = [
        (value, grad)
        for value, grad in (
            (scores.logp, grads.logp),
            (scores.entropy, grads.entropy),
            (scores.candidates, grads.candidates),
        )
        if value is not None and grad is not None
    ]
    if pairs:
        outputs, given = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, given)
