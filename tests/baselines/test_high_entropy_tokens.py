"""80/20 by hand: which tokens are kept, and what the mean is taken over."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch
from token_inputs import BASE, is_untouched, loss_of, make_inputs, micro_batches

from harness.methods import build

ENTROPY = [[0.1, 0.9, 0.2, 0.8, 0.0], [0.3, 9.0, 0.4, 0.5, 0.6]]
MASK = [[1, 1, 1, 1, 1], [1, 0, 1, 1, 1]]


def inputs(**changes: float):
    """Nine response tokens; the largest entropy stands outside the response."""
    a = [[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]]
    return make_inputs([[-1.0] * 5] * 2, a, entropy=ENTROPY, mask=MASK, **changes)


def mean(found) -> float:
    return float((found.loss * found.denominator).sum().detach() / found.denominator.sum())


class TestKept:
    @pytest.mark.parametrize(
        ("fraction", "kept"),
        [
            (0.2, {(0, 1), (0, 3)}),  # ceil(1.8) = 2
            (0.25, {(0, 1), (0, 3), (1, 4)}),  # ceil(2.25) = 3
            (1 / 3, {(0, 1), (0, 3), (1, 4)}),  # 3, not ceil(3.0000001)
            (0.01, {(0, 1)}),
        ],
    )
    def test_the_ceil_of_the_share(self, fraction: float, kept: set[tuple[int, int]]) -> None:
        ctx = tiny.make_context()
        found = loss_of(build(f"high_entropy_tokens:keep_fraction={fraction}")[0], ctx, inputs())
        assert {tuple(place) for place in found.denominator.nonzero().tolist()} == kept
        assert ctx.counts == {"tokens_left_out": 9 - len(kept)}

    def test_nothing_to_keep(self) -> None:
        x = make_inputs([[-1.0]], [[1.0]], mask=[[0]])
        found = loss_of(build("high_entropy_tokens")[0], tiny.make_context(), x)
        assert found.denominator.sum() == 0
        assert torch.isfinite(found.loss).all()

    @pytest.mark.parametrize(
        ("scope", "kept"),
        [("micro", [[1], [4]]), ("mini", [[1, 3], []]), ("rollout", [[1, 3], []])],
    )
    def test_scopes(self, scope: str, kept: list[list[int]]) -> None:
        """A fifth of five and of four tokens is one each; of all nine, two of the first row."""
        for x, expected in zip(micro_batches(inputs(), [[[0], [1]]]), kept, strict=True):
            name = f"high_entropy_tokens:stat_scope={scope}"
            found = loss_of(build(name)[0], tiny.make_context(), x)
            assert found.denominator[0].nonzero().flatten().tolist() == expected


class TestMean:
    def test_over_the_kept_tokens_only(self) -> None:
        """A = 2 and 4 at ratio 1: -(2 + 4) / 2."""
        found = loss_of(build("high_entropy_tokens")[0], tiny.make_context(), inputs())
        assert mean(found) == pytest.approx(-3.0)

    def test_kl_and_entropy_terms_are_means_over_all(self) -> None:
        """k3 is 1 - ln 2 at d = ln 2 in row 0 and 0 in row 1: 5 of 9; mean H = 3.8 / 9."""
        x = inputs()
        x.coefficients = replace(x.coefficients, kl=0.5, entropy=0.1)
        x.ref = x.ref + torch.tensor([[math.log(2)], [0.0]])
        found = loss_of(build("high_entropy_tokens")[0], tiny.make_context(), x)
        expected = -3.0 + 0.5 * (1 - math.log(2)) * 5 / 9 - 0.1 * 3.8 / 9
        assert mean(found) == pytest.approx(expected, abs=1e-5)


def test_defaults() -> None:
    p = build("high_entropy_tokens")[0].params
    assert (p.keep_fraction, p.stat_scope) == (0.2, "micro")
    for name in ("high_entropy_tokens", "high_entropy_tokens_control"):
        c = build(name)[0].coefficients(tiny.make_context(), BASE)
        assert c == replace(BASE, clip_low=0.2, clip_high=0.28, kl=0.0)


@pytest.mark.parametrize(
    "name",
    [
        "high_entropy_tokens:keep_fraction=1.0,settings=rzero",
        "high_entropy_tokens:role=solver",
        "high_entropy_tokens_control:settings=rzero",
    ],
)
def test_off(name: str) -> None:
    assert is_untouched(build(name)[0], tiny.make_context(), inputs())
