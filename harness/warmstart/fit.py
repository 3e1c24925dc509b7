"""Supervised fine-tuning of a policy on both roles' examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import HarnessError, RunFailedError
from harness.policy import Policy, TokenBatch
from harness.rng import stream
from harness.roles import Role
from harness.warmstart.examples import Example

ROLES: tuple[Role, ...] = ("proposer", "solver")


@dataclass(frozen=True)
class Settings:
    """How to train. One step reads at least ``batch_tokens`` tokens, prompts included.

    Attributes:
        rows: rows to train on; 0: all but the held-out ones.
        held_out: rows on which the loss is measured before and after.
        probe: responses per role sampled before and after to measure the formats; at most as many
            solver's questions as there are held-out rows. 0: none.
        micro_tokens: padded tokens per forward-backward pass; bounds memory, not the result's
            meaning.
        max_tokens: longer examples (prompt and response) are left out.
    """

    steps: int = 200
    rows: int = 0
    lr: float = 1e-4
    batch_tokens: int = 4096
    seed: int = 0
    held_out: int = 32
    probe: int = 32
    probe_tokens: int = 256
    micro_tokens: int = 1024
    max_tokens: int = 768
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "steps >= 1": self.steps >= 1,
            "rows >= 0": self.rows >= 0,
            "a finite lr > 0": 0 < self.lr < math.inf,
            "batch-tokens >= 1": self.batch_tokens >= 1,
            "seed >= 0": self.seed >= 0,
            "held-out >= 1": self.held_out >= 1,
            "probe >= 0": self.probe >= 0,
        }
        if broken := [rule for rule, holds in checks.items() if not holds]:
            raise HarnessError(f"warmstart: needs {' and '.join(broken)}")


@dataclass(frozen=True)
class Step:
    """What `fit` reports after an optimiser step; ``loss`` in nats per response token."""

    step: int
    of: int
    loss: float
    lr: float
    tokens: int


Watch = Callable[[Step], None]


def _order(examples: Sequence[Example], seed: int) -> Iterator[Example]:
    """Shuffled epochs without end."""
    epoch = 0
    while True:
        for i in stream(seed, "warmstart", "order", epoch).permutation(len(examples)):
            yield examples[int(i)]
        epoch += 1


def _micro_batches(batch: Sequence[Example], micro_tokens: int) -> list[list[Example]]:
    """A batch in parts of at most ``micro_tokens`` padded tokens (or of one row), by length."""
    parts: list[list[Example]] = []
    for example in sorted(batch, key=len):
        if parts and len(example) * (len(parts[-1]) + 1) <= micro_tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
    return parts


def _nll(policy: Policy, rows: Sequence[Example]) -> Tensor:
    """Summed negative log-likelihood of all response tokens, in nats."""
    width = max(len(r.response_ids) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.response_ids)] = torch.as_tensor(row.response_ids)
        mask[i, : len(row.response_ids)] = True
    logp, _ = policy.logprobs(TokenBatch([r.prompt_ids for r in rows], ids, mask))
    return -logp.sum()


def held_out_loss(
    policy: Policy, examples: Sequence[Example], micro_tokens: int
) -> dict[str, float]:
    """Mean negative log-likelihood per response token, by role."""
    losses: dict[str, float] = {}
    for role in ROLES:
        own = [e for e in examples if e.role == role]
        with torch.no_grad():
            total = sum(float(_nll(policy, part)) for part in _micro_batches(own, micro_tokens))
        losses[role] = total / max(1, sum(len(e.response_ids) for e in own))
    return losses


def _lr(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (settings.steps - warm)))


def fit(
    policy: Policy,
    examples: Sequence[Example],
    settings: Settings,
    watch: Watch = lambda step: None,
) -> dict[str, int]:
    """Train a policy in place; what it becomes is a function of its weights and the arguments.

    Returns:
        Tokens read, response tokens learned from, and examples seen.

    Raises:
        RunFailedError: a loss or gradient isn't finite.
    """
    parameters = list(policy.model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.95)
    )
    order = _order(examples, settings.seed)
    seen = {"tokens": 0, "response_tokens": 0, "examples": 0}
    for step in range(settings.steps):
        batch: list[Example] = []
        while sum(map(len, batch)) < settings.batch_tokens:
            batch.append(next(order))
        count = sum(len(e.response_ids) for e in batch)
        for group in optimizer.param_groups:
            group["lr"] = _lr(settings, step)
        loss = 0.0
        for part in _micro_batches(batch, settings.micro_tokens):
            nll = _nll(policy, part) / count
            nll.backward()  # type: ignore[no-untyped-call]
            loss += float(nll.detach())
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        if not math.isfinite(loss) or not bool(torch.isfinite(norm)):
            raise RunFailedError(f"warmstart: step {step + 1}: the loss is not finite; lower --lr")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen["tokens"] += sum(map(len, batch))
        seen["response_tokens"] += count
        seen["examples"] += len(batch)
        watch(Step(step + 1, settings.steps, loss, _lr(settings, step), seen["tokens"]))
    return seen
