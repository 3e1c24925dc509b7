"""Novelty search and OpenSIR, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reward_batches import place, proposed, reward

from baselines.novelty import triangle
from harness.methods import build
from harness.policy import Policy

VECTORS = {"x": [1, 0], "y": [0, 1], "-x": [-1, 0], "xy": [1, 1]}
FAR = 1 - math.sqrt(0.5)
"""Cosine distance of two vectors at 45 degrees: .29289."""


class TestNoveltySearch:
    def test_archive_and_batch(self, tiny_policy: Policy) -> None:
        """k = 2, eta 1, archive x and y. x: 0 to its copy, then .29289 to xy: .14645; xy: .29289
        to both x; -x: 1 to y, then 1.70711 to xy; R-Zero .5."""
        ctx = place(VECTORS, archive=[["x"], [], ["y"]])
        batch = proposed(tiny_policy, ["x", "xy", None, "-x"], [0.5] * 4)
        found = reward(build("novelty_search:k=2,eta=1")[0], ctx, batch)
        expected = [0.5 + FAR / 2, 0.5 + FAR, -1, 0.5 + (1 + 2 - FAR) / 2]
        assert found.total == pytest.approx(expected, abs=1e-6)
        assert ctx.counts["questions_with_bonus"] == 3

    def test_the_archive_alone(self, tiny_policy: Policy) -> None:
        """x: (0 + 1) / 2 = .5; xy: .29289; -x: (2 + 1) / 2; halved by eta."""
        method = build("novelty_search:within_batch=false")[0]
        batch = proposed(tiny_policy, ["x", "xy", "-x"], [0.5] * 3)
        found = reward(method, place(VECTORS, archive=[["x", "y"]]), batch)
        assert found.total == pytest.approx([0.75, 0.5 + FAR / 2, 1.25], abs=1e-6)
        # The first iteration has no archive.
        ctx = place(VECTORS)
        assert reward(method, ctx, batch).total == pytest.approx([0.5] * 3)
        assert ctx.counts["questions_with_bonus"] == 0

    def test_copies_gain_nothing(self, tiny_policy: Policy) -> None:
        batch = proposed(tiny_policy, ["x"] * 4, [0.5] * 4)
        found = reward(build("novelty_search")[0], place(VECTORS), batch)
        assert found.total == pytest.approx([0.5] * 4)

    def test_defaults(self) -> None:
        params = build("novelty_search")[0].params
        assert (params.k, params.eta, params.within_batch) == (15, 0.5, True)


class TestOpenSir:
    def test_triangle(self) -> None:
        """8 votes: .5, .625, .75, .875 are inside, so the ends have 1/4; .6 is half-way from the
        middle: 1 - .75 / 2. 10 votes: .5 to .9 are five, so the ends have 1/5."""
        rates = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        values = triangle(np.array(rates), 0.5, 0.9, 8)
        assert values == pytest.approx([0, 0.25, 0.625, 1, 0.625, 0.25, 0])
        values = triangle(np.array(rates), 0.5, 0.9, 10)
        assert values == pytest.approx([0, 0.2, 0.6, 1, 0.6, 0.2, 0])
        values = triangle(np.array([0.5, 0.6]), 0.5, 0.5, 10)
        assert values == pytest.approx([1, 0])

    def test_the_sum(self, tiny_policy: Policy, base_policy: Policy) -> None:
        """x: p .7 -> 1, its copy in the archive -> 0; y: p .5 -> .2, nearest at 90 degrees -> 1;
        -x: p 1 -> 0, nearest y -> 1. Solutions of n tokens of 10 add n / 10, at most 1."""
        short, long = "1+2=3", "1+2=3; " * 9
        n = len(base_policy.tokenizer(short, add_special_tokens=False)["input_ids"])
        assert 0 < n < 10
        ctx = place(VECTORS, archive=[["x"]], tokenizer=base_policy.tokenizer)
        batch = proposed(
            tiny_policy,
            ["x", "y", "-x", None],
            [0.7, 0.5, 1.0, 0.0],
            0.25,
            solutions=[short, long, None, None],
        )
        found = reward(build("opensir:length=10")[0], ctx, batch)
        assert found.total == pytest.approx([1 + n / 10, 0.2 + 1 + 1, 1, -1], abs=1e-6)
        assert found.components["uncertainty"].tolist() == [0] * 4
        weighted = build("opensir:length_weight=0,novelty_weight=0.5,solvability_weight=2")[0]
        assert reward(weighted, ctx, batch).total == pytest.approx([2, 0.9, 0.5, -1], abs=1e-6)

    def test_a_first_question_is_all_new(self, tiny_policy: Policy) -> None:
        batch = proposed(tiny_policy, ["x", None], [0.7, 0.0])
        assert reward(build("opensir")[0], place(VECTORS), batch).total[0] == pytest.approx(2)

    def test_defaults(self) -> None:
        p = build("opensir")[0].params
        assert (p.low, p.high, p.length, p.weight) == (0.5, 0.9, 1000, 1)
        assert (p.solvability_weight, p.novelty_weight, p.length_weight) == (1, 1, 1)
