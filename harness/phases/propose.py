"""Phase 1: the proposer is trained against the frozen solver."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.engines.base import Engine
from harness.grading.votes import Tally
from harness.ledger import Ledger
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch
from harness.phases.rollouts import Prompt, StepRollouts
from harness.phases.stage import Stage
from harness.phases.workbench import Votes, Workbench, vote
from harness.policy import Policy
from harness.repetition import bleu_cluster_share
from harness.roles import parse_proposal, proposer_messages, proposer_reward, special_tokens


def train_proposer(
    bench: Workbench, t: int, proposer: Policy, solvers: Sequence[Policy]
) -> dict[str, float]:
    """GRPO on the proposer, in place.

    Args:
        solvers: those of `Method.jury`, in its order.

    Returns:
        The phase's metrics: step means and the last step's, compute included.
    """
    jury = [bench.engine(solver) for solver in solvers]
    with Stage(bench, "proposer", t, proposer) as stage:
        for ctx in stage.steps():
            rollouts = StepRollouts(
                bench,
                ctx,
                stage,
                lambda n, _: [Prompt(proposer_messages(bench.config.roles))] * n,
                lambda batch: score(bench, ctx, jury, batch, stage.ledger),  # noqa: B023
            )
            stage.update(ctx, rollouts.batch())
    return stage.metrics()


def score(
    bench: Workbench, ctx: HookContext, jury: Sequence[Engine], batch: RolloutBatch, ledger: Ledger
) -> RolloutBatch:
    """Parse the proposals, let the solvers vote on the valid ones, and reward them all."""
    special = special_tokens(bench.tokenizer)
    batch.proposals = [parse_proposal(x, bench.config.roles, special) for x in batch.texts]
    asked = [i for i, p in enumerate(batch.proposals) if p.valid]
    questions = [str(batch.proposals[i].question) for i in asked]
    vote_ctx = bench.context("solver", "vote", ctx.iteration, ctx.step)
    votes = [
        vote(bench, vote_ctx, solver, questions, ledger, f"juror{k}" if k else "rows")
        for k, solver in enumerate(jury)
    ]
    _record(batch, asked, votes)
    share = np.zeros(len(batch))
    if asked:
        # The share is of the whole batch, so that invalid rows don't raise anyone's penalty.
        threshold = bench.config.curriculum.repetition_threshold
        share[asked] = bleu_cluster_share(questions, threshold) * (len(asked) / len(batch))
    batch.rewards = bench.method.reward(
        ctx, batch, proposer_reward(batch.valid, batch.p_hat, share)
    )
    return batch


def _record(batch: RolloutBatch, asked: Sequence[int], votes: Sequence[Votes]) -> None:
    """Each row's votes and a solution; none where it asks nothing."""
    place = {row: i for i, row in enumerate(asked)}

    def of(row: int, tallies: Sequence[Tally]) -> Tally | None:
        return tallies[place[row]] if row in place else None

    rows = range(len(batch))
    batch.jury = [[of(row, v.tallies) for v in votes] for row in rows]
    batch.tallies = [seen[0] for seen in batch.jury]
    solutions = votes[0].solutions
    batch.solutions = [solutions[place[row]] if row in place else None for row in rows]
