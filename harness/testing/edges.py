"""Training steps on batches from the edge: real rollouts and updates, scripted outcomes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError
from harness.grading.votes import Tally
from harness.methods import Ballots, HookContext, Method, Pool, RolloutBatch
from harness.methods.base import Phase
from harness.phases.curriculum import select
from harness.phases.rollouts import Prompt, StepRollouts
from harness.phases.stage import Stage
from harness.policy import Policy
from harness.roles import (
    Proposal,
    Role,
    proposer_messages,
    proposer_reward,
    solver_messages,
    solver_reward,
)
from harness.testing.watch import Watch
from harness.testing.world import Bench, make_bench, parts, scratch
from harness.training import stage_coefficients


@dataclass(frozen=True)
class Edge:
    """A batch from the edge: how long its responses are, and how row ``i`` of it fares.

    Attributes:
        good: of the rows, in turn: valid (proposer) or correct (solver).
        p_hat: of the valid rows, in turn: votes out of 4 for the majority.
    """

    name: str
    tokens: int
    good: tuple[bool, ...]
    p_hat: tuple[int, ...] = (2,)


EDGES = (
    Edge("all rows invalid", 4, (False,)),
    Edge("one survivor", 4, (True, *[False] * 1000)),
    Edge("zero variance", 4, (True,)),
    Edge("one token per response", 1, (True, False, True), (1, 2, 3)),
    Edge("everything truncated", 4, (True, True, False), (4, 2, 1)),
)


def train_on(edge: Edge, role: Role, method: Method) -> None:
    """One step of training on such a batch.

    Raises:
        HarnessError: a hook returned what the loop can't use, or a value that is not finite.
    """
    p = parts()
    stage = {"max_new_tokens": edge.tokens, "steps": 1}
    changed = {role: getattr(p.config, role).model_copy(update=stage)}
    with scratch() as folder:
        bench = make_bench(Watch().over(method), folder, **changed)
        policy = Policy(copy.deepcopy(p.policy.model), p.policy.tokenizer)
        training = Stage(bench, role, 1, policy)
        ctx = bench.context(role, "train", 1)
        bench.method.steps(ctx, 1)
        if role == "proposer":
            bench.method.jury(ctx, (0,))
        training.trainer.coefficients = bench.method.coefficients(
            ctx, stage_coefficients(training.config)
        )
        rollouts = StepRollouts(
            bench,
            ctx,
            training,
            lambda n, _: _prompts(bench, role, n),
            lambda batch: _score(bench, ctx, batch, edge),
        )
        training.update(ctx, rollouts.batch())
    _judge(training, policy)


def _judge(training: Stage, policy: Policy) -> None:
    (metrics,) = training.history
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise HarnessError(f"{', '.join(wrong)} not finite")
    if "reward" in metrics and metrics["updates_skipped"]:
        raise HarnessError("the loss or its gradient is not finite")
    if any(not bool(w.isfinite().all()) for w in policy.model.parameters()):
        raise HarnessError("weights that are not finite")


def _question(i: int) -> str:
    return f"what is {i} + {i + 3}?"


def _prompts(bench: Bench, role: Role, n: int) -> list[Prompt]:
    roles = bench.config.roles
    if role == "proposer":
        return [Prompt(proposer_messages(roles))] * n
    return [Prompt(solver_messages(roles, q), q, "7") for q in map(_question, range(n))]


def _score(bench: Bench, ctx: HookContext, batch: RolloutBatch, edge: Edge) -> RolloutBatch:
    """The edge's outcome for these rows, rewarded by the method."""
    rows = range(len(batch))
    good = np.array([edge.good[i % len(edge.good)] for i in rows], dtype=bool)
    batch.rollouts.truncated[:] = True
    if ctx.role == "solver":
        base = solver_reward(good)
    else:
        batch.proposals = [
            Proposal(t, _question(i % 3) if good[i] else None, None)
            for i, t in enumerate(batch.texts)
        ]
        votes = [edge.p_hat[i % len(edge.p_hat)] for i in rows]
        batch.tallies = [_tally(votes[i]) if good[i] else None for i in rows]
        batch.solutions = ["\\boxed{7}" if good[i] else None for i in rows]
        jurors = len(bench.method.jury(ctx, (ctx.iteration - 1,)))
        batch.jury = [[tally] * jurors for tally in batch.tallies]
        share = np.full(len(batch), 1.0 / len(batch))
        base = proposer_reward(batch.valid, batch.p_hat, share)
    batch.rewards = bench.method.reward(ctx, batch, base)
    return batch


def _tally(majority: int, votes: int = 4) -> Tally:
    """``majority`` votes for 7, the others each for something of their own; 0: no answers."""
    if not majority:
        return Tally(None, 0.0, (-1,) * votes, 0)
    cluster = (0,) * majority + tuple(range(1, votes - majority + 1))
    return Tally("7", majority / votes, cluster, votes)


POOLS: dict[str, tuple[int, ...]] = {
    "an empty pool": (),
    "a pool of one question": (2,),
    "a pool of one question without a label": (0,),
    "a pool without a label": (0, 0, 0),
    "a pool where all agree": (4, 4, 4, 4),
}
"""Votes out of 4 for the majority of each question."""


def select_from(majorities: Sequence[int], method: Method) -> None:
    """Select from a pool of such questions, twice, as two rounds of generation do.

    Raises:
        HarnessError: the selection can't be used.
    """
    n = len(majorities)
    pool = Pool(
        [_question(i) for i in range(n)],
        [_tally(m) for m in majorities],
        ["\\boxed{7}" if m else None for m in majorities],
        np.linspace(0.5, 1.5, n),
    )
    with scratch() as folder:
        bench = make_bench(Watch().over(method), folder)
        for _ in range(2):
            select(bench, 1, pool)


def label_silence(method: Method) -> None:
    """Label questions that nobody answered, in the reward's votes and in the curriculum's.

    Raises:
        HarnessError: the tallies can't be used.
    """
    answers: list[list[str | None]] = [[None] * 4] * 2
    texts = [["?"] * 4] * 2
    ballots = Ballots(["what?", "why?"], answers, texts, np.full((2, 4), -1.0))
    phases: tuple[Phase, ...] = ("vote", "label")
    with scratch() as folder:
        bench = make_bench(Watch().over(method), folder)
        for phase in phases:
            ctx = bench.context("solver", phase, 1)
            bench.method.label(ctx, ballots, ctx.tally(answers))
