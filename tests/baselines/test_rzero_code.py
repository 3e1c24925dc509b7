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
from harness.methods import Ballots, Curriculum, Pool, build
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


def ballots(*votes: list[str | None]) -> Ballots:
    """A question for each list of votes."""
    texts = [[str(a) for a in answers] for answers in votes]
    return Ballots(["q"] * len(votes), votes, texts, np.zeros((len(votes), len(votes[0]))))


def pool_of(rows: list[tuple[str, str | None, float]]) -> Pool:
    """Questions with their majority answers and vote shares."""
    tallies = [Tally(a, p, (0,), 1) for _, a, p in rows]
    return Pool([q for q, _, _ in rows], tallies, [None] * len(rows), np.zeros(len(rows)))


def labelled(grader: Grader, votes: list[str | None], phase=LABEL, **params: object) -> Tally:
    """The tally of one question's votes after the method's hook."""
    (result,) = method(**params).label(phase, ballots(votes), tally([votes], grader))
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
            assert method().label(VOTE, ballots(votes), before) == before

    def test_nobody_answers(self, grader: Grader) -> None:
        result = labelled(grader, [None] * 4, VOTE)
        assert (result.answer, result.p_hat) == ("None", 1.0)
        assert labelled(grader, [None] * 4, VOTE, none_is_answer=False).answer is None

    def test_none_majorities_are_counted(self, grader: Grader) -> None:
        ctx = tiny.make_context(role="solver", phase="vote")
        votes = [[None, None, "1"], ["1", "1", None]]
        method().label(ctx, ballots(*votes), tally(votes, grader))
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
        base = Curriculum(np.arange(len(rows)))
        return list(method(**params).select(LABEL, pool_of(rows), base).index)

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
        pool = pool_of([("box", "1", 0.5), ("q", "1", 0.5)])
        method().select(ctx, pool, Curriculum(np.arange(2)))
        assert ctx.counts["dropped_by_word"] == 1

    def test_nothing_left(self) -> None:
        assert self.kept([("q", "1", 1.0)]) == []

    def test_the_profile_s_window(self) -> None:
        rows: list[tuple[str, str | None, float]] = [("q", "1", p) for p in (0.2, 0.25, 0.75, 0.79)]
        assert self.kept(rows, window_low="null") == [1, 2, 3]
        assert self.kept(rows, window_high="null") == [2]
        # without a bound of its own it only drops from what the window left
        base = Curriculum(np.array([1, 2]))
        own = method(window_low="null", window_high="null")
        assert own.select(LABEL, pool_of(rows), base) is base


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
        assert off is base
        assert ctx.counts["solver_rewards_changed"] == 2  # the second and the fourth

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


class TestOff:
    OFF = rzero.RZeroCode.off

    @pytest.mark.parametrize(
        "place",
        [
            ("proposer", "train"),
            ("solver", "train"),
            ("proposer", "generate"),
            ("solver", "vote"),
            ("solver", "label"),
        ],
    )
    def test_sampling(self, place: tuple[str, str]) -> None:
        ctx = tiny.make_context(role=place[0], phase=place[1])
        params = SamplingParams(9, n=4, top_p=0.9, top_k=7)
        assert rzero.RZeroCode(self.OFF).sampling(ctx, params) is params

    def test_all_else_is_what_it_was_given(self, grader: Grader, tiny_policy: Policy) -> None:
        off = rzero.RZeroCode(self.OFF)
        votes: list[str | None] = [None, None, None, "1", "2"]
        before = tally([votes], grader)
        for ctx in (VOTE, LABEL):
            assert off.label(ctx, ballots(votes), before) is before
        pool = pool_of([("a box", "None", 0.5), ("q", "\\text{2}", 0.9)])
        base = Curriculum(np.array([0]))
        assert off.select(LABEL, pool, base) is base
        batch = tiny.make_batch(tiny_policy, groups=1, n=2, new=2)
        batch.proposals = [Proposal("", None, None)] * 2
        rewards = proposer_reward(batch.valid, np.full(2, np.nan), np.zeros(2))
        assert off.reward(tiny.make_context(), batch, rewards) is rewards
        rewards = solver_reward(np.array([True, False]))
        assert off.reward(tiny.make_context(role="solver"), batch, rewards) is rewards


def test_published_values() -> None:
    p = method().params
    assert (p.label_votes, p.window_low, p.window_high) == (9, 0.3, 0.8)
    assert (p.train_top_p, p.generate_top_p, p.vote_top_k, p.format_weight) == (0.99, 0.95, 40, 0.1)


def test_answers_are_read_as_everywhere() -> None:
    """The quirk is in the vote, not in the extraction: no box is no answer."""
    assert extract_answer("no box here") is None
