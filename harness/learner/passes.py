"""Passes over the tokens of a step, a few rows at a time, with less where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from harness.errors import RunFailedError
from harness.learner.base import Learner, Source, out_of_memory
from harness.microbatches import MicroLimit
from harness.policy import TokenBatch
from harness.support import Support

SCAN = 4
"""Micro-batches that are read at once where no gradient is kept."""

T = TypeVar("T")


class Passes:
    """Splits rows into micro-batches and gives them to a learner.

    Args:
        learner: what reads them.
        limit: the size of a micro-batch.

    Attributes:
        halved: whether memory ran out once, so that the limit is half of what it was.
    """

    def __init__(self, learner: Learner, limit: MicroLimit) -> None:
        self.learner = learner
        self.limit = limit
        self.halved = False

    def scan(
        self,
        source: Source,
        tokens: TokenBatch,
        *,
        full_support: bool = False,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-prob and entropy [R, T] without gradient."""
        logp = torch.zeros(tokens.response_mask.shape)
        entropy = torch.zeros_like(logp)

        def scan() -> None:
            pieces = self.split(tokens, tokens.arranged(torch.arange(len(tokens))), SCAN)
            for group in self.rounds(pieces):
                parts = [tokens.rows(rows) for rows in group]
                found = self.learner.score(parts, source, full_support=full_support, extra=extra)
                for rows, scores in zip(group, found, strict=True):
                    width = scores.logp.shape[1]
                    logp[rows, :width] = scores.logp.cpu()
                    entropy[rows, :width] = scores.entropy.cpu()

        self.fitting(scan)
        return logp, entropy

    def support(self, tokens: TokenBatch) -> Support:
        """What the rollouts' rule left of the vocabulary."""

        def supports() -> list[Support]:
            parts = self.split(tokens, torch.arange(len(tokens)))
            return [self.learner.support(tokens.rows(rows)) for rows in parts]

        return Support.join(self.fitting(supports))

    def split(self, tokens: TokenBatch, rows: Tensor, factor: int = 1) -> list[Tensor]:
        """Rows (long [m]) in micro-batches, or in pieces ``factor`` times as large."""
        prompts = [len(tokens.prompt_ids[i]) for i in rows.tolist()]
        responses = tokens.response_mask[rows].sum(dim=1).tolist()
        parts = self.limit.times(factor).split(prompts, responses)
        return [rows[part.start : part.stop] for part in parts]

    def rounds(self, parts: list[Tensor]) -> list[list[Tensor]]:
        """Micro-batches, as many at a time as the learner takes."""
        width = self.learner.width
        return [parts[i : i + width] for i in range(0, len(parts), width)]

    def halve(self) -> None:
        """Take half as much from now on."""
        self.halved, self.limit = True, self.limit.halved() or self.limit

    def fitting(self, work: Callable[[], T]) -> T:
        """Do it; where memory runs out for the first time, again with half as much.

        Raises:
            RunFailedError: memory ran out again, or can't be asked for less.
        """
        while True:
            try:
                return work()
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if self.halved or not self.learner.redoes or self.limit.halved() is None:
                    raise RunFailedError(
                        f"out of memory at {self.limit}; lower micro_rows or training.micro_tokens,"
                        " set training.gradient_checkpointing, or raise training.processes"
                    ) from error
            # Only out here is what the failed pass held gone with its error.
            self.halve()
            self.learner.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
