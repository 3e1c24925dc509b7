"""The weights in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.config.schema import StageConfig, TrainingConfig
from harness.learner.adapters import adapt, merged, without_adapters
from harness.learner.base import Grads, Part, Source, backpropagate, leaves
from harness.learner.core import Core, Masters, put, recomputing, trainable
from harness.learner.files import ADAPTERS, MASTERS, OPTIMIZER, read_own
from harness.policy import Policy, Scores, TokenBatch
from harness.support import Support


class LocalLearner:
    """Trains the policy's own model, or, with LoRA, adapters on a copy that is merged into it.

    A bfloat16 model is trained through float32 copies of its weights.

    Args:
        policy: what is trained.
        stage: learning rate and weight decay.
        training: how.
        seed: of the adapters' first values.
    """

    width = 1
    redoes = True

    def __init__(
        self, policy: Policy, stage: StageConfig, training: TrainingConfig, seed: int
    ) -> None:
        self.policy = policy
        self._training = training
        self.reference = Policy(copy.deepcopy(policy.model), policy.tokenizer)
        self.reference.model.requires_grad_(False)
        self._masters: Masters | None = None
        if training.lora is not None:
            # The copy is the reference, too: it is the initial model while its adapters are off.
            adapt(self.reference.model, training.lora, seed)
            self.trained = self.reference
            weights = trainable(self.trained.model)
        else:
            self.trained = policy
            weights = dict(policy.model.named_parameters())
            if policy.model.dtype == torch.bfloat16:
                self._masters = Masters(policy.model)
                weights = dict(self._masters.copies)
        self._core = Core(weights, stage.lr, stage.weight_decay)
        self._pending: list[Scores] = []

    def score(
        self,
        parts: Sequence[TokenBatch],
        source: Source = "policy",
        *,
        full_support: bool = False,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Scores]:
        policy = self.trained if source == "policy" else self.reference
        plain = source == "reference" and self._training.lora is not None
        with torch.no_grad(), without_adapters(policy.model) if plain else nullcontext():
            return [policy.score(p, full_support=full_support, extra=extra) for p in parts]

    def support(self, part: TokenBatch) -> Support:
        return self.trained.support(part)

    def forward(self, parts: Sequence[Part]) -> list[Scores]:
        with recomputing(self.trained.model, self._training.gradient_checkpointing):
            self._pending = [self.trained.score(part, candidates=c) for part, c in parts]
        return [leaves(scores) for scores in self._pending]

    def backward(self, grads: Sequence[Grads]) -> None:
        pending, self._pending = self._pending, []
        for scores, given in zip(pending, grads, strict=True):
            backpropagate(scores, given)

    def zero_grad(self) -> None:
        self._pending = []
        self._core.zero_grad()

    def step(self, divide_by: float, max_norm: float) -> float | None:
        norm = self._core.step(divide_by, max_norm)
        if self._masters is not None:
            self._masters.write()
        return norm

    def sync(self) -> None:
        if self._training.lora is None:
            return
        own = dict(self.policy.model.named_parameters())
        for name, weight in merged(self.trained.model):
            put(own[name], weight)

    def save(self, folder: Path) -> None:
        save_file({k: v.contiguous() for k, v in self._core.state()}, folder / OPTIMIZER)
        name = ADAPTERS if self._training.lora else MASTERS if self._masters else None
        if name is not None:
            weights = {k: v.detach().contiguous() for k, v in self._core.weights.items()}
            save_file(weights, folder / name)

    def load(self, folder: Path) -> bool:
        own = read_own(folder, lora=self._training.lora is not None)
        for name, value in (own or {}).items():
            put(self._core.weights[name], value)
        if own is None and self._masters is not None:
            self._masters.read()
        updated = self._core.load_state(load_file(folder / OPTIMIZER))
        self.sync()
        return updated

    def close(self) -> None:
        self.zero_grad()
        if self._masters is not None:
            self._masters.close()
