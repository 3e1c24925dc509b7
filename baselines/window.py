"""The difficulty window of R-Zero (arXiv 2508.05004) with other bounds.

Equation: keep question q iff low <= p(q) <= high, where p is the majority's share of the votes.
Defaults: .4 to .6, ours, narrower than the paper's .25 to .75 (|p - 1/2| <= 1/4), which is the
    profile's window already and would change nothing; the paper's code has .3 to .8.
Hook: ``select``, on the solver's labelled pool.
Unconfirmed: nothing of the paper's; that a narrower window helps is a question, not a claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from baselines._selection import chosen, unexhausted
from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register

_SLACK = 1e-9
"""Vote shares are multiples of 1/M: a bound of .3 must not lose 3/10."""


@register("window")
class Window(Method):
    """low <= p <= high: the solver trains on a narrower band of difficulty than the baseline's.

    Where the band holds fewer questions than ``curriculum.min_survivors`` and the profile's window
    more, the nearest to the band among those are kept, too, so that a narrow band doesn't end the
    run.
    """

    paper = "2508.05004"
    off: ClassVar[Mapping[str, Any]] = {"low": None, "high": None}

    class Params(MethodParams):
        low: float | None = Field(0.4, ge=0, le=1, description="None: the profile's")
        high: float | None = Field(0.6, ge=0, le=1, description="None: the profile's")

        @model_validator(mode="after")
        def _is_a_window(self) -> Window.Params:
            if self.low is not None and self.high is not None and self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        low, high = self.params.low, self.params.high
        if low is None and high is None:
            return curriculum
        low = ctx.config.curriculum.window_low if low is None else low
        high = ctx.config.curriculum.window_high if high is None else high
        p = pool.p_hat
        labelled = np.array([t.answer is not None for t in pool.tallies], dtype=bool)
        distance = np.maximum(low - p, p - high)
        inside = np.flatnonzero(labelled & (distance <= _SLACK))
        spare = np.setdiff1d(curriculum.index, inside)
        k = unexhausted(ctx, len(inside) + len(spare), len(inside)) - len(inside)
        nearest = spare[np.argsort(distance[spare], kind="stable")[:k]]
        return chosen(ctx, curriculum, np.union1d(inside, nearest).astype(np.int64))
