"""Phase 5: the solver is trained on the curriculum with the majority's answers as labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.engines.base import SamplingParams
from harness.grading import Verdict, extract_answer
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.phases.stage import Stage
from harness.phases.workbench import Workbench, extra_rollouts, sample
from harness.policy import Policy
from harness.rng import stream
from harness.roles import render, solver_messages, solver_reward


def train_solver(
    bench: Workbench, t: int, solver: Policy, curriculum: pd.DataFrame
) -> dict[str, float]:
    """GRPO on the solver, in place. The curriculum is read in shuffled epochs."""
    stage = Stage(bench, "solver", t, solver)
    config = bench.config.solver
    for ctx in stage.steps():
        first = ctx.step * config.prompts_per_step
        rows = _epoch_rows(bench.seed, t, len(curriculum), first, config.prompts_per_step)
        picked = curriculum.iloc[rows]
        questions, gold = list(picked["question"]), list(picked["label"])
        batch = _rollouts(bench, ctx, stage, questions, gold)
        tools = RolloutTools(
            generate=extra_rollouts(bench, ctx, stage.engine, stage.ledger),
            score=lambda b: score(bench, ctx, b),  # noqa: B023  (used within this step only)
            join=RolloutBatch.join,
        )
        batch = bench.method.after_rollout(ctx, score(bench, ctx, batch), tools)
        stage.update(ctx, batch)
    return stage.metrics()


def _epoch_rows(seed: int, t: int, n: int, first: int, count: int) -> list[int]:
    """Rows ``first`` to ``first + count`` of an endless sequence of shuffled epochs over n."""
    rows = []
    for position in range(first, first + count):
        epoch, offset = divmod(position, n)
        rows.append(int(stream(seed, "curriculum_order", t, epoch).permutation(n)[offset]))
    return rows


def _rollouts(
    bench: Workbench, ctx: HookContext, stage: Stage, questions: list[str], gold: list[str]
) -> RolloutBatch:
    config = bench.config.solver
    chats = [solver_messages(bench.config.roles, q) for q in questions]
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
    batch = sample(bench, ctx, stage.engine, prompts, params)
    stage.ledger.generated("solver", "train", batch.rollouts)
    batch.questions = [q for q in questions for _ in range(params.n)]
    batch.gold = [g for g in gold for _ in range(params.n)]
    return batch


def score(bench: Workbench, ctx: HookContext, batch: RolloutBatch) -> RolloutBatch:
    """Reward agreement with the pseudo-label; a truncated response without a box has none."""
    answers = [extract_answer(text) for text in batch.texts]
    verdicts = bench.grader.grade(gold=batch.gold, pred=answers)
    correct = np.array([v is Verdict.CORRECT for v in verdicts], dtype=bool)
    batch.rewards = bench.method.reward(ctx, batch, solver_reward(correct))
    return batch
