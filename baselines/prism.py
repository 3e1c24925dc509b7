"""A stand-in for Prism (arXiv 2603.13309), whose equations are not known here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.cluster.vq import kmeans2

from baselines._rewards import (
    WORTH,
    Array,
    Index,
    changed,
    embeddings,
    questions_of,
    replaced,
    spread,
    valid_rows,
)
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


@register("prism")
class Prism(Method):
    """Stand-in for Prism: r = 1[low <= p <= high] / sqrt(1 + n_c), n_c how often cell c was asked.

    Equation: persistent coverage over a partition of the embedding space with a gate on the zone
        of proximal development (arXiv 2603.13309), in place of R-Zero's uncertainty and
        repetition; invalid questions as in R-Zero; ``weight`` mixes. Cells are those of k-means on
        the run's first valid questions, fixed from then on. After every step
        n_c <- decay * n_c + valid questions in c. In a run's first step all cells are even.
    Defaults: none published.
    Hook: `reward`, `on_step_end`, proposer, training. State: centroids and counts.
    Unconfirmed: everything but the two ideas: equation, cells 32, decay 0.99, window 1/4 to 3/4.
        The paper's questioner starts from the solver, which this does not do.
    """

    paper = "2603.13309"
    off: ClassVar = {"weight": 0.0}

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, le=1, description="0 is R-Zero's reward")
        cells: int = Field(32, ge=1, le=512, description="parts of the embedding space")
        decay: float = Field(0.99, ge=0, le=1, description="of the counts, per step")
        low: float = Field(0.25, ge=0, le=1, description="least p_hat with a reward")
        high: float = Field(0.75, ge=0, le=1, description="highest p_hat with a reward")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._centroids: Array = np.zeros((0, 0))
        self._counts: Array = np.zeros(0)
        self._seen: Array = np.zeros(0)
        """Valid questions per cell in the step under way."""

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        p = self.params
        if ctx.role != "proposer" or p.weight == 0:
            return rewards
        rows = valid_rows(batch)
        value = np.zeros(len(rows))
        if len(rows):
            cell = self._cells(ctx, embeddings(ctx, questions_of(batch, rows)))
            self._seen += np.bincount(cell, minlength=len(self._seen))
            p_hat = batch.p_hat[rows]
            inside = (p_hat >= p.low - 1e-9) & (p_hat <= p.high + 1e-9)
            value = np.where(inside, 1.0 / np.sqrt(1.0 + self._counts[cell]), 0.0)
        parts = {"coverage": spread(value, rows, len(batch))}
        found = replaced(rewards, parts, p.weight, WORTH)
        ctx.count("rewards_changed", changed(rewards, found))
        return found

    def _cells(self, ctx: HookContext, unit: Array) -> Index:
        """The cell of each unit row [n, d]; the first questions of a run make the cells."""
        if not len(self._centroids):
            distinct = len(np.unique(unit.round(6), axis=0))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # an empty cell is no harm
                self._centroids, _ = kmeans2(
                    unit,
                    min(self.params.cells, distinct),
                    iter=25,
                    minit="++",
                    rng=ctx.stream("prism"),
                )
            self._counts = np.zeros(len(self._centroids))
            self._seen = np.zeros(len(self._centroids))
        distance = (self._centroids**2).sum(axis=1) - 2.0 * unit @ self._centroids.T
        nearest: Index = distance.argmin(axis=1)
        return nearest

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        if ctx.role == "proposer":
            self._counts = self.params.decay * self._counts + self._seen
            self._seen = np.zeros(len(self._counts))

    def state_dict(self) -> dict[str, Any]:
        return {"centroids": self._centroids.tolist(), "counts": self._counts.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        centroids = state["centroids"]
        self._centroids = np.array(centroids, dtype=np.float64) if centroids else np.zeros((0, 0))
        self._counts = np.array(state["counts"], dtype=np.float64)
        self._seen = np.zeros(len(self._counts))
