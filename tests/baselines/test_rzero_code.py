"""R-Zero as published: each quirk by hand, and each of them off."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from baselines import rzero
from harness.engines import SamplingParams
from harness.grading import Grader, extract_answer
from harness.grading.votes import Tally, tally
from harness.methods import Curriculum, Pool, build
from harness.policy import Policy
from harness.roles import Proposal, proposer_reward, solver_reward

VOTE = tiny.make_context(role="solver", phase="vote")
LABEL = tiny.make_context(role="solver", phase="label")


def method(**params: object):
    text = ",".join(f"{k}={v}" for k, v in params.items())
    return build(f"rzero_code:{text}")[0]


@pytest.fixture(scope="module")
def grader():
    with Grader(1, 10.0) as pool:
        yield pool


def labelled(grader: Grader, votes: list[str | None], phase=LABEL, **params: object) -> Tally:
    """The tally of one question's votes after the method's hook."""
    (result,) = method(**params).label(phase, [votes], tally([votes], grader))
    return result


class TestNone:
    def test_a_majority_without_an_answer_is_the_answer_none(self, grader: Grader) -> None:
        """5 of 10 truncated: the highest reward, as published; as intended p = .3."""
        votes = [None] * 5 + ["7"] * 3 + ["8", "9"]
        result = labelled(grader, votes, VOTE)
        assert (result.answer, result.p_hat) == ("None", 0.5)
        assert result.n_clusters == 4
        assert result.cluster[:5] == (0,) * 5
        assert result.cluster[5:8] == (1,) * 3
        intended = labelled(grader, votes, VOTE, none_is_answer=False)
        assert (intended.answer, intended.p_hat) == ("7", 0.3)

    def test_a_minority_or_a_tie_of_them_changes_nothing(self, grader: Grader) -> None:
        for votes in ([None] * 2 + ["7"] * 3, [None] * 3 + ["7"] * 3, ["7"] * 4):
            before = tally([votes], grader)
            assert method().label(VOTE, [votes], before) == before

    def test_nobody_answers(self, grader: Grader) -> None:
        result = labelled(grader, [None] * 4, VOTE)
        assert (result.answer, result.p_hat) == ("None", 1.0)
        assert labelled(grader, [None] * 4, VOTE, none_is_answer=False).answer is None

    def test_none_majorities_are_counted(self, grader: Grader) -> None:
        ctx = tiny.make_context(role="solver", phase="vote")
        votes = [[None, None, "1"], ["1", "1", None]]
        method().label(ctx, votes, tally(votes, grader))
        assert ctx.counts["none_majorities"] == 1


class TestDenominator:
    VOTES = (None, None, None, "7", "7", "7", "7", "8", "8")
    """4 of 9 say 7; 6 hold an answer."""

    def test_none_counts_as_held_where_it_is_an_answer(self, grader: Grader) -> None:
        assert labelled(grader, [*self.VOTES]).p_hat == pytest.approx(4 / 9)

    def test_over_the_non_empty_votes(self, grader: Grader) -> None:
        result = labelled(grader, [*self.VOTES], none_is_answer=False)
        assert result.p_hat == pytest.approx(4 / 6)

    def test_over_all(self, grader: Grader) -> None:
        result = labelled(grader, [*self.VOTES], none_is_answer=False, label_denominator="all")
        assert result.p_hat == pytest.approx(4 / 9)

    def test_rewards_always_divide_by_all(self, grader: Grader) -> None:
        assert labelled(grader, [*self.VOTES], VOTE, none_is_answer=False).p_hat == 4 / 9

    def test_nothing_held_is_zero(self, grader: Grader) -> None:
        assert labelled(grader, [None] * 3, none_is_answer=False).p_hat == 0.0


class TestSelect:
    def kept(self, rows: list[tuple[str, str | None, float]], **params: object) -> list[int]:
        pool = Pool([q for q, _, _ in rows], [Tally(a, p, (0,), 1) for _, a, p in rows])
        base = Curriculum(np.arange(len(rows)))
        return list(method(**params).select(LABEL, pool, base).index)

    def test_window_bounds_are_inside(self) -> None:
        shares = [0.2, 0.29, 0.3, 3 / 10, 0.55, 0.8, 4 / 5, 0.81, 1.0]
        rows: list[tuple[str, str | None, float]] = [("q", "1", p) for p in shares]
        assert self.kept(rows) == [2, 3, 4, 5, 6]
        assert self.kept(rows, window_low=0.5, window_high=1.0) == [4, 5, 6, 7, 8]

    def test_answers_that_are_none(self) -> None:
        rows = [("q", a, 0.5) for a in (None, "", "None", "none", "0")]
        assert self.kept(rows) == [3, 4]

    def test_dropped_words(self) -> None:
        rows = [
            ("a Box of 3", "1", 0.5),
            ("boxes", "1", 0.5),
            ("证明 it", "1", 0.5),
            ("prove it", "1", 0.5),
            ("q", "\\text{two}", 0.5),
            ("text", "2", 0.5),
        ]
        assert self.kept(rows) == [3, 5]
        assert self.kept(rows, drop_words=False) == [0, 1, 2, 3, 4, 5]

    def test_dropped_words_are_counted(self) -> None:
        ctx = tiny.make_context(role="solver", phase="label")
        pool = Pool(["box", "q"], [Tally("1", 0.5, (0,), 1)] * 2)
        method().select(ctx, pool, Curriculum(np.arange(2)))
        assert ctx.counts["dropped_by_word"] == 1

    def test_nothing_left(self) -> None:
        assert self.kept([("q", "1", 1.0)]) == []


class TestReward:
    def test_invalid_questions_pay_a_share_of_their_own(self, tiny_policy: Policy) -> None:
        """-1 - 1/4: an empty string has BLEU 0 with any other, a cluster of one in four."""
        batch = tiny.make_batch(tiny_policy, groups=2, n=2, new=2)
        questions = ["a", None, "b", None]
        batch.proposals = [Proposal("", q, None) for q in questions]
        base = proposer_reward(batch.valid, np.full(4, 0.5), np.full(4, 0.25))
        ctx = tiny.make_context()
        found = method().reward(ctx, batch, base)
        assert found.total == pytest.approx([0.25, -1.25, 0.25, -1.25])
        assert found.components["invalid_share"] == pytest.approx([0, -0.25, 0, -0.25])
        assert ctx.counts["invalid_rows"] == 2
        assert method(invalid_pays_share="false").reward(ctx, batch, base) is base

    def test_solver_format_reward(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, groups=2, n=2, new=2)
        batch.texts = [
            "<think>so</think> \\boxed{7}",
            "\\boxed{7}",
            "<think>so</think>\nthen \\boxed{8}.",
            "first <think>so</think> \\boxed{8}",  # the block must open the response
        ]
        base = solver_reward(np.array([True, True, False, False]))
        ctx = tiny.make_context(role="solver")
        found = method().reward(ctx, batch, base)
        assert found.total == pytest.approx([1.0, 0.9, 0.1, 0.0])
        assert sum(found.components.values()) == pytest.approx(found.total)
        off = method(format_weight=0).reward(ctx, batch, base)
        assert off.total.tolist() == base.total.tolist()

    @given(
        st.lists(
            st.sampled_from(["<think>", "</think>", "\\boxed{", "}", "a", " ", "\n"]), max_size=12
        ).map("".join)
    )
    def test_format_is_the_published_pattern_s(self, text: str) -> None:
        published = re.compile(r"\s*<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
        assert rzero._has_format(text) is bool(published.fullmatch(text))

    def test_hostile_text_is_read_in_no_time(self) -> None:
        started = time.process_time()
        for text in ("</think>" * 100_000, "</think>\\boxed{" * 100_000, " " * 1_000_000):
            assert not rzero._has_format("<think>" + text)
            assert not rzero._has_format(text)
        assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("role", "phase", "expected"),
    [
        ("proposer", "train", SamplingParams(9, n=4, top_p=0.99)),
        ("solver", "train", SamplingParams(9, n=4, top_p=0.99)),
        ("proposer", "generate", SamplingParams(9, n=4, top_p=0.95)),
        ("solver", "vote", SamplingParams(9, n=4, top_k=40)),
        ("solver", "label", SamplingParams(9, n=9, top_k=40)),
    ],
)
def test_sampling(role: str, phase: str, expected: SamplingParams) -> None:
    ctx = tiny.make_context(role=role, phase=phase)
    assert method().sampling(ctx, SamplingParams(9, n=4)) == expected


def test_answers_are_read_as_everywhere() -> None:
    """The quirk is in the vote, not in the extraction: no box is no answer."""
    assert extract_answer("no box here") is None
