"""A curriculum in which the questions outside the biggest cluster weigh more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from baselines._selection import chosen, clusters
from harness.diversity.semantic import unit_rows
from harness.methods import Curriculum, HookContext, Method, MethodParams, Pool, register


@register("rare_cluster_upsampling")
class RareClusterUpsampling(Method):
    """w(q) = factor outside the biggest of k clusters of the window's embeddings, 1 inside.

    A control of our own: the simplest remedy once one kind of question fills the curriculum, and
    the proposer is left as it is. Weights are repeats; below ``curriculum.min_survivors`` different
    questions nothing is repeated, so that repeats never stand in for questions that are missing.

    Equation: Ward clusters of unit embeddings; row q occurs factor^[cluster(q) != biggest] times.
    Defaults: k = 8, factor 2; ours.
    Hook: ``select``, on the solver's labelled pool.
    Unconfirmed: nothing is claimed of a paper.
    """

    off: ClassVar[Mapping[str, Any]] = {"factor": 1}

    class Params(MethodParams):
        k: int = Field(8, ge=2, description="clusters")
        factor: int = Field(
            2, ge=1, le=100, description="how often a question outside the biggest cluster occurs"
        )

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        n = len(curriculum.index)
        if self.params.factor == 1 or n < max(2, ctx.config.curriculum.min_survivors):
            return curriculum
        rows = unit_rows(ctx.embed([pool.questions[i] for i in curriculum.index]))
        labels = clusters(rows, self.params.k)
        rare = curriculum.index[labels != np.bincount(labels).argmax()]
        repeats = np.repeat(rare, self.params.factor - 1)
        return chosen(ctx, curriculum, np.concatenate([curriculum.index, repeats]))
