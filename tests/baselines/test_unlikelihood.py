"""Unlikelihood by hand: what continued an archived n-gram, and the push away from it."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from token_inputs import gradient_of, is_untouched, make_inputs
from torch import Tensor

from baselines.unlikelihood import continuations
from harness.grpo import base_token_loss
from harness.methods import HookContext, Method, RolloutBatch, build
from harness.policy import Policy
from harness.training import GrpoTrainer


def test_continuations_by_hand() -> None:
    """After (1, 2): 3 twice, 9 and 4 once; the smaller id first; after (2, 3): 1."""
    ids = [[1, 2, 3, 1, 2, 9], [1, 2, 3], [1, 2, 4], [7]]
    assert continuations(ids, n=3, most=2)[(1, 2)] == [3, 4]
    assert continuations(ids, n=3, most=9) == {(1, 2): [3, 4, 9], (2, 3): [1], (3, 1): [2]}
    assert continuations(ids, n=2, most=1) == {(1,): [2], (2,): [3], (3,): [1]}
    assert continuations([], n=4, most=8) == {}


class Words:
    """A tokenizer whose tokens are the numbers that a text lists."""

    calls = 0

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        self.calls += 1
        return {"input_ids": [[int(word) for word in text.split()] for text in texts]}


def rollouts(policy: Policy, rows: list[list[int]]) -> RolloutBatch:
    """A batch with the given responses, right-padded with 5."""
    batch = tiny.make_batch(policy, groups=1, n=len(rows), new=1)
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), 5)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    batch.tokens.response_ids, batch.tokens.response_mask = ids, mask
    return batch


def found(policy: Policy, name: str, rows: list[list[int]], archive: list[list[str]]) -> Tensor:
    ctx = tiny.make_context(Words(), archive=archive, iteration=len(archive) + 1)
    named = build(name)[0].candidates(ctx, rollouts(policy, rows), None)
    assert named is not None
    assert ctx.counts["tokens_with_candidates"] == int((named >= 0).any(dim=2).sum())
    return named


class TestCandidates:
    ARCHIVE = (("1 2 3 4", "1 2 3 6"), ("1 2 3 6", "2 3 5 8"))

    def archive(self) -> list[list[str]]:
        return [list(texts) for texts in self.ARCHIVE]

    def test_by_hand(self, tiny_policy: Policy) -> None:
        """After 1 2 3 in the response the archive says 6 (twice) and 4; nowhere else anything.

        Padding takes no part: row 1 ends in 2 3, and its padding 5 would go on with 8.
        """
        rows = [[0, 1, 2, 3, 6, 1, 2, 3], [1, 2, 3]]
        named = found(tiny_policy, "unlikelihood:max_candidates=3", rows, self.archive())
        expected = torch.full((2, 8, 3), -1)
        expected[0, 4] = torch.tensor([6, 4, -1])
        assert torch.equal(named, expected)

    def test_without_the_sampled_token(self, tiny_policy: Policy) -> None:
        name = "unlikelihood:keep_sampled=false"
        named = found(tiny_policy, name, [[1, 2, 3, 6], [1, 2, 3, 7]], self.archive())
        assert named[0, 3, :3].tolist() == [4, -1, -1]
        assert named[1, 3, :3].tolist() == [6, 4, -1]

    def test_the_newest_questions_only(self, tiny_policy: Policy) -> None:
        """The two newest: 2 3 5 8 and the second 1 2 3 6."""
        name = "unlikelihood:max_questions=2"
        named = found(tiny_policy, name, [[1, 2, 3, 0]], self.archive())
        assert named[0, 3, :2].tolist() == [6, -1]

    def test_the_most_frequent_only(self, tiny_policy: Policy) -> None:
        name = "unlikelihood:max_candidates=1"
        assert found(tiny_policy, name, [[1, 2, 3, 0]], self.archive())[0, 3].tolist() == [6]

    def test_the_archive_is_read_once_an_iteration(self, tiny_policy: Policy) -> None:
        method, words = build("unlikelihood")[0], Words()
        batch = rollouts(tiny_policy, [[1, 2, 3, 4]])
        for iteration, archive in ((2, self.archive()[:1]), (3, self.archive())):
            for step in range(3):
                ctx = tiny.make_context(words, archive=archive, iteration=iteration, step=step)
                method.candidates(ctx, batch, None)
        assert words.calls == 2

    @pytest.mark.parametrize("archive", [[], [[]], [[], []]])
    def test_an_empty_archive_names_nothing(self, tiny_policy: Policy, archive) -> None:
        ctx = tiny.make_context(Words(), archive=archive)
        batch = rollouts(tiny_policy, [[1, 2, 3, 4]])
        assert build("unlikelihood")[0].candidates(ctx, batch, None) is None
        assert not ctx.counts

    def test_a_response_shorter_than_the_context(self, tiny_policy: Policy) -> None:
        named = found(tiny_policy, "unlikelihood", [[1], [1, 2, 3]], self.archive())
        assert (named == -1).all()


def loss(name: str, candidates: list[float], ctx: HookContext | None = None) -> float:
    """The loss of a token with A = 1 at ratio 1 and the given candidate probabilities."""
    x = make_inputs([[-1.0]], [[1.0]])
    x.candidate_logp = torch.tensor([[candidates]]).log()
    result = build(name)[0].token_loss(ctx or tiny.make_context(), x, base_token_loss(x))
    assert result.denominator.tolist() == [[1.0]]
    return float(result.loss.detach())


class TestLoss:
    def test_by_hand(self) -> None:
        """-ln(1 - .5) - ln(1 - .2) = .916291 on top of -1; a place without a candidate adds 0."""
        assert loss("unlikelihood", [0.5, 0.2, 0.0]) == pytest.approx(-1 + 0.916291, abs=1e-5)
        assert loss("unlikelihood:beta=0.5", [0.5, 0.2]) == pytest.approx(-1 + 0.458145, abs=1e-5)
        assert loss("unlikelihood", [0.0, 0.0]) == -1.0

    def test_a_certain_candidate_is_finite(self) -> None:
        assert loss("unlikelihood", [1.0]) == pytest.approx(-1 - math.log(1e-5), abs=0.1)

    def test_gradient(self) -> None:
        """d/dlogp of -ln(1 - e^logp) = p / (1 - p): 1 at p = 1/2, 1/4 at 1/5, 0 where none is."""
        x = make_inputs([[-1.0]], [[0.0]])
        x.candidate_logp = torch.tensor([[[0.5, 0.2, 0.0, 1.0]]]).log().requires_grad_()
        gradient_of(build("unlikelihood")[0], tiny.make_context(), x)
        assert x.candidate_logp.grad is not None
        assert x.candidate_logp.grad.flatten().tolist() == pytest.approx([1.0, 0.25, 0.0, 0.0])

    def test_only_where_candidates_were_named(self) -> None:
        x = make_inputs([[-1.0]], [[1.0]])
        assert is_untouched(build("unlikelihood")[0], tiny.make_context(), x)
        ctx = tiny.make_context(role="solver")
        assert loss("unlikelihood", [0.5], ctx) == -1.0

    def test_an_update_makes_the_candidates_less_probable(self, tiny_policy: Policy) -> None:
        """Rewards without variance: nothing else moves the policy."""

        class Fixed(Method):
            """Token 11 is a candidate everywhere, and the loss is the method's."""

            def candidates(
                self, ctx: HookContext, batch: RolloutBatch, candidates: Tensor | None
            ) -> Tensor:
                return torch.full((*batch.tokens.response_ids.shape, 1), 11)

            token_loss = build("unlikelihood")[0].token_loss

        batch = tiny.make_batch(tiny_policy, rewards=[0.5] * 12)
        after = tiny.clone(tiny_policy)
        GrpoTrainer(after, tiny.make_stage(lr=1e-3)).update(batch, Fixed(), tiny.make_context())
        asked = Fixed().candidates(tiny.make_context(), batch, None)
        with torch.no_grad():
            p = [q.score(batch.tokens, candidates=asked).candidates for q in (tiny_policy, after)]
        mask = batch.tokens.response_mask
        assert p[1].exp()[mask].mean() < 0.9 * p[0].exp()[mask].mean()


def test_defaults() -> None:
    p = build("unlikelihood")[0].params
    assert (p.beta, p.n, p.max_candidates) == (1.0, 4, 8)
    assert (p.keep_sampled, p.max_questions) == (True, 20_000)


def test_off(tiny_policy: Policy) -> None:
    method = build("unlikelihood:beta=0")[0]
    x = make_inputs([[-1.0]], [[1.0]])
    x.candidate_logp = torch.tensor([[[-1.0]]])
    assert is_untouched(method, tiny.make_context(), x)
    ctx = tiny.make_context(Words(), archive=[["1 2 3 4"]], iteration=2)
    assert method.candidates(ctx, rollouts(tiny_policy, [[1, 2, 3, 4]]), None) is None


def test_only_the_proposer(tiny_policy: Policy) -> None:
    ctx = tiny.make_context(Words(), role="solver", archive=[["1 2 3 4"]], iteration=2)
    batch = rollouts(tiny_policy, [[1, 2, 3, 4]])
    assert build("unlikelihood")[0].candidates(ctx, batch, None) is None
