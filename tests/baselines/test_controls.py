"""The controls: shuffled labels, and nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from harness.grading.votes import Tally
from harness.methods import Ballots, build

answers = st.lists(st.one_of(st.none(), st.sampled_from("1234")), max_size=30)


def ballots(labels: list[str | None]) -> Ballots:
    """One vote per question."""
    n = len(labels)
    return Ballots(["q"] * n, [[a] for a in labels], [[str(a)] for a in labels], np.zeros((n, 1)))


def tallies(labels: list[str | None]) -> list[Tally]:
    """One vote share for each question, so that a mix-up would be seen."""
    return [
        Tally(a, 0.0 if a is None else (i + 1) / 100, (-1 if a is None else 0,), a is not None)
        for i, a in enumerate(labels)
    ]


@given(answers, st.integers(0, 1000))
def test_labels_are_permuted_and_all_else_stays(labels: list[str | None], seed: int) -> None:
    ctx = tiny.make_context(role="solver", phase="label", seed=seed)
    before = tallies(labels)
    after = build("random_label")[0].label(ctx, ballots(labels), before)
    assert Counter(t.answer for t in after) == Counter(labels)
    assert [t.answer is None for t in after] == [a is None for a in labels]
    for field in ("p_hat", "cluster", "n_answers"):
        assert [getattr(t, field) for t in after] == [getattr(t, field) for t in before]
    changed = sum(a.answer != b for a, b in zip(after, labels, strict=True))
    assert ctx.counts["labels_changed"] == changed
    assert [t.answer for t in before] == labels  # nothing is changed in place


def test_a_long_list_is_really_shuffled() -> None:
    labels: list[str | None] = [str(i) for i in range(200)]
    orders = set()
    for seed in range(3):
        for iteration in (1, 2):
            ctx = tiny.make_context(role="solver", phase="label", seed=seed, iteration=iteration)
            after = build("random_label")[0].label(ctx, ballots(labels), tallies(labels))
            assert (
                ctx.counts["labels_changed"] > 180
            )  # a permutation has one fixed point on average
            orders.add(tuple(t.answer for t in after))
    assert len(orders) == 6


@pytest.mark.parametrize("phase", ["vote", "train", "generate"])
def test_rewards_see_the_true_votes(phase: str) -> None:
    before = tallies(["1", "2", "3"])
    ctx = tiny.make_context(role="solver", phase=phase)
    assert build("random_label")[0].label(ctx, ballots(["1", "2", "3"]), before) is before
    assert not ctx.counts


def test_a_share_of_the_labels() -> None:
    """Of 400 distinct labels, about 100 take part (deviation 8.7) and about one of them stays."""
    labels: list[str | None] = [str(i) for i in range(400)]
    ctx = tiny.make_context(role="solver", phase="label")
    after = build("random_label:share=0.25")[0].label(ctx, ballots(labels), tallies(labels))
    assert 50 < ctx.counts["labels_changed"] < 150
    assert Counter(t.answer for t in after) == Counter(labels)


def test_both_controls_can_be_switched_off() -> None:
    before = tallies(["1", "2", "3"])
    ctx = tiny.make_context(role="solver", phase="label")
    off = build("random_label:share=0")[0]
    assert off.label(ctx, ballots(["1", "2", "3"]), before) is before
    trained = build("static_proposer:train_proposer=true")[0]
    assert trained.steps(tiny.make_context(), 5) == 5
    assert build("static_proposer")[0].steps(ctx, 5) == 5
    assert not ctx.counts
    skipping = tiny.make_context()
    assert build("static_proposer")[0].steps(skipping, 5) == 0
    assert skipping.counts["proposer_steps_skipped"] == 5
