"""What methods are told of a curriculum: the pool's surprisal and solutions, the ballots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch

from harness.config import load_config
from harness.engines.base import Rollouts
from harness.engines.torch_engine import TorchEngine
from harness.grading import Grader, extract_answer
from harness.grading.votes import Tally
from harness.methods import Ballots, Curriculum, HookContext, Method, Pool
from harness.phases.workbench import SOLUTION_CHARS
from harness.policy import Policy, TokenBatch
from harness.roles import parse_proposal, render, solver_messages, special_tokens
from harness.run import execute

SETTINGS = (
    *("iterations=1", "proposer.steps=0", "solver.steps=0", "curriculum.questions=20"),
    *("curriculum.min_survivors=1000", "curriculum.max_rounds=2", "evaluation.limit=1"),
)


class Recorder(Method):
    """R-Zero, keeping what its hooks were given."""

    def __init__(self) -> None:
        super().__init__()
        self.ballots: list[Ballots] = []
        self.tallies: list[list[Tally]] = []
        self.pools: list[Pool] = []

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        self.ballots.append(ballots)
        self.tallies.append(tallies)
        return tallies

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        self.pools.append(pool)
        return curriculum


@dataclass
class Seen:
    """A run's hooks and what its engine sampled: two rounds of 12 + 8 proposals and their votes."""

    method: Recorder
    proposals: list[Rollouts]
    votes: list[Rollouts]
    tokenizer: Any


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    method, calls = Recorder(), []
    true = TorchEngine.generate

    def watched(self: TorchEngine, *args: Any, **kwargs: Any) -> Rollouts:
        rollouts = true(self, *args, **kwargs)
        calls.append((args[1], rollouts, self.tokenizer))
        return rollouts

    runs: Path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.run.build", lambda spec: (method, spec))
        patch.setattr(TorchEngine, "generate", watched)
        execute(tiny_run.spec("rzero", 0, *SETTINGS), runs)
    config = tiny_run.spec("rzero", 0, *SETTINGS).config
    proposals = [r for p, r, _ in calls if p.max_new_tokens == config.proposer.max_new_tokens]
    votes = [r for p, r, _ in calls if p.n == config.votes.n]
    return Seen(method, proposals, votes, calls[0][2])


def by_hand(rollouts: Sequence[Rollouts]) -> list[float]:
    """Mean log-prob of every row, token by token."""
    return [
        sum(float(x) for x, there in zip(row, mask, strict=True) if there) / int(mask.sum())
        for r in rollouts
        for row, mask in zip(r.logprobs, r.response_mask, strict=True)
    ]


def test_the_pool_grows_from_round_to_round(seen: Seen) -> None:
    first, second = seen.method.pools
    assert second.questions[: len(first.questions)] == first.questions
    assert 0 < len(first.questions) < len(second.questions)
    for pool in (first, second):
        n = len(pool.questions)
        assert len(pool.tallies) == len(pool.solutions) == n
        assert pool.surprisal.shape == pool.p_hat.shape == (n,)
        assert pool.p_hat.tolist() == [t.p_hat for t in pool.tallies]


def test_surprisal_is_minus_the_engines_mean_log_prob_of_the_valid_rows(seen: Seen) -> None:
    assert [len(r) for r in seen.proposals] == [12, 8, 12, 8]
    roles, special = load_config("ladder")[0].roles, special_tokens(seen.tokenizer)
    texts = [text for r in seen.proposals for text in r.texts(seen.tokenizer)]
    parsed = [parse_proposal(text, roles, special) for text in texts]
    valid = [i for i, p in enumerate(parsed) if p.valid]
    pool = seen.method.pools[-1]
    assert [parsed[i].question for i in valid] == pool.questions
    means = by_hand(seen.proposals)
    assert pool.surprisal.dtype == np.float64
    assert pool.surprisal == pytest.approx([-means[i] for i in valid], abs=1e-5)
    assert (pool.surprisal > 0).all()


def test_surprisal_is_that_of_the_proposer(seen: Seen, base_policy: Policy) -> None:
    # the proposer of this run was never trained, so that it is the base
    r = seen.proposals[0]
    batch = TokenBatch(r.prompt_ids, r.response_ids, r.response_mask)
    with torch.no_grad():
        logp, _ = base_policy.logprobs(batch)
    mean = (logp.sum(1) / r.lengths).numpy()
    assert np.abs(mean - r.mean_logprobs()).max() < 1e-4


def test_ballots_are_the_votes_of_each_question(seen: Seen) -> None:
    rounds = [b for b in seen.method.ballots if len(b.questions)]
    assert [len(b.questions) for b in rounds] == [len(r) // 4 for r in seen.votes]
    asked = [q for b in rounds for q in b.questions]
    assert asked == seen.method.pools[-1].questions
    for ballots, rollouts in zip(rounds, seen.votes, strict=True):
        n = len(ballots.questions)
        texts = rollouts.texts(seen.tokenizer)
        assert [len(row) for row in ballots.texts] == [4] * n
        assert [t for row in ballots.texts for t in row] == texts
        assert [a for row in ballots.answers for a in row] == [extract_answer(t) for t in texts]
        assert ballots.logprobs.shape == (n, 4)
        means = by_hand([rollouts])
        assert ballots.logprobs.ravel() == pytest.approx(means, abs=1e-5)


def test_every_vote_answers_its_own_question(seen: Seen) -> None:
    roles = load_config("ladder")[0].roles
    prompts = [tuple(p) for r in seen.votes for p in r.prompt_ids]
    wanted = [
        tuple(render(seen.tokenizer, solver_messages(roles, q)))
        for q in seen.method.pools[-1].questions
        for _ in range(4)
    ]
    assert prompts == wanted


def test_a_solution_is_the_first_response_with_the_majoritys_answer(seen: Seen) -> None:
    pool = seen.method.pools[-1]
    texts = [row for b in seen.method.ballots for row in b.texts]
    tallies = [t for made in seen.method.tallies for t in made]
    assert tallies == pool.tallies
    answered = 0
    with Grader() as grader:
        for solution, row, tally in zip(pool.solutions, texts, pool.tallies, strict=True):
            if tally.answer is None:
                assert solution is None
                continue
            answered += 1
            assert solution is not None
            agrees = [
                (a := extract_answer(t)) is not None
                and grader.equivalent(first=[tally.answer], second=[a])[0]
                for t in row
            ]
            assert solution == row[agrees.index(True)][:SOLUTION_CHARS]
    assert answered > len(pool.questions) // 2


def test_mean_log_probs_of_an_example_by_hand() -> None:
    # two tokens of -1 and -2, one of -.5, none at all; what stands behind the end doesn't count
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-0.5, -9.0, -9.0], [-9.0, -9.0, -9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    rollouts = Rollouts(
        [[1]] * 3, torch.zeros(3, 3, dtype=torch.long), mask, logprobs, torch.zeros(3).bool()
    )
    assert rollouts.mean_logprobs().tolist() == [-1.5, -0.5, 0.0]
