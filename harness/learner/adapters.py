"""Low-rank adapters (LoRA, arXiv 2106.09685) on a model's linear layers, by peft."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.config.schema import LoraConfig
from harness.errors import HarnessError, one_line
from harness.learner.core import trainable, whole
from harness.rng import stream

_NAME = "default"


def adapt(model: Any, lora: LoraConfig, seed: int) -> None:
    """Put adapters into a model; they alone take a gradient, in float32.

    Their first factor is drawn from the stream of ``seed`` and the layer's name, the second is 0.

    Raises:
        HarnessError: no such layers, or layers that aren't linear.
    """
    from peft import LoraConfig as Peft
    from peft import inject_adapter_in_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    said = Peft(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0)
    try:
        with torch.random.fork_rng():  # peft draws what is drawn again below
            inject_adapter_in_model(said, model)
    except ValueError as error:
        raise HarnessError(f"training.lora.targets: {one_line(error)[:200]}") from error
    names = [name for name, layer in _layers(model) if _NAME not in layer.lora_A]
    if names:
        raise HarnessError(f"training.lora.targets: {names[0]} is not a linear layer")
    for name, p in trainable(model).items():
        p.data = p.data.float()
        if "lora_A" in name:
            bound = 1.0 / math.sqrt(p.shape[1])
            drawn = stream(seed, "lora", name).uniform(-bound, bound, tuple(p.shape))
            p.data.copy_(torch.as_tensor(drawn))


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """The model as it was before `adapt`, for the block."""
    layers = [layer for _, layer in _layers(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The adapted layers' weights with the adapters in them, by their names in a plain model."""
    for name, layer in _layers(model):
        base = whole(layer.get_base_layer().weight.detach())
        first, second = (
            whole(part[_NAME].weight.detach()) for part in (layer.lora_A, layer.lora_B)
        )
        change = layer.scaling[_NAME] * (second.float() @ first.float())
        change = change.T if layer.fan_in_fan_out else change
        yield f"{name}.weight", (base.float() + change).to(base.dtype)


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return ((n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer))
