"""What every phase works with, and how it samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from harness.checker import Checker
from harness.config.schema import RunConfig
from harness.diversity.embedders import Embedder
from harness.diversity.report import Snapshot
from harness.diversity.topics import TopicModel
from harness.engines.base import Engine, Engines, LogitsRule, Rollouts, SamplingParams
from harness.evaluation.runner import Evaluator
from harness.grading import Grader, extract_answer
from harness.grading.votes import Tally, tally
from harness.ledger import Ledger
from harness.masks import ProtectedSet, VocabMask
from harness.methods.base import Ballots, HookContext, Method, Phase
from harness.methods.batch import RolloutBatch
from harness.phases.rules import portable
from harness.policy import Policy, TokenBatch
from harness.rng import keys64
from harness.roles import Role, render, solver_messages
from harness.store import RunFolder

SOLUTION_CHARS = 2000
"""What is kept of one solution per question, for the skeletons of `harness.diversity`."""


@dataclass
class Workbench:
    """One run's parts.

    Attributes:
        entry: the method's canonical name.
        archive: what each earlier iteration asked.
    """

    config: RunConfig
    seed: int
    method: Method
    entry: str
    folder: RunFolder
    tokenizer: PreTrainedTokenizerBase
    protected: ProtectedSet
    grader: Grader
    checker: Checker | None
    embedder: Embedder
    evaluator: Evaluator
    engines: Engines
    parameters: int
    topics: TopicModel | None = None
    archive: list[Snapshot] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def engine(self, policy: Policy) -> Engine:
        """An engine on a policy's current weights."""
        return self.engines.of(policy)

    def rule(self, ctx: HookContext, params: SamplingParams) -> LogitsRule | None:
        """The method's rule on the logits here; with its recipe for an engine that needs one."""
        rule = self.method.logits_rule(ctx, None)
        if self.config.engine.name == "torch":
            return rule
        return portable(rule, self.entry, self.method, ctx, params)

    def ledger(self) -> Ledger:
        """A fresh ledger for one phase."""
        return Ledger(self.parameters)

    def context(
        self,
        role: Role,
        phase: Phase,
        iteration: int,
        step: int = 0,
    ) -> HookContext:
        """The context that hooks of this place get."""
        return HookContext(
            role=role,
            phase=phase,
            iteration=iteration,
            step=step,
            seed=self.seed,
            config=self.config,
            tokenizer=self.tokenizer,
            protected=self.protected,
            archive=[snapshot.texts for snapshot in self.archive],
            embed=self.embedder,
            tally=lambda answers: tally(answers, self.grader),
            checker=self.checker,
            counts=self.counts,
        )


def sample(
    bench: Workbench,
    ctx: HookContext,
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    group_id: Sequence[int] | None = None,
    stream: str = "rows",
) -> RolloutBatch:
    """Rollouts under the method's mask and rule for this place in the run.

    Args:
        prompts: token ids; each is sampled ``params.n`` times.
        group_id: one per row; by default the prompt's position.
        stream: name of the row keys' stream, so that extra rollouts differ from the first.
    """
    rows = [i for i in range(len(prompts)) for _ in range(params.n)]
    group_id = list(group_id) if group_id is not None else rows
    mask = bench.method.mask(ctx, None)
    rule = bench.rule(ctx, params)
    row_keys = keys64(bench.seed, ctx.role, ctx.phase, ctx.iteration, ctx.step, stream, n=len(rows))
    mask_rows = mask.row_ids(group_id, _minibatch_of(ctx)) if mask else None
    rollouts = engine.generate(
        prompts, params, row_keys=row_keys, mask=mask, mask_rows=mask_rows, logits_rule=rule
    )
    return as_batch(bench, rollouts, params, group_id, (mask, mask_rows), (rule, row_keys))


def _minibatch_of(ctx: HookContext) -> dict[int, int]:
    """The optimiser update (of the first epoch) that each group of a step's batch belongs to."""
    if ctx.phase != "train":
        return {}
    stage = ctx.config.proposer if ctx.role == "proposer" else ctx.config.solver
    parts = ctx.minibatches(range(stage.prompts_per_step), stage.minibatches)
    return {int(group): i for i, part in enumerate(parts) for group in part}


def as_batch(
    bench: Workbench,
    rollouts: Rollouts,
    params: SamplingParams,
    group_id: list[int],
    masked: tuple[VocabMask | None, list[int] | None],
    ruled: tuple[object, list[int]],
) -> RolloutBatch:
    """Rollouts with what the trainer needs to replay their sampling."""
    mask, mask_rows = masked
    rule, row_keys = ruled
    distinct: dict[tuple[int, ...], int] = {}
    prompt_id = [distinct.setdefault(tuple(p), len(distinct)) for p in rollouts.prompt_ids]
    tokens = TokenBatch(
        prompt_ids=rollouts.prompt_ids,
        response_ids=rollouts.response_ids,
        response_mask=rollouts.response_mask,
        temperature=params.temperature,
        mask=mask,
        mask_rows=torch.as_tensor(mask_rows) if mask_rows is not None else None,
        logits_rule=rule,  # type: ignore[arg-type]
        row_keys=row_keys,
    )
    texts = rollouts.texts(bench.tokenizer)
    return RolloutBatch(rollouts, tokens, group_id, prompt_id, texts)


@dataclass(frozen=True)
class Votes:
    """M answers to each of n questions, and how they fell.

    Attributes:
        answers: [n][M]
        tallies: [n]
        truncated: [n * M]
        solutions: the first response that gives the majority's answer, cut to `SOLUTION_CHARS`;
            None where nobody answered [n].
    """

    answers: list[list[str | None]]
    tallies: list[Tally]
    truncated: npt.NDArray[np.bool_]
    solutions: list[str | None]


def vote(
    bench: Workbench,
    ctx: HookContext,
    solver: Engine,
    questions: Sequence[str],
    ledger: Ledger,
    stream: str = "rows",
) -> Votes:
    """The solver answers each question M times; the majority is the pseudo-label."""
    v = bench.config.votes
    params = bench.method.sampling(
        ctx,
        SamplingParams(
            v.max_new_tokens, n=v.n, temperature=v.temperature, top_p=v.top_p, top_k=v.top_k
        ),
    )
    if not questions:
        return Votes([], [], np.zeros(0, dtype=bool), [])
    prompts = [render(bench.tokenizer, solver_messages(bench.config.roles, q)) for q in questions]
    batch = sample(bench, ctx, solver, prompts, params, stream=stream)
    ledger.generated("solver", ctx.phase, batch.rollouts)
    flat = [extract_answer(text) for text in batch.texts]
    answers = [flat[i : i + params.n] for i in range(0, len(flat), params.n)]
    rows = range(0, len(batch), params.n)
    ballots = Ballots(
        questions,
        answers,
        [batch.texts[i : i + params.n] for i in rows],
        batch.rollouts.mean_logprobs().reshape(-1, params.n),
    )
    tallies = bench.method.label(ctx, ballots, tally(answers, bench.grader))
    solutions = [
        batch.texts[i * params.n + t.cluster.index(0)][:SOLUTION_CHARS] if 0 in t.cluster else None
        for i, t in enumerate(tallies)
    ]
    return Votes(answers, tallies, batch.rollouts.truncated.numpy(), solutions)
