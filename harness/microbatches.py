"""How many rows a forward-backward pass takes: a number of rows, or a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MicroLimit:
    """The size of a micro-batch.

    Attributes:
        rows: rows of one; where ``tokens`` is given, it rules alone.
        tokens: rows x (longest prompt + longest response) of one, padding included. A row that
            is longer than that is a micro-batch by itself.
    """

    rows: int
    tokens: int | None = None

    def times(self, factor: int) -> MicroLimit:
        """A limit ``factor`` times as large."""
        return MicroLimit(self.rows * factor, self.tokens and self.tokens * factor)

    def halved(self) -> MicroLimit | None:
        """Half of it; None where it can't be halved."""
        if self.tokens is not None:
            return MicroLimit(self.rows, self.tokens // 2) if self.tokens > 1 else None
        return MicroLimit(self.rows // 2) if self.rows > 1 else None

    def split(self, prompts: Sequence[int], responses: Sequence[int]) -> list[range]:
        """Consecutive rows that fit together, as many as do; every row once.

        Args:
            prompts, responses: tokens of each row's prompt and response.
        """
        if self.tokens is None:
            n = len(prompts)
            return [range(i, min(i + self.rows, n)) for i in range(0, n, self.rows)]
        parts: list[range] = []
        first = longest_prompt = longest_response = 0
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            wide = max(longest_prompt, prompt) + max(longest_response, response)
            if i > first and (i + 1 - first) * wide > self.tokens:
                parts.append(range(first, i))
                first, longest_prompt, longest_response = i, 0, 0
            longest_prompt = max(longest_prompt, prompt)
            longest_response = max(longest_response, response)
        return [*parts, range(first, len(prompts))] if len(prompts) else []

    def __str__(self) -> str:
        return f"micro_rows={self.rows}" if self.tokens is None else f"micro_tokens={self.tokens}"
