"""Trainable weights with their gradient and optimiser, whole or as one process' shard of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.errors import HarnessError


def whole(value: Tensor) -> Tensor:
    """The full tensor; of a shard, gathered from all processes, which must all ask."""
    gather = getattr(value, "full_tensor", None)  # a DTensor's; its module takes a second to import
    return value if gather is None else cast(Tensor, gather())


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A full tensor, spread as ``pattern`` is; every process gives the same."""
    if not hasattr(pattern, "device_mesh"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(pattern, DTensor)
    full = value.to(pattern.device)
    return distribute_tensor(full, pattern.device_mesh, pattern.placements, src_data_rank=None)


def put(parameter: Tensor, value: Tensor) -> None:
    """Write a full tensor into a weight."""
    with torch.no_grad():
        parameter.copy_(like(value.to(parameter.dtype), parameter))


class Core:
    """AdamW on some weights.

    Args:
        weights: what is updated, by name.
    """

    def __init__(self, weights: Mapping[str, Tensor], lr: float, weight_decay: float) -> None:
        self.weights = dict(weights)
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=lr, weight_decay=weight_decay)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, divide_by: float, max_norm: float) -> float | None:
        """As `harness.learner.base.Learner.step`."""
        held = [p for p in self.weights.values() if p.grad is not None]
        if not held:
            return None
        for p in held:
            assert p.grad is not None
            p.grad.div_(divide_by)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(held, max_norm)))
        if math.isfinite(norm):
            self.optimizer.step()
        else:
            self.zero_grad()
        return norm

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """The optimiser's state as full tensors, named ``index.key``."""
        for i, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                yield f"{i}.{key}", whole(value)

    def load_state(self, tensors: Mapping[str, Tensor]) -> bool:
        """Take back what `state` gave; whether there was any."""
        full: dict[str, Any] = {**self.optimizer.state_dict(), "state": {}}
        patterns = list(self.weights.values())
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            value = tensor if key == "step" else like(tensor, patterns[int(index)])
            full["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(full)
        return bool(full["state"])


class Masters:
    """float32 copies of a model's bfloat16 weights; they gather the gradient and are updated.

    An update of a weight by less than 1/256 of its size would be lost in bfloat16.

    Args:
        model: its weights follow the copies (`write`).
    """

    def __init__(self, model: Any) -> None:
        self._weights = dict(model.named_parameters())
        self.copies = {
            name: torch.nn.Parameter(p.detach().float()) for name, p in self._weights.items()
        }
        self._hooks = [
            p.register_post_accumulate_grad_hook(_moves_to(self.copies[name]))
            for name, p in self._weights.items()
        ]

    def write(self) -> None:
        """Round the copies into the model's own weights."""
        for name, p in self._weights.items():
            put(p, self.copies[name])

    def read(self) -> None:
        """Begin from the model's own weights."""
        for name, p in self._weights.items():
            put(self.copies[name], p.detach().float())

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _moves_to(copy: Tensor) -> Any:
    """A hook that adds a weight's gradient to its copy's, in float32, and frees it."""

    def move(p: Tensor) -> None:
        assert p.grad is not None
        grad = p.grad.float()
        copy.grad = grad if copy.grad is None else copy.grad.add_(grad)
        p.grad = None

    return move


@contextmanager
def recomputing(model: Any, on: bool) -> Iterator[None]:
    """Gradient checkpointing for the forward passes of the block, where it is ``on``.

    A layer asks itself whether it is in training mode. Only the layers are told so, not what is in
    them: dropout would change the log-probs.

    Raises:
        HarnessError: the model has no layers that can be computed again.
    """
    layers = _layers(model) if on else []
    if on and not layers:
        raise HarnessError(
            f"training.gradient_checkpointing: {type(model).__name__} has no layers that can be "
            "computed again; set it to false"
        )
    for layer in layers:
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False


def _layers(model: Any) -> list[Any]:
    """The layers that can be computed again."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


def trainable(model: Any) -> dict[str, Tensor]:
    """The weights that take a gradient, by name; tied ones once."""
    return {n: cast(Tensor, p) for n, p in model.named_parameters() if p.requires_grad}
