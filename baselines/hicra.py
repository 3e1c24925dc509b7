"""HICRA (arXiv 2509.03646): tokens of strategic phrases get more credit and less blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from baselines._shared import Roles, plays
from harness.masks import special_ids
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@register("hicra")
class Hicra(Method):
    """A'_t = A_t + alpha |A_t| for tokens t inside strategic n-grams.

    Equation: a gram is strategic if it is common across responses, low <= df / N <= high, and
    sparse within one, occurrences / df <= repeats (N responses seen so far, df those that hold it).
    Defaults: alpha = .2 (arXiv 2509.03646, by a third-party account; no public code).
    Hook: `advantage`; solver, phase train. State: the gram dictionary of each role.
    Unconfirmed: alpha, n, the band and the limit of repeats. Our adaptation: token n-grams mined
    on-line from the role's own responses, special tokens excluded; the upper end of the band leaves
    out what nearly every response spells (its format); the paper's semantic clustering of grams is
    left out. Only the `kept` most frequent grams are remembered from step to step, so one that
    comes back after being dropped starts again from 0.
    """

    paper = "2509.03646"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 0.0}

    class Params(MethodParams):
        alpha: float = Field(0.2, ge=0, description="amplification; unconfirmed")
        n_min: int = Field(3, ge=1, le=16, description="shortest gram, tokens")
        n_max: int = Field(5, ge=1, le=16, description="longest gram, tokens")
        low: float = Field(0.05, ge=0, le=1, description="least share of responses")
        high: float = Field(0.5, ge=0, le=1, description="largest share of responses")
        repeats: float = Field(1.5, ge=1, description="mean occurrences per holding response")
        kept: int = Field(4096, ge=1, description="grams remembered")
        role: Roles = "solver"

        @model_validator(mode="after")
        def _ordered(self) -> Hicra.Params:
            if self.n_min > self.n_max or self.low > self.high:
                raise ValueError("n_min must not be above n_max, nor low above high")
            return self

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self.responses: dict[str, int] = {}
        self.grams: dict[str, dict[str, list[int]]] = {}

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not plays(self.params.role, ctx) or not self.params.alpha:
            return advantages, blend
        marks = torch.as_tensor(self.mine(ctx, batch))
        ctx.count("tokens_amplified", int((marks & (advantages != 0).any(dim=0)).sum()))
        return advantages + self.params.alpha * advantages.abs() * marks[None], blend

    def mine(self, ctx: HookContext, batch: RolloutBatch) -> Bools:
        """Take the batch into the dictionary; bool [R, T]: its tokens in strategic grams."""
        p, mask = self.params, batch.tokens.response_mask.cpu().numpy()
        ids = batch.tokens.response_ids.cpu().numpy()
        plain = mask & ~np.isin(ids, sorted(special_ids(ctx.tokenizer)))
        known = self.grams.setdefault(ctx.role, {})
        self.responses[ctx.role] = self.responses.get(ctx.role, 0) + len(batch)
        marks = np.zeros(mask.shape, dtype=bool)
        found = [g for n in range(p.n_min, p.n_max + 1) if (g := _Grams(ids, plain, n)).total]
        for grams in found:
            # A gram of a single response is no phrase yet, unless it is known from before.
            for i, name in enumerate(grams.names):
                if grams.df[i] > 1 or name in known:
                    old = known.get(name, [0, 0])
                    known[name] = [old[0] + int(grams.df[i]), old[1] + int(grams.occurrences[i])]
        for grams in found:
            grams.mark(marks, [self.strategic(ctx.role, name) for name in grams.names])
        if len(known) > p.kept:
            ranked = sorted(known.items(), key=lambda item: (-item[1][0], item[0]))
            self.grams[ctx.role] = dict(ranked[: p.kept])
        return marks

    def strategic(self, role: str, gram: str) -> bool:
        """Whether a gram (token ids joined by spaces) is common across, and sparse within."""
        df, occurrences = self.grams.get(role, {}).get(gram, [0, 0])
        if df < 2 or occurrences > self.params.repeats * df:
            return False
        share = df / self.responses[role]
        return bool(self.params.low <= share <= self.params.high)

    def state_dict(self) -> dict[str, Any]:
        return {
            "responses": dict(self.responses),
            "grams": {r: dict(g) for r, g in self.grams.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.responses = dict(state["responses"])
        self.grams = {r: {k: list(v) for k, v in g.items()} for r, g in state["grams"].items()}


class _Grams:
    """The token n-grams of one length in R responses: names, df and occurrences [U]."""

    def __init__(self, ids: Ints, usable: Bools, n: int) -> None:
        self.n = n
        self.total = 0
        if ids.shape[1] < n:
            return
        windows = np.lib.stride_tricks.sliding_window_view(ids, n, axis=1)
        whole = np.lib.stride_tricks.sliding_window_view(usable, n, axis=1).all(axis=2)
        self.row, self.start = np.nonzero(whole)
        self.total = len(self.row)
        if not self.total:
            return
        unique, inverse = np.unique(windows[whole], axis=0, return_inverse=True)
        self.gram: Ints = inverse.reshape(-1)
        self.names: Sequence[str] = [" ".join(map(str, row)) for row in unique.tolist()]
        self.occurrences = np.bincount(self.gram, minlength=len(unique))
        in_row = np.unique(self.gram * len(ids) + self.row) // len(ids)
        self.df = np.bincount(in_row, minlength=len(unique))

    def mark(self, marks: Bools, chosen: Sequence[bool]) -> None:
        """Set the tokens of the chosen grams in ``marks`` [R, T]."""
        hit = np.asarray(chosen, dtype=bool)[self.gram]
        for offset in range(self.n):
            marks[self.row[hit], self.start[hit] + offset] = True
