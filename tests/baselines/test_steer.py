"""STEER by hand: the estimate of the entropy change, both maps, and what the weights do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tiny
import torch
from token_inputs import BASE, gradient_of, is_untouched, loss_of, make_inputs, micro_batches

from baselines.steer import Steer, entropy_change
from harness.methods import build

LN2 = math.log(2)


def inputs(**changes: float):
    """p = 1/2, old 1/2, A = 2, H = 1: |Omega| = 2 * 1/2 * (1 - ln 2) = .306853.

    p = 1/4, old 1/2, A = -1, H = 3/2: |(-1 / .5) * 1/4 * 3/4 * (3/2 - 2 ln 2)| = .042640;
    A = 0: 0. The fourth token isn't part of the response.
    """
    return make_inputs(
        [[-LN2, -2 * LN2, -1.0, -3.0]],
        [[2.0, -1.0, 0.0, 9.0]],
        old=[[-LN2, -LN2, -1.0, -1.0]],
        entropy=[[1.0, 1.5, 1.0, 1.0]],
        mask=[[1, 1, 1, 0]],
        **changes,
    )


def test_omega_by_hand() -> None:
    expected = [1 - LN2, 0.375 * (1.5 - 2 * LN2), 0.0, 0.0]
    assert entropy_change(inputs())[0].tolist() == pytest.approx(expected, abs=1e-6)


class TestWeights:
    def weight(self, name: str, x) -> list[float]:
        method = build(name)[0]
        assert isinstance(method, Steer)
        return method.weight(x)[x.mask].tolist()

    def test_exp(self) -> None:
        """.8 to the power |Omega| / max: the second is .8^(.042640 / .306853) = .969467."""
        assert self.weight("steer", inputs()) == pytest.approx([0.8, 0.969467, 1.0], abs=1e-5)

    def test_exp_with_a_small_maximum(self) -> None:
        """|Omega| = .01 is half the floor .02: .8^(1/2)."""
        a = 0.01 / (0.5 * (1 - LN2))
        x = make_inputs([[-LN2]], [[a]], entropy=[[1.0]])
        assert self.weight("steer", x) == pytest.approx([math.sqrt(0.8)], abs=1e-5)

    def test_linear(self) -> None:
        """1.2 - .4 * .042640 / .306853 = 1.144417 between the ends .8 and 1.2."""
        found = self.weight("steer:map=linear", inputs())
        assert found == pytest.approx([0.8, 1.144417, 1.2], abs=1e-5)

    def test_one_value_or_none(self) -> None:
        x = make_inputs([[-1.0, -1.0]], [[0.0, 0.0]])
        assert self.weight("steer:map=linear", x) == pytest.approx([1.2, 1.2])
        assert self.weight("steer", x) == [1.0, 1.0]
        empty = make_inputs([[-1.0]], [[1.0]], mask=[[0]])
        for name in ("steer", "steer:map=linear"):
            assert self.weight(name, empty) == []
            found = loss_of(build(name)[0], tiny.make_context(), empty)
            assert torch.isfinite(found.loss).all()

    def test_an_outlier_switches_it_off(self) -> None:
        """500 times the others' |Omega|: their weight is .8^(1/500) = .99955."""
        x = make_inputs([[-LN2] * 9], [[1.0] * 8 + [500.0]])
        assert self.weight("steer", x) == pytest.approx([0.8 ** (1 / 500)] * 8 + [0.8], abs=1e-5)

    def test_a_wider_scope_s_extremes(self) -> None:
        """Alone, each row's only token is its own maximum; together, A = 1 weighs .8^(1/2)."""
        step = make_inputs([[-LN2], [-LN2]], [[1.0], [2.0]])
        for scope, first in (("micro", 0.8), ("mini", math.sqrt(0.8)), ("rollout", 0.8**0.5)):
            one, two = micro_batches(step, [[[0], [1]]])
            name = f"steer:stat_scope={scope}"
            assert self.weight(name, one) == pytest.approx([first], abs=1e-5)
            assert self.weight(name, two) == pytest.approx([0.8], abs=1e-5)

    def test_weights_stay_within_their_bounds_in_a_wider_scope(self) -> None:
        """The scope's extremes are the old policy's; a token may have moved beyond them."""
        (x,) = micro_batches(make_inputs([[-LN2, -LN2]], [[1.0, 2.0]]), [[[0]]])
        x.logp = torch.tensor([[-LN2 + 0.6, -3 * LN2]])
        for name, low, high in (("exp", 0.8, 1.0), ("linear", 0.8, 1.2)):
            weight = torch.tensor(self.weight(f"steer:map={name},stat_scope=rollout", x))
            assert (weight >= low - 1e-6).all()
            assert (weight <= high + 1e-6).all()


class TestLoss:
    def test_by_hand(self) -> None:
        """Clipped losses -2, max(.5, .8) and 0, times the weights; the KL term has weight 1."""
        x = inputs(kl=0.1)
        x.ref = x.ref + LN2
        ctx = tiny.make_context()
        found = loss_of(build("steer")[0], ctx, x)
        kl = 0.1 * (1 - LN2)
        expected = [kl - 1.6, kl + 0.8 * 0.969467, kl]
        assert found.loss.detach()[0, :3].tolist() == pytest.approx(expected, abs=1e-5)
        assert found.denominator.tolist() == [[1.0, 1.0, 1.0, 0.0]]
        assert ctx.counts["tokens_reweighted"] == 2
        assert ctx.counts["weight_changed"] == pytest.approx(0.2 + 1 - 0.969467, abs=1e-5)

    def test_weights_carry_no_gradient(self) -> None:
        """-A times the weight at ratio 1, and nothing from the weight's own dependence on logp."""
        gradient = gradient_of(build("steer")[0], tiny.make_context(), inputs())
        assert gradient[0].tolist() == pytest.approx([-1.6, 0.0, 0.0, 0.0], abs=1e-5)


def test_defaults() -> None:
    method = build("steer")[0]
    assert isinstance(method, Steer)
    assert (method.params.map, method.params.w_min, method.w_max) == ("exp", 0.8, 1.0)
    assert method.params.stat_scope == "micro"
    linear = build("steer:map=linear")[0]
    assert isinstance(linear, Steer)
    assert linear.w_max == 1.2
    for name in ("steer", "steer_control"):
        c = build(name)[0].coefficients(tiny.make_context(), BASE)
        assert c == replace(BASE, clip_low=0.2, clip_high=0.28, dual_clip=10.0, kl=0.0)


@pytest.mark.parametrize(
    "name",
    [
        "steer:w_min=1.0,settings=rzero",
        "steer:map=linear,w_max=1.0,w_min=1.0,settings=rzero",
        "steer:role=solver",
        "steer_control:settings=rzero",
    ],
)
def test_off(name: str) -> None:
    assert is_untouched(build(name)[0], tiny.make_context(), inputs())
