"""A curriculum of the questions that were least expected of the proposer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from baselines._selection import best_share
from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register


@register("surprisal_select")
class SurprisalSelect(Method):
    """Keep the share of the window with the highest mean_t -log pi_proposer(y_t).

    A control of our own: what a proposer rarely writes is the cheapest notion of novelty there is,
    with no embedder and no archive. The mean runs over all tokens of the response that held the
    question, so that length doesn't decide.

    Equation: s(q) = -(1/T) sum_t log pi(y_t | y_<t) in nats; keep the round(share n) largest s.
    Defaults: share .5, ours.
    Hook: ``select``, on the solver's labelled pool.
    Unconfirmed: nothing is claimed of a paper; a high surprisal is also what nonsense has.
    """

    off: ClassVar[Mapping[str, Any]] = {"share": 1.0}

    class Params(MethodParams):
        share: float = Field(0.5, gt=0, le=1, description="of the window's questions; 1: all")

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        if self.params.share == 1:
            return curriculum
        return best_share(ctx, curriculum, pool.surprisal[curriculum.index], self.params.share)
