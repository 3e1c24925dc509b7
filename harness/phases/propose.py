"""Phase 1: the proposer is trained against the frozen solver."""

from __future__ import annotations

import numpy as np

from harness.engines.base import Engine, SamplingParams
from harness.ledger import Ledger
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.phases.stage import Stage
from harness.phases.workbench import Workbench, extra_rollouts, sample, vote
from harness.policy import Policy
from harness.repetition import bleu_cluster_share
from harness.roles import (
    parse_proposal,
    proposer_messages,
    proposer_reward,
    render,
    special_tokens,
)


def train_proposer(bench: Workbench, t: int, proposer: Policy, solver: Policy) -> dict[str, float]:
    """GRPO on the proposer, in place.

    Returns:
        The phase's metrics: step means and the last step's, compute included.
    """
    solver_engine = bench.engine(solver)
    stage = Stage(bench, "proposer", t, proposer)
    for ctx in stage.steps():
        batch = _rollouts(bench, ctx, stage.engine, stage.ledger)
        batch = score(bench, ctx, solver_engine, batch, stage.ledger)
        tools = _tools(bench, ctx, stage.engine, solver_engine, stage.ledger)
        stage.update(ctx, bench.method.after_rollout(ctx, batch, tools))
    return stage.metrics()


def _rollouts(bench: Workbench, ctx: HookContext, engine: Engine, ledger: Ledger) -> RolloutBatch:
    config = bench.config.proposer
    chats = [proposer_messages(bench.config.roles) for _ in range(config.prompts_per_step)]
    prompts = [render(bench.tokenizer, m) for m in bench.method.prompts(ctx, chats)]
    params = bench.method.sampling(
        ctx,
        SamplingParams(
            config.max_new_tokens,
            n=config.group_size,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
        ),
    )
    batch = sample(bench, ctx, engine, prompts, params)
    ledger.generated("proposer", "train", batch.rollouts)
    return batch


def score(
    bench: Workbench, ctx: HookContext, solver: Engine, batch: RolloutBatch, ledger: Ledger
) -> RolloutBatch:
    """Parse the proposals, let the solver vote on the valid ones, and reward them all."""
    special = special_tokens(bench.tokenizer)
    batch.proposals = [parse_proposal(x, bench.config.roles, special) for x in batch.texts]
    asked = [i for i, p in enumerate(batch.proposals) if p.valid]
    questions = [str(batch.proposals[i].question) for i in asked]
    vote_ctx = bench.context("solver", "vote", ctx.iteration, ctx.step)
    votes = vote(bench, vote_ctx, solver, questions, ledger)
    batch.tallies = [None] * len(batch)
    for i, result in zip(asked, votes.tallies, strict=True):
        batch.tallies[i] = result
    share = np.zeros(len(batch))
    if asked:
        # The share is of the whole batch, so that invalid rows don't raise anyone's penalty.
        threshold = bench.config.curriculum.repetition_threshold
        share[asked] = bleu_cluster_share(questions, threshold) * (len(asked) / len(batch))
    batch.rewards = bench.method.reward(
        ctx, batch, proposer_reward(batch.valid, batch.p_hat, share)
    )
    return batch


def _tools(
    bench: Workbench, ctx: HookContext, engine: Engine, solver: Engine, ledger: Ledger
) -> RolloutTools:
    return RolloutTools(
        generate=extra_rollouts(bench, ctx, engine, ledger),
        score=lambda batch: score(bench, ctx, solver, batch, ledger),
        join=RolloutBatch.join,
    )
