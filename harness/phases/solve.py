"""Phase 5: the solver is trained on the curriculum with the majority's answers as labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.grading import Verdict, extract_answer
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch
from harness.phases.rollouts import Prompt, StepRollouts
from harness.phases.stage import Stage
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.rng import stream
from harness.roles import solver_messages, solver_reward


def train_solver(
    bench: Workbench, t: int, solver: Policy, curriculum: pd.DataFrame
) -> dict[str, float]:
    """GRPO on the solver, in place. The curriculum is read in shuffled epochs."""
    with Stage(bench, "solver", t, solver) as stage:
        for ctx in stage.steps():
            rollouts = StepRollouts(
                bench,
                ctx,
                stage,
                lambda n, draw: _prompts(bench, ctx, curriculum, n, draw),  # noqa: B023
                lambda batch: score(bench, ctx, batch),  # noqa: B023
            )
            stage.update(ctx, rollouts.batch())
    return stage.metrics()


def _prompts(
    bench: Workbench, ctx: HookContext, curriculum: pd.DataFrame, n: int, draw: int
) -> list[Prompt]:
    """The step's own questions; what a method asks for beyond them has an order of its own."""
    order: tuple[str | int, ...] = ("curriculum_order", ctx.iteration)
    first = ctx.step * n
    if draw:
        order, first = ("curriculum_more", ctx.iteration, ctx.step, draw), 0
    rows = _epoch_rows(bench.seed, order, len(curriculum), first, n)
    picked = curriculum.iloc[rows]
    return [
        Prompt(solver_messages(bench.config.roles, question), question, gold)
        for question, gold in zip(picked["question"], picked["label"], strict=True)
    ]


def _epoch_rows(
    seed: int, order: tuple[str | int, ...], n: int, first: int, count: int
) -> list[int]:
    """Rows ``first`` to ``first + count`` of an endless sequence of shuffled epochs over n."""
    rows = []
    for position in range(first, first + count):
        epoch, offset = divmod(position, n)
        rows.append(int(stream(seed, *order, epoch).permutation(n)[offset]))
    return rows


def score(bench: Workbench, ctx: HookContext, batch: RolloutBatch) -> RolloutBatch:
    """Reward agreement with the pseudo-label; a truncated response without a box has none."""
    answers = [extract_answer(text) for text in batch.texts]
    verdicts = bench.grader.grade(gold=batch.gold, pred=answers)
    correct = np.array([v is Verdict.CORRECT for v in verdicts], dtype=bool)
    batch.rewards = bench.method.reward(ctx, batch, solver_reward(correct))
    return batch
