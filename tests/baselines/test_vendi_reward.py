"""Marginal Vendi scores, by hand and against the package."""

from __future__ import annotations

import numpy as np
import pytest
from reward_batches import place, proposed, reward

from baselines.vendi_reward import vendi_gains
from harness.diversity.semantic import vendi_score
from harness.methods import build
from harness.policy import Policy


def test_orthogonal_and_copies() -> None:
    """Orthogonal: 3 - 2. Copies: 1 - 1. {a, a, b}: eigenvalues 2/3, 1/3, VS = exp(.63651) =
    1.88988; without an a 2, without b 1: -.11012 for the copies, .88988 for b."""
    assert vendi_gains(np.eye(3)) == pytest.approx([1, 1, 1])
    assert vendi_gains(np.ones((4, 1))) == pytest.approx([0] * 4, abs=1e-12)
    mixed = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert vendi_gains(mixed) == pytest.approx([-0.11012, -0.11012, 0.88988], abs=1e-5)
    assert vendi_gains(np.ones((1, 1))) == pytest.approx([1])
    assert vendi_gains(np.zeros((0, 1))).shape == (0,)


@pytest.mark.parametrize("d", [4, 30])
def test_against_the_package(d: int) -> None:
    rows = np.random.Generator(np.random.PCG64(d)).normal(size=(9, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = [vendi_score(rows) - vendi_score(np.delete(rows, i, axis=0)) for i in range(9)]
    assert vendi_gains(rows) == pytest.approx(expected, abs=1e-6)


def test_reward(tiny_policy: Policy) -> None:
    """R-Zero .5 each; half of -.11012 and of .88988."""
    ctx = place({"a": [1, 0], "b": [0, 1]})
    batch = proposed(tiny_policy, ["a", "a", None, "b"], [0.5] * 4)
    found = reward(build("vendi_reward")[0], ctx, batch)
    assert found.total == pytest.approx([0.44494, 0.44494, -1, 0.94494], abs=1e-5)
    assert ctx.counts["questions_with_bonus"] == 3


def test_large_batches_are_cut_at_random_but_always_alike(tiny_policy: Policy) -> None:
    """In parts of 2, a question's gain is 1 beside another one and 0 beside its copy."""
    names = ["a", "b"] * 4
    ctx, method = place({"a": [1, 0], "b": [0, 1]}), build("vendi_reward:subset=2,alpha=1")[0]
    batch = proposed(tiny_policy, names, [1.0] * 8)
    first = reward(method, ctx, batch).total
    assert set(first.round(6)) == {0.0, 1.0}
    assert reward(method, ctx, batch).total.tolist() == first.tolist()
    steps = [reward(method, place({"a": [1, 0], "b": [0, 1]}, step=s), batch) for s in range(9)]
    assert len({tuple(r.total.round(6)) for r in steps}) > 1


def test_defaults() -> None:
    params = build("vendi_reward")[0].params
    assert (params.alpha, params.subset) == (0.5, 128)
