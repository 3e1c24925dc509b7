"""The jury of earlier solvers, by hand."""

from __future__ import annotations

import math

import pytest
from reward_batches import place, proposed, reward, tally_of

from harness.grading import Grader
from harness.grading.votes import tally
from harness.methods import build
from harness.policy import Policy


@pytest.fixture(scope="module")
def grader():
    with Grader(1, 10.0) as pool:
        yield pool


def scored(policy: Policy, grader: Grader):
    """Three questions with shares (.5, .2, .8), (.6, .6, .6), (1, .5, .5) and their answers."""
    shares = [(0.5, 0.2, 0.8), (0.6, 0.6, 0.6), (1.0, 0.5, 0.5)]
    answers = [("7", "8", "7"), ("1/2", "0.5", "2"), ("1", "2", "3")]
    jury = [
        [tally_of(p, a) for p, a in zip(ps, said, strict=True)]
        for ps, said in zip(shares, answers, strict=True)
    ]
    batch = proposed(
        policy,
        ["a", "b", "c", None],
        [0.5, 0.6, 1.0, 0.0],
        0.25,
        jury=[*jury, [None] * 3],
    )
    ctx = place(tally=lambda votes: tally(votes, grader))
    return ctx, batch


def test_worst_case(tiny_policy: Policy, grader: Grader) -> None:
    """min of (.5, .2, .2), (.4, .4, .4), (0, .5, .5) = .2, .4, 0; minus .25."""
    ctx, batch = scored(tiny_policy, grader)
    found = reward(build("solver_ensemble")[0], ctx, batch)
    assert found.total == pytest.approx([-0.05, 0.15, -0.25, -1])
    assert ctx.counts["questions_with_other_uncertainty"] == 1


def test_mean_minus_spread(tiny_policy: Policy, grader: Grader) -> None:
    """Means .3, .4, 1/3; spreads sqrt((.04 + .01 + .01) / 3) = .14142, 0,
    sqrt((1/9 + 1/36 + 1/36) / 3) = .23570; with kappa 2: .01716, .4, -.13807; minus .25."""
    ctx, batch = scored(tiny_policy, grader)
    method = build("solver_ensemble:mode=uncertainty_weighted,kappa=2")[0]
    found = reward(method, ctx, batch)
    assert found.total == pytest.approx([-0.23284, 0.15, -0.38807, -1], abs=1e-5)


def test_disagreement(tiny_policy: Policy, grader: Grader) -> None:
    """2 and 1 of 3 (1/2 is 0.5): H = .63651 nats, over ln 3 = .57938, halved .28969; all
    different: .5; minus .25."""
    ctx, batch = scored(tiny_policy, grader)
    found = reward(build("solver_ensemble:mode=disagreement")[0], ctx, batch)
    assert found.total == pytest.approx([0.03969, 0.03969, 0.25, -1], abs=1e-5)
    full = reward(build("solver_ensemble:mode=disagreement,peak=1")[0], ctx, batch)
    assert full.total[2] == pytest.approx(0.75)


def test_who_has_no_answer_disagrees_with_nobody(tiny_policy: Policy, grader: Grader) -> None:
    """7, 8 and silence: two answers, H = ln 2, over ln 3 = .63093, halved; 7 and silence: 0."""
    ctx, _ = scored(tiny_policy, grader)
    said = [("7", None, "8"), ("7", None, None), (None, None, None)]
    jury = [[tally_of(0.5, a) for a in row] for row in said]
    batch = proposed(tiny_policy, ["a", "b", "c"], [0.5] * 3, jury=jury)
    found = reward(build("solver_ensemble:mode=disagreement")[0], ctx, batch)
    assert found.total == pytest.approx([math.log(2) / math.log(3) / 2, 0, 0])


def test_one_juror_is_r_zero(tiny_policy: Policy) -> None:
    """The first iteration has the base model only, in every mode."""
    batch = proposed(tiny_policy, ["a", None], [0.5, 0.0])
    for mode in ("worst_case", "uncertainty_weighted", "disagreement"):
        method = build(f"solver_ensemble:mode={mode}")[0]
        assert method.reward(place(), batch, batch.rewards) is batch.rewards


def test_jurors_are_asked_for_from_their_own_iteration_on() -> None:
    method, ctx = build("solver_ensemble")[0], place()
    juries = [method.jury(ctx, (t - 1,)) for t in range(1, 7)]
    assert juries == [(0,), (1, 0), (2, 1, 0), (3, 2, 1), (4, 3, 2), (5, 4, 3)]
    for t, jury in enumerate(juries, start=1):
        for snapshot in jury:  # nobody comes back after a gap, when its checkpoint is gone
            assert all(snapshot in juries[s - 1] for s in range(snapshot + 1, t))
    assert build("solver_ensemble:snapshots=1")[0].jury(ctx, (4,)) == (4,)


def test_defaults() -> None:
    params = build("solver_ensemble")[0].params
    assert (params.mode, params.snapshots, params.kappa, params.peak) == ("worst_case", 3, 1, 0.5)
