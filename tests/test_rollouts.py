"""What a method may ask for beside a step's own rollouts, on the shipped base model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from harness.config import load_config
from harness.diversity.embedders import load_embedder
from harness.engines import SamplingParams
from harness.engines.make import TorchEngines
from harness.grading import Grader
from harness.masks import protected_set
from harness.methods import HookContext, Method, RolloutBatch, RolloutTools
from harness.phases import propose, solve
from harness.phases.rollouts import Prompt, StepRollouts
from harness.phases.stage import Stage
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import format_strings, proposer_messages
from harness.store import RunFolder

SIZES = (
    "proposer.prompts_per_step=2",
    "proposer.group_size=3",
    "proposer.max_new_tokens=24",
    "solver.prompts_per_step=3",
    "solver.group_size=2",
    "solver.max_new_tokens=16",
    "votes.n=2",
    "votes.max_new_tokens=12",
)
CURRICULUM = pd.DataFrame(
    {
        "question": [f"what is {i} + {i} ?" for i in range(7)],
        "label": [str(2 * i) for i in range(7)],
    }
)


class Asks(Method):
    """Hands the tools to a function of the test."""

    def __init__(self) -> None:
        super().__init__()
        self.ask: Callable[[RolloutBatch, RolloutTools], RolloutBatch] = lambda batch, _: batch
        self.scored: list[int] = []

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        return self.ask(batch, tools)

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Any) -> Any:
        self.scored.append(len(batch))
        return rewards


class Step:
    """One rollout step of a role with a method that asks."""

    def __init__(self, bench: Workbench, policy: Policy, role: Any, step: int = 0) -> None:
        self.method = cast(Asks, bench.method)
        self.method.scored = []
        self.stage = Stage(bench, role, 1, policy)
        ctx = bench.context(role, "train", 1, step)
        if role == "proposer":
            jury = [bench.engine(policy)]
            self.rollouts = StepRollouts(
                bench,
                ctx,
                self.stage,
                lambda n, _: [Prompt(proposer_messages(bench.config.roles))] * n,
                lambda b: propose.score(bench, ctx, jury, b, self.stage.ledger),
            )
        else:
            self.rollouts = StepRollouts(
                bench,
                ctx,
                self.stage,
                lambda n, draw: solve._prompts(bench, ctx, CURRICULUM, n, draw),
                lambda b: solve.score(bench, ctx, b),
            )

    def run(self, ask: Callable[[RolloutBatch, RolloutTools], RolloutBatch]) -> RolloutBatch:
        self.method.ask = ask
        return self.rollouts.batch()

    def tokens(self, name: str) -> float:
        return self.stage.ledger.metrics().get(f"compute/{name}/tokens", 0.0)


@pytest.fixture(scope="module")
def bench(base_policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    config, _ = load_config("ladder", overrides=SIZES)
    folder: Path = tmp_path_factory.mktemp("rollouts")
    with Grader(1, 10.0) as grader:
        yield Workbench(
            config=config,
            seed=0,
            method=Asks(),
            entry="asks",
            folder=RunFolder(folder),
            tokenizer=base_policy.tokenizer,
            protected=protected_set(
                base_policy.tokenizer, config.protected, format_strings(config.roles)
            ),
            grader=grader,
            checker=None,
            embedder=load_embedder("hashing"),
            evaluator=cast(Any, None),
            engines=TorchEngines("float32", config.engine_rows),
            parameters=base_policy.parameters,
        )


@pytest.fixture
def step(bench: Workbench, base_policy: Policy) -> Callable[..., Step]:
    return lambda role, n=0: Step(bench, base_policy, role, n)


def responses(batch: RolloutBatch) -> list[list[int]]:
    return [
        row[: int(n)].tolist()
        for row, n in zip(batch.rollouts.response_ids, batch.rollouts.lengths, strict=True)
    ]


def test_rows_sampled_again_answer_the_same_prompts(step: Callable[..., Step]) -> None:
    new: list[RolloutBatch] = []

    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        assert tools.params == SamplingParams(16, n=2)
        new.append(tools.resample(batch, [4, 1], SamplingParams(16, n=3, temperature=1.5), None))
        new.append(tools.resample(batch, [4, 1], SamplingParams(16, n=3, temperature=1.5), None))
        return batch

    at = step("solver")
    batch = at.run(ask)
    for extra in new:
        owners = [4, 4, 4, 1, 1, 1]
        assert extra.rollouts.prompt_ids == [batch.rollouts.prompt_ids[i] for i in owners]
        assert extra.tokens.prompt_ids == extra.rollouts.prompt_ids
        for name in ("group_id", "prompt_id", "gold", "questions"):
            assert getattr(extra, name) == [getattr(batch, name)[i] for i in owners]
        assert extra.tokens.temperature == 1.5
        assert extra.rewards is None  # not scored
    assert batch.group_id == [0, 0, 1, 1, 2, 2]
    assert responses(new[0]) != responses(new[1])  # a stream of its own for each call
    assert at.method.scored == [6]
    assert at.tokens("solver/extra") == sum(len(r) for extra in new for r in responses(extra))
    assert at.tokens("solver/train") == sum(map(len, responses(batch)))


def test_a_prefix_is_read_and_belongs_to_the_text(
    step: Callable[..., Step], base_policy: Policy
) -> None:
    tokenizer = base_policy.tokenizer
    new: list[RolloutBatch] = []
    prefixes: list[list[int]] = []

    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        rows = responses(batch)
        prefixes.extend([rows[0][:3], rows[3][:1], []])
        params = SamplingParams(10, n=2)
        new.append(tools.resample(batch, [0, 3, 4], params, prefixes))
        new.append(tools.score(new[0]))
        return batch

    at = step("proposer")
    batch = at.run(ask)
    extra = new[0]
    heads = [p for p in prefixes for _ in range(2)]
    owners = [0, 0, 3, 3, 4, 4]
    assert extra.rollouts.prompt_ids == [
        batch.rollouts.prompt_ids[i] + p for i, p in zip(owners, heads, strict=True)
    ]
    assert extra.group_id == [0, 0, 1, 1, 1, 1]
    assert extra.prompt_id == [0] * 6  # the proposer has one prompt, whatever stands before
    assert extra.rollouts.lengths.max() <= 10  # the prefix is no part of what is trained on
    for text, head, row in zip(extra.texts, heads, responses(extra), strict=True):
        assert text == tokenizer.decode([*head, *row], skip_special_tokens=True)
    # The proposal that is scored is the whole text.
    assert [p.text for p in new[1].proposals] == extra.texts
    assert new[1].rewards is not None
    assert len(new[1].tallies) == 6
    assert at.tokens("proposer/extra") == sum(map(len, responses(extra)))


def test_a_branch_scores_under_the_trainer_as_it_was_sampled(
    step: Callable[..., Step], base_policy: Policy
) -> None:
    seen: list[torch.Tensor] = []

    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        extra = tools.resample(batch, [0], SamplingParams(10, n=3), [responses(batch)[0][:2]])
        joined = tools.join([batch, extra])
        assert joined.off_policy == [False] * len(joined)
        gap = (tools.measure(joined)[0] - joined.rollouts.logprobs).abs()
        seen.append(gap[joined.tokens.response_mask].max())
        return batch

    step("proposer").run(ask)
    assert seen[0] < 1e-3


def test_more_is_scored_and_in_groups_of_its_own(step: Callable[..., Step]) -> None:
    new: list[RolloutBatch] = []

    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        new.extend([tools.more(2), tools.more(2)])
        return tools.join([batch, *new])

    for role, size, first in (("solver", 2, 3), ("proposer", 3, 2)):
        new.clear()
        at = step(role)
        joined = at.run(ask)
        assert [b.group_id for b in new] == [
            [first + g for g in (0, 1) for _ in range(size)],
            [first + g for g in (2, 3) for _ in range(size)],
        ]
        assert all(b.rewards is not None for b in new)
        assert joined.rewards is not None
        assert at.method.scored == [len(joined) - 4 * size, 2 * size, 2 * size]
        assert responses(new[0]) != responses(new[1])
        assert at.tokens(f"{role}/extra") == sum(len(r) for b in new for r in responses(b))
        own = joined.select(range(len(joined) - 4 * size))
        assert at.tokens(f"{role}/train") == sum(map(len, responses(own)))
    assert len(set(joined.prompt_id)) == 1  # the proposer's


def test_extra_questions_come_in_an_order_of_their_own(step: Callable[..., Step]) -> None:
    def asked(n: int, *more: int) -> list[list[str]]:
        found: list[list[str]] = []

        def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
            found.extend([batch.questions[::2], *(tools.more(k).questions[::2] for k in more)])
            assert batch.gold == [
                CURRICULUM.set_index("question").loc[q, "label"] for q in batch.questions
            ]
            return batch

        step("solver", n).run(ask)
        return found

    plain, (own, first, second) = asked(0), asked(0, 4, 4)
    assert plain == [own]  # what is asked for beyond does not move the step's own questions
    assert len(set(first)) == 4  # no repeats within a draw
    assert first != second
    assert asked(1)[0] != own
    # The curriculum's epoch goes on where it was: nothing was skipped for the extra draws.
    assert not set(asked(1, 4)[0]) & set(own)
    assert asked(1, 4)[1] != first


def test_the_same_step_gives_the_same_rows(step: Callable[..., Step]) -> None:
    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        extra = tools.score(tools.resample(batch, [0, 2], tools.params, None))
        return tools.join([batch, extra, tools.more(1)])

    first, second = (step("solver").run(ask) for _ in range(2))
    assert responses(first) == responses(second)
    assert first.rewards is not None
    assert second.rewards is not None
    assert first.rewards.total.tolist() == second.rewards.total.tolist()
    assert responses(step("solver", 1).run(ask)) != responses(first)


def test_measuring_reads_every_token_once_and_is_counted(step: Callable[..., Step]) -> None:
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def ask(batch: RolloutBatch, tools: RolloutTools) -> RolloutBatch:
        found.append(tools.measure(batch.select([1, 3])))
        return batch

    at = step("solver")
    batch = at.run(ask)
    logp, entropy = found[0]
    part = batch.select([1, 3])
    assert logp.shape == entropy.shape == part.tokens.response_mask.shape
    assert (logp - part.rollouts.logprobs).abs()[part.tokens.response_mask].max() < 1e-3
    assert (entropy[part.tokens.response_mask] >= 0).all()
    assert (entropy[~part.tokens.response_mask] == 0).all()
    read = sum(map(len, part.rollouts.prompt_ids)) + sum(map(len, responses(part)))
    assert at.tokens("solver/measured") == read
    assert at.tokens("solver/extra") == 0


def test_a_step_may_end_without_rows(step: Callable[..., Step], bench: Workbench) -> None:
    at = step("solver")
    batch = at.run(lambda batch, _: batch.select([]))
    before = tiny.weights(at.stage.trainer.policy)
    at.stage.update(bench.context("solver", "train", 1), batch)
    assert torch.equal(tiny.weights(at.stage.trainer.policy), before)
    metrics = at.stage.metrics()
    assert metrics["train/solver/updates_skipped"] == 1
    assert metrics["compute/solver/trained/tokens"] == 0
    assert all(np.isfinite(v) for v in metrics.values())
