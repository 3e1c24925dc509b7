"""maj@k and best-of-majority against enumeration."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.statistics import best_of_majority, check_samples, maj_at_k, pass_at_k

pytestmark = pytest.mark.filterwarnings("ignore:maj@", "ignore:pass@")

answers = st.lists(st.integers(-1, 3), min_size=1, max_size=8)
right = st.sets(st.integers(0, 4))


def vote(chosen: Sequence[int], correct: Collection[int]) -> float:
    counts = Counter(c for c in chosen if c != -1)
    if not counts:
        return 0.0
    winners = [c for c, n in counts.items() if n == max(counts.values())]
    return sum(c in correct for c in winners) / len(winners)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@settings(deadline=None, max_examples=200)
@given(answers, right, st.data())
def test_maj_at_k_is_the_mean_over_all_choices(
    clusters: list[int], correct: set[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(clusters)))
    every = [vote(c, correct) for c in itertools.combinations(clusters, k)]
    assert maj_at_k(clusters, correct, k) == pytest.approx(mean(every), abs=1e-12)


@settings(deadline=None, max_examples=200)
@given(answers, right, st.data())
def test_best_of_majority_is_the_mean_over_all_ways_to_break_ties(
    clusters: list[int], correct: set[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(clusters)))
    counts = Counter(c for c in clusters if c != -1)
    found = []
    for order in itertools.permutations(counts):  # sorted() is stable: the order breaks the ties
        best = sorted(order, key=lambda c: -counts[c])[:k]
        found.append(float(any(c in correct for c in best)))
    assert best_of_majority(clusters, correct, k) == pytest.approx(mean(found), abs=1e-12)


@settings(deadline=None)
@given(answers, right)
def test_what_they_have_in_common(clusters: list[int], correct: set[int]) -> None:
    n = len(clusters)
    share = mean([float(c in correct) for c in clusters])
    assert maj_at_k(clusters, correct, 1) == pytest.approx(share)
    whole = maj_at_k(clusters, correct, n)
    assert whole == pytest.approx(vote(clusters, correct))
    assert best_of_majority(clusters, correct, 1) == pytest.approx(whole)
    some = sum(c in correct for c in clusters)
    for k in range(1, n + 1):
        assert best_of_majority(clusters, correct, k) >= whole - 1e-12
        assert maj_at_k(clusters, correct, k) <= pass_at_k(n, some, k) + 1e-12


@settings(deadline=None)
@given(answers, right)
def test_neither_order_nor_numbering_matters(clusters: list[int], correct: set[int]) -> None:
    moved = sorted(clusters, reverse=True)
    named = {-1: -1, **{c: 10 - c for c in range(5)}}
    renamed, good = [named[c] for c in moved], {named[c] for c in correct}
    for k in range(1, len(clusters) + 1):
        assert maj_at_k(renamed, good, k) == pytest.approx(maj_at_k(clusters, correct, k))
        assert best_of_majority(renamed, good, k) == best_of_majority(clusters, correct, k)


def test_by_hand() -> None:
    # Of the 4 choices of three, 2 have both zeros; in the other 2 all three answers tie.
    clusters = [0, 0, 1, 2]
    assert maj_at_k(clusters, 0, 3) == pytest.approx((2 * 1 + 2 / 3) / 4)
    assert maj_at_k(clusters, [1], 4) == 0.0
    assert best_of_majority(clusters, 1, 2) == 0.5  # 1 and 2 tie for the second place
    assert best_of_majority(clusters, {1, 2}, 2) == 1.0
    assert best_of_majority(clusters, 3, 4) == 0.0


def test_no_answer_never_wins() -> None:
    assert maj_at_k([-1, -1, -1, 5], 5, 4) == 1.0
    assert maj_at_k([-1, -1, -1, 5], -1, 4) == 0.0
    assert maj_at_k([-1, -1], 0, 2) == 0.0
    assert best_of_majority([-1, -1, 5], 5, 1) == 1.0
    assert best_of_majority([-1, -1], [0, -1], 2) == 0.0


def test_many_samples_stay_exact() -> None:
    clusters = [i % 7 for i in range(128)]
    shares = [maj_at_k(clusters, c, 32) for c in range(7)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert shares[0] > shares[6]


@pytest.mark.parametrize("measure", [maj_at_k, best_of_majority])
def test_impossible_counts_are_refused(measure: Callable[..., float]) -> None:
    for clusters, k, message in [
        ([0, 1], 3, "at least 3 samples per item, got 2"),
        ([], 1, "at least 1"),
        ([0, 1], 0, "at least 1"),
        ([0, -2], 1, "class -2"),
    ]:
        with pytest.raises(HarnessError, match=message):
            measure(clusters, 0, k)


def test_greedy_decoding_has_no_k() -> None:
    for refused in (
        lambda: pass_at_k(4, 2, 2, temperature=0),
        lambda: maj_at_k([0, 0, 0], 0, 2, temperature=0.0),
        lambda: best_of_majority([0, 0, 0], 0, 2, temperature=0),
    ):
        with pytest.raises(HarnessError, match="temperature 0 all samples are one answer"):
            refused()
    assert pass_at_k(1, 1, 1, temperature=0) == 1.0
    assert maj_at_k([0, 0], 0, 2, temperature=0.7) == 1.0
    for impossible in (float("nan"), -1.0, float("inf")):
        with pytest.raises(HarnessError, match="temperature of"):
            check_samples(4, 2, impossible)
    check_samples(4, 2)


def test_few_samples_warn() -> None:
    with pytest.warns(UserWarning, match="maj@3 from 4 samples is noisy; draw 6"):
        maj_at_k([0, 1, 1, 1], 0, 3)
