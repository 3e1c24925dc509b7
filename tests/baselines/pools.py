"""Pools of questions with chosen vote shares, for methods that select."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tiny

from harness.grading.votes import Tally
from harness.methods import HookContext, Pool

Embed = Callable[[Sequence[str]], Any]


def make(
    votes: Sequence[float],
    *,
    unlabelled: Sequence[int] = (),
    questions: Sequence[str] | None = None,
    surprisal: Sequence[float] | None = None,
) -> Pool:
    """A pool of questions ``q0 q1 ...`` labelled ``0 1 ...`` with these majorities out of 10."""
    n = len(votes)
    tallies = [
        Tally(None if i in unlabelled else str(i), v / 10, (0,) * int(v), int(v))
        for i, v in enumerate(votes)
    ]
    return Pool(
        list(questions) if questions is not None else [f"q{i}" for i in range(n)],
        tallies,
        [None] * n,
        np.array(surprisal if surprisal is not None else [0.0] * n),
    )


def context(*, min_survivors: int = 1, embed: Embed | None = None, **changes: Any) -> HookContext:
    """The context that ``select`` gets, on the ladder with another ``min_survivors``."""
    ctx = tiny.make_context(role="solver", phase="label", **changes)
    curriculum = ctx.config.curriculum.model_copy(update={"min_survivors": min_survivors})
    ctx.config = ctx.config.model_copy(update={"curriculum": curriculum})
    if embed is not None:
        ctx.embed = embed
    return ctx


def places(table: dict[str, Sequence[float]]) -> Embed:
    """An embedder that looks its unit rows up."""
    return lambda texts: np.array([table[t] for t in texts], dtype=np.float32)
