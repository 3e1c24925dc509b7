"""Unlikelihood (arXiv 1908.04319): the proposer is pushed away from earlier questions' wording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from harness.grpo import TokenInputs, TokenLoss
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register

FLOOR = 1e-5
"""Least 1 - p(c): below it the loss is flat, as in the released criterion."""
Continuations = dict[tuple[int, ...], list[int]]


@register("unlikelihood")
class Unlikelihood(Method):
    """L' = L - beta * mean_t sum_c ln(1 - p_t(c)), c: what continued an archived n-gram at t.

    Equation: L'_t = L_t - beta sum_{c in C_t} ln(1 - p(c | prefix)). C_t: the tokens that follow,
        in any question of an earlier iteration, the n - 1 tokens just before t in the response; the
        most frequent `max_candidates` of them. The policy term L_t is the baseline's.
    Defaults: beta 1, n 4 (arXiv 1908.04319 weighs its term with 1 and counts repeated 4-grams).
    Hook: `candidates` and `token_loss`, proposer training. The archive is empty in the first
        iteration, so nothing changes before the second.
    Unconfirmed: candidates from an archive instead of the sequence's own past are our adaptation,
        as is to keep the sampled token among them (`keep_sampled`; the paper's token-level
        loss leaves out its target, its sequence-level loss is on the sampled tokens); beta, n and
        the floor 1e-5 of 1 - p are from memory.
    """

    paper = "1908.04319"
    off: ClassVar[Mapping[str, Any]] = {"beta": 0.0}

    class Params(MethodParams):
        beta: float = Field(1.0, ge=0, description="weight of the term")
        n: int = Field(4, ge=2, le=32, description="tokens of an n-gram, its continuation included")
        max_candidates: int = Field(8, ge=1, le=64, description="largest C_t")
        max_questions: int = Field(20_000, ge=1, description="newest archived questions looked at")
        keep_sampled: bool = Field(True, description="the sampled token may be a candidate")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._table: tuple[tuple[int, ...], Continuations] = ((), {})

    def candidates(
        self, ctx: HookContext, batch: RolloutBatch, candidates: Tensor | None
    ) -> Tensor | None:
        p = self.params
        if ctx.role != "proposer" or not p.beta or not any(ctx.archive):
            return candidates
        table = self._continuations(ctx)
        ids, mask = batch.tokens.response_ids, batch.tokens.response_mask
        found = torch.full((*ids.shape, p.max_candidates), -1, dtype=torch.long)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            tokens = ids[row, :length].tolist()
            for t in range(p.n - 1, length):
                here = table.get(tuple(tokens[t - p.n + 1 : t]), [])
                if not p.keep_sampled:
                    here = [c for c in here if c != tokens[t]]
                found[row, t, : len(here)] = torch.as_tensor(here, dtype=torch.long)
        ctx.count("tokens_with_candidates", int((found >= 0).any(dim=2).sum()))
        return found

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        if x.candidate_logp is None or ctx.role != "proposer" or not self.params.beta:
            return loss
        rest = (1.0 - x.candidate_logp.exp()).clamp(min=FLOOR)
        return TokenLoss(loss.loss - self.params.beta * rest.log().sum(dim=2), loss.denominator)

    def _continuations(self, ctx: HookContext) -> Continuations:
        """(n - 1)-gram -> what followed it in the archive, most frequent first; once an iteration.

        Not part of the state: it is a function of the archive.
        """
        place = (ctx.iteration, *map(len, ctx.archive))
        if self._table[0] != place:
            newest = (q for texts in reversed(ctx.archive) for q in reversed(texts))
            texts = list(islice(newest, self.params.max_questions))
            ids = ctx.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._table = (place, continuations(ids, self.params.n, self.params.max_candidates))
        return self._table[1]


def continuations(sequences: Sequence[Sequence[int]], n: int, most: int) -> Continuations:
    """The ``most`` tokens that most often follow each (n - 1)-gram; ties by token id."""
    seen: dict[tuple[int, ...], Counter[int]] = {}
    for ids in sequences:
        for end in range(n - 1, len(ids)):
            seen.setdefault(tuple(ids[end - n + 1 : end]), Counter())[ids[end]] += 1
    return {
        context: sorted(counts, key=lambda c: (-counts[c], c))[:most]
        for context, counts in seen.items()
    }
