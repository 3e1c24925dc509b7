"""Majority votes against brute force."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.grading import Grader, Tally, tally

VOTES = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from(
            [
                *("", " ", "1", "01", "1.0", "2", "-2", "1/2", "0.5", r"\frac12", r"\frac{2}{4}"),
                *("x+1", "1+x", "x + 1", "x", "(1,2)", "(1, 2)", "4/2", r"\sqrt{4}", "}{", "cat"),
                *("1,000", "1000", "1 000 cm", "50%", "50", r"\{1,2\}", r"\{2, 1\}", "1, 2", "X"),
                *(
                    r"\text{Cat}",
                    "(A)",
                    r"\text{A}",
                    "x=1",
                    r"\pm 1",
                    "1,-1",
                    "0.5 m",
                    "11_2",
                    "11",
                ),
            ]
        ),
    ),
    max_size=10,
)


def brute_force(votes: Sequence[str | None], grader: Grader) -> Tally:
    """All pairs, closure by relabelling until nothing changes."""
    texts = [v.strip() if v is not None else "" for v in votes]
    label = [i if t else -1 for i, t in enumerate(texts)]
    pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts)) if texts[i] and texts[j]]
    same = grader.equivalent(
        first=[texts[i] for i, _ in pairs], second=[texts[j] for _, j in pairs]
    )
    changed = True
    while changed:
        changed = False
        for (i, j), equal in zip(pairs, same, strict=True):
            if equal and label[i] != label[j]:
                label[i] = label[j] = min(label[i], label[j])
                changed = True
    groups = {x: [i for i, y in enumerate(label) if y == x] for x in set(label) - {-1}}
    names = {x: min((len(texts[i]), texts[i]) for i in rows) for x, rows in groups.items()}
    order = sorted(groups, key=lambda x: (-len(groups[x]), names[x]))
    return Tally(
        answer=names[order[0]][1] if order else None,
        p_hat=len(groups[order[0]]) / len(votes) if order else 0.0,
        cluster=tuple(-1 if x == -1 else order.index(x) for x in label),
        n_answers=sum(map(bool, texts)),
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(VOTES, max_size=3), st.randoms(use_true_random=False))
def test_equals_brute_force_in_any_order(
    grader: Grader, votes: list[list[str | None]], rng: random.Random
) -> None:
    tallies = tally(votes, grader)
    assert tallies == [brute_force(row, grader) for row in votes]
    for row, before in zip(votes, tallies, strict=True):
        order = rng.sample(range(len(row)), len(row))
        (after,) = tally([[row[i] for i in order]], grader)
        assert (after.answer, after.p_hat) == (before.answer, before.p_hat)
        assert after.cluster == tuple(before.cluster[i] for i in order)


@pytest.mark.parametrize(
    ("votes", "answer", "p_hat", "cluster"),
    [
        (["3", "3", "4"], "3", 2 / 3, (0, 0, 1)),
        (["3", None, None, None], "3", 0.25, (0, -1, -1, -1)),
        ([None, ""], None, 0.0, (-1, -1)),
        ([], None, 0.0, ()),
        (["12", "7"], "7", 0.5, (1, 0)),  # tie: the shorter
        (["9", "7"], "7", 0.5, (1, 0)),  # tie of one length: code-point order
        (["007", "7.0", "8", "8"], "8", 0.5, (1, 1, 0, 0)),
        (["1,000", "$1000$", r"1{,}000", "10"], "1,000", 0.75, (0, 0, 0, 1)),
        (["5 cm", "5", "5 kg"], "5", 1.0, (0, 0, 0)),  # transitive: the plain 5 joins them
        (["5 cm", "5 kg"], "5 cm", 0.5, (0, 1)),
        ([r"\text{Even}", "even", "EVEN", "odd"], "EVEN", 0.75, (0, 0, 0, 1)),
        (["1/3", "0.333333"], "1/3", 0.5, (0, 1)),  # rounding is for grading alone
    ],
)
def test_table(
    votes: list[str | None], answer: str | None, p_hat: float, cluster: tuple[int, ...]
) -> None:
    with Grader() as lazy:
        (result,) = tally([votes], lazy)
        assert lazy.worker_pids == []
    assert (result.answer, result.p_hat, result.cluster) == (answer, p_hat, cluster)
    assert result.n_clusters == len(set(cluster) - {-1})


def test_a_hostile_answer_costs_one_deadline_not_one_for_each_neighbour() -> None:
    votes = ["10^{10^{10^{10}}}", "x", "y", "x+1", "1+x", "x^2", "7"]
    with Grader(deadline_s=2.0) as pool:
        pool.equivalent(first=["x+1"], second=["y"])  # warm
        start = time.monotonic()
        (result,) = tally([votes], pool)
        assert time.monotonic() - start < 8.0
    assert result.cluster[3] == result.cluster[4] == 0
    assert result.cluster.count(result.cluster[0]) == 1


def test_integer_votes_are_cheap() -> None:
    rng = random.Random(0)
    votes = [
        [str(rng.randint(1, 40)) if rng.random() < 0.9 else None for _ in range(10)]
        for _ in range(1280)
    ]
    with Grader() as lazy:
        start = time.process_time()
        tally(votes, lazy)
        assert time.process_time() - start < 2.0  # about 0.1 s
        assert lazy.worker_pids == []
