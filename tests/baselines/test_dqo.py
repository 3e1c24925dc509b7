"""DQO's determinant ratios, by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from reward_batches import place, proposed, reward

from baselines.dqo import log_det_gains
from harness.methods import build
from harness.policy import Policy


def test_orthogonal_and_identical() -> None:
    """Orthogonal: det(L + I) = 2^k, a factor 2 each: ln 2. k copies: 1 + k over k."""
    assert log_det_gains(np.eye(3)) == pytest.approx([0.6931472] * 3)
    assert log_det_gains(np.ones((4, 1))) == pytest.approx([0.2231436] * 4)
    wide = np.zeros((4, 9))
    wide[:, 2] = 1.0
    assert log_det_gains(wide) == pytest.approx([0.2231436] * 4)
    assert log_det_gains(np.zeros((0, 1))).shape == (0,)


@pytest.mark.parametrize("d", [3, 20])
def test_against_determinants(d: int) -> None:
    rows = np.random.Generator(np.random.PCG64(d)).normal(size=(8, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def log_det(kept: list[int]) -> float:
        part = rows[kept]
        return float(np.log(np.linalg.det(part @ part.T + np.eye(len(kept)))))

    everyone = list(range(8))
    expected = [log_det(everyone) - log_det([j for j in everyone if j != i]) for i in everyone]
    assert log_det_gains(rows) == pytest.approx(expected)


def test_sets_are_groups_or_the_batch(tiny_policy: Policy) -> None:
    """Groups {a, a} and {b, invalid}: two copies ln(3 / 2) = .4055, one alone ln 2 = .6931, halved
    by alpha; R-Zero's part is .5. In the batch b is orthogonal to both copies: the same numbers.
    Groups {a, b} and {a, b}: all ln 2; in the batch every question has one copy: ln(3 / 2)."""
    vectors = {"a": [1, 0], "b": [0, 1]}
    ctx, batch = place(vectors), proposed(tiny_policy, ["a", "a", "b", None], [0.5] * 4, groups=2)
    for scope in ("group", "batch"):
        found = reward(build(f"dqo:scope={scope}")[0], ctx, batch)
        assert found.total == pytest.approx([0.70273, 0.70273, 0.84657, -1.0], abs=1e-5)
    assert ctx.counts["questions_with_bonus"] == 6
    batch = proposed(tiny_policy, ["a", "b", "a", "b"], [0.5] * 4, groups=2)
    assert reward(build("dqo")[0], ctx, batch).total == pytest.approx([0.84657] * 4, abs=1e-5)
    found = reward(build("dqo:scope=batch")[0], ctx, batch)
    assert found.total == pytest.approx([0.70273] * 4, abs=1e-5)


def test_defaults() -> None:
    params = build("dqo")[0].params
    assert (params.alpha, params.scope) == (0.5, "group")
