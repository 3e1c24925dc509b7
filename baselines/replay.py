"""Replay of earlier curricula, R-Diverse's remedy for forgetting (arXiv 2602.13103)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register

Row = tuple[str, str]


@register("replay")
class Replay(Method):
    """C' = C + round(share / (1 - share) |C|) random rows of the earlier iterations' curricula.

    The bank holds the (question, label) rows that earlier iterations selected, with the labels they
    had then. A question that is in today's curriculum isn't replayed, no row is replayed twice, and
    a small bank gives fewer rows than asked. Below ``curriculum.min_survivors`` fresh questions
    nothing is replayed, so that old rows never stand in for new ones that are missing.

    Equation: replayed = min(|bank|, round(share / (1 - share) |C|)), i.e. `share` of C'.
    Defaults: share .3 (R-Diverse's solver replay share); capacity 4096 rows, reservoir; ours.
    Hook: ``select``, on the solver's labelled pool; the bank grows in ``on_iteration_end``.
    Unconfirmed: the share is known from a third-party account of arXiv 2602.13103 (its repository,
        Gengsheng-Li/R-Diverse at dfd1a74, holds no code); capacity, eviction and a uniform draw are
        our adaptation. R-Diverse's penalties are other entries' business.
    """

    paper = "2602.13103"
    off: ClassVar[Mapping[str, Any]] = {"share": 0.0}

    class Params(MethodParams):
        share: float = Field(0.3, ge=0, lt=1, description="of the curriculum that is replayed")
        capacity: int = Field(4096, ge=1, le=100_000, description="rows in the bank")
        eviction: Literal["reservoir", "fifo"] = Field(
            "reservoir",
            description="of a full bank: a uniform sample of all rows ever, or the newest",
        )

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self.bank: list[Row] = []
        self.seen = 0
        self.pending: list[Row] = []

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        share = self.params.share
        if share == 0:
            return curriculum
        fresh = {pool.questions[i]: pool.tallies[i].answer for i in curriculum.index}
        self.pending = [(question, str(answer)) for question, answer in fresh.items()]
        n = len(curriculum.index)
        rows = [row for row in self.bank if row[0] not in fresh]
        if n < ctx.config.curriculum.min_survivors or not rows:
            return curriculum
        k = min(len(rows), round(share / (1 - share) * n))
        drawn = sorted(ctx.stream("replay").choice(len(rows), k, replace=False).tolist())
        ctx.count("rows_replayed", k)
        return replace(curriculum, replay=(*curriculum.replay, *(rows[i] for i in drawn)))

    def on_iteration_end(self, ctx: HookContext, metrics: Mapping[str, float | None]) -> None:
        draw = ctx.stream("replay", "reservoir")
        for row in self.pending:
            self.seen += 1
            if len(self.bank) < self.params.capacity:
                self.bank.append(row)
            elif self.params.eviction == "fifo":
                self.bank = [*self.bank[1:], row]
            elif (place := int(draw.integers(self.seen))) < len(self.bank):
                self.bank[place] = row
        self.pending = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "bank": [list(row) for row in self.bank],
            "seen": self.seen,
            "pending": [list(row) for row in self.pending],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.bank = [(question, answer) for question, answer in state["bank"]]
        self.seen = int(state["seen"])
        self.pending = [(question, answer) for question, answer in state["pending"]]
