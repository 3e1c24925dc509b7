"""The best answer among the frequent ones, as a label."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from baselines.best_of_majority import choose
from harness.grading.votes import Tally
from harness.methods import Ballots, build

# Ten votes: 4 for 7, 3 for 8 (one spelt 8.0), 2 for 9, none in the last.
ANSWERS = ["7", "8.0", "7", "9", "8", "7", "9", "7", "8", None]
CLUSTER = (0, 1, 0, 2, 1, 0, 2, 0, 1, -1)
TALLY = Tally("7", 0.4, CLUSTER, 9)
# Means: 7: -1, 8: (-.6 - .2 - .7) / 3 = -.5, 9: -.1.
LOGPROBS = np.array([-1.0, -0.6, -1.0, -0.1, -0.2, -1.0, -0.1, -1.0, -0.7, -0.01])


def test_default() -> None:
    assert build("best_of_majority")[0].params.alpha == 0.25


def test_the_most_probable_of_the_frequent_answers() -> None:
    # 9 has the highest mean, but 2 of 10 votes are fewer than a quarter
    found = choose(TALLY, ANSWERS, LOGPROBS, 0.25)
    assert found.answer == "8"  # the shortest spelling
    assert found.p_hat == 0.3
    assert found.cluster == (1, 0, 1, 2, 0, 1, 2, 1, 0, -1)
    assert found.n_answers == 9


def test_a_lower_threshold_lets_rarer_answers_in() -> None:
    found = choose(TALLY, ANSWERS, LOGPROBS, 0.2)
    assert (found.answer, found.p_hat) == ("9", 0.2)
    assert found.cluster == (1, 2, 1, 0, 2, 1, 0, 1, 2, -1)


@pytest.mark.parametrize("alpha", [0.35, 0.4, 0.9])
def test_the_majority_stays_where_it_alone_or_none_is_frequent(alpha: float) -> None:
    assert choose(TALLY, ANSWERS, LOGPROBS, alpha) is TALLY


def test_a_tie_falls_to_the_more_frequent() -> None:
    assert choose(TALLY, ANSWERS, np.full(10, -1.0), 0.2) is TALLY


def test_nobody_answered() -> None:
    silent = Tally(None, 0.0, (-1, -1), 0)
    assert choose(silent, [None, None], np.zeros(2), 0.1) is silent


votes = st.lists(
    st.tuples(st.sampled_from([None, "1", "2", "30", "4"]), st.floats(-5, 0)), min_size=1
)


@given(votes, st.floats(0.05, 0.95))
def test_a_tally_stays_a_tally(drawn: list[tuple[str | None, float]], alpha: float) -> None:
    answers = [a for a, _ in drawn]
    logprobs = np.array([x for _, x in drawn])
    ctx = tiny.make_context(role="solver", phase="label")
    (before,) = ctx.tally([answers])
    after = choose(before, answers, logprobs, alpha)
    assert after.p_hat == pytest.approx(after.cluster.count(0) / len(answers))
    assert after.n_clusters == before.n_clusters
    assert after.n_answers == before.n_answers
    assert [c < 0 for c in after.cluster] == [a is None for a in answers]
    # one id per answer, the winner's is 0, the others keep their order
    assert {a for a, c in zip(answers, after.cluster, strict=True) if c == 0} <= {after.answer}
    renamed = dict(zip(before.cluster, after.cluster, strict=True))
    assert all(renamed[b] == a for b, a in zip(before.cluster, after.cluster, strict=True))
    others = [renamed[b] for b in sorted(renamed) if renamed[b] > 0]
    assert others == sorted(others)
    # the invariant of the threshold: chosen by frequency, or the majority itself
    assert after is before or after.p_hat >= alpha - 1e-9


def ballots(n: int = 1) -> Ballots:
    return Ballots(["q"] * n, [ANSWERS] * n, [[""] * 10] * n, np.tile(LOGPROBS, (n, 1)))


def test_only_labels_are_chosen_so() -> None:
    method = build("best_of_majority")[0]
    reward = tiny.make_context(role="solver", phase="vote")
    given_ = [TALLY]
    assert method.label(reward, ballots(), given_) is given_
    label = tiny.make_context(role="solver", phase="label")
    assert method.label(label, ballots(2), [TALLY, TALLY])[1].answer == "8"
    assert label.counts["labels_changed"] == 2
    assert method.label(label, Ballots([], [], [], np.zeros((0, 10))), []) == []


def test_off_is_the_majority() -> None:
    given_ = [TALLY]
    ctx = tiny.make_context(role="solver", phase="label")
    assert build("best_of_majority:alpha=1")[0].label(ctx, ballots(), given_) is given_
