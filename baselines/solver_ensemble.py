"""Several generations of the solver vote on the proposer's questions."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from baselines._rewards import Array, Index, changed, spread, swapped, valid_rows
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Rewards


@register("solver_ensemble")
class SolverEnsemble(Method):
    """Uncertainty over the last 3 solvers: the worst case, mean - kappa * std, or disagreement.

    Equation: u_j = min(p_j, 1 - p_j) of juror j. ``worst_case``: min_j u_j, what no solver finds
        too easy or too hard. ``uncertainty_weighted``: mean_j u_j - kappa * std_j u_j.
        ``disagreement``: peak * H / ln J, H the entropy of the J jurors' plurality answers (arXiv
        2608.30035, over different solvers); a juror without an answer disagrees with none, and
        with a single juror (a run's first iteration: the base model) R-Zero's reward stays. In
        place of R-Zero's uncertainty; its repetition penalty stays. The jurors are the solvers
        of the last ``snapshots`` iterations as far back as the base model; the first one's votes
        are p_hat, as ever.
    Defaults: snapshots 3, the number of solvers in arXiv 2608.30035.
    Hook: `jury`, `reward`, proposer, training. Votes cost ``snapshots`` times as much.
    Unconfirmed: earlier solvers as the ensemble, the first two modes, kappa and peak (our
        adaptation); peak .5 is R-Zero's highest uncertainty.
    """

    paper = "2608.30035"
    off: ClassVar = {"snapshots": 1, "mode": "worst_case"}
    active: ClassVar = {"mode": "disagreement"}

    class Params(MethodParams):
        mode: Literal["worst_case", "uncertainty_weighted", "disagreement"] = "worst_case"
        snapshots: int = Field(3, ge=1, description="solvers that vote, the latest among them")
        kappa: float = Field(1.0, ge=0, description="uncertainty_weighted: weight of the spread")
        peak: float = Field(0.5, ge=0, description="disagreement: reward of complete disagreement")

    def jury(self, ctx: HookContext, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        latest = snapshots[0]
        return tuple(range(latest, max(-1, latest - self.params.snapshots), -1))

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer":
            return rewards
        rows = valid_rows(batch)
        jurors = len(batch.jury[rows[0]]) if len(rows) else 0
        if jurors < 2:
            return rewards
        value = self._disagreement(ctx, batch, rows)
        if self.params.mode != "disagreement":
            shares = np.array([[t.p_hat for t in batch.jury[i] if t] for i in rows])
            value = self._uncertainty(np.minimum(shares, 1.0 - shares))
        found = swapped(rewards, {"uncertainty": spread(value, rows, len(batch))})
        ctx.count("questions_with_other_uncertainty", changed(rewards, found))
        return found

    def _uncertainty(self, u: Array) -> Array:
        """One value per question from those of its jurors [n, J]."""
        if self.params.mode == "worst_case":
            least: Array = u.min(axis=1)
            return least
        weighted: Array = u.mean(axis=1) - self.params.kappa * u.std(axis=1)
        return weighted

    def _disagreement(self, ctx: HookContext, batch: RolloutBatch, rows: Index) -> Array:
        """peak * H / ln J of the jurors' plurality answers, [n]."""
        answers = [[t.answer if t else None for t in batch.jury[i]] for i in rows]
        values = np.zeros(len(rows))
        for i, t in enumerate(ctx.tally(answers)):
            named = np.array([c for c in t.cluster if c >= 0], dtype=np.int64)
            if len(named):
                share = np.bincount(named) / len(named)
                values[i] = -(share * np.log(share)).sum() / np.log(len(t.cluster))
        scaled: Array = self.params.peak * values
        return scaled
