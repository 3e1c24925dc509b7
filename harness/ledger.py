"""What a run computed: tokens by role and purpose, and model FLOPs. Deterministic; no seconds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from harness.engines.base import Rollouts


@dataclass
class Ledger:
    """Counts tokens; FLOPs are the usual 2 P per token forward and 4 P backward.

    Attributes:
        parameters: P of the model.
        tokens: tokens by ``role/purpose``.
    """

    parameters: int
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    flops: float = 0.0

    def generated(self, role: str, purpose: str, rollouts: Rollouts) -> None:
        """Count sampled tokens; each distinct prompt is read once."""
        new = int(rollouts.response_mask.sum())
        read = sum(len(p) for p in {tuple(p) for p in rollouts.prompt_ids})
        self.tokens[f"{role}/{purpose}"] += new
        self.flops += 2.0 * self.parameters * (new + read)

    def trained(self, role: str, tokens: int, forwards: int, backwards: int) -> None:
        """Count tokens (prompts included) that went through the trainer."""
        self.tokens[f"{role}/trained"] += tokens
        self.flops += self.parameters * tokens * (2.0 * forwards + 4.0 * backwards)

    def measured(self, role: str, tokens: int) -> None:
        """Count tokens (prompts included) that a policy only read."""
        self.tokens[f"{role}/measured"] += tokens
        self.flops += 2.0 * self.parameters * tokens

    def metrics(self) -> dict[str, float]:
        """Flat ``compute/...`` metrics."""
        named = {f"compute/{k}/tokens": float(v) for k, v in sorted(self.tokens.items())}
        return {**named, "compute/flops": self.flops}
