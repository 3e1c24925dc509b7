"""The symmetric clip: where it holds a token that the baseline's doesn't."""

from __future__ import annotations

import math

import pytest
import tiny
from token_inputs import BASE, make_inputs

from harness.grpo import base_token_loss
from harness.methods import build


def test_a_rising_token_is_held_at_a_smaller_ratio() -> None:
    """A = 1, ratio 1.25: the baseline's clip (1.3) gives -1.25, the symmetric one -1.2."""
    ctx = tiny.make_context()
    c = build("clip_symmetric")[0].coefficients(ctx, BASE)
    x = make_inputs([[-1.0]], [[1.0]], old=[[-1.0 - math.log(1.25)]])
    assert float(base_token_loss(x).loss.detach()) == pytest.approx(-1.25)
    x.coefficients = c
    assert float(base_token_loss(x).loss.detach()) == pytest.approx(-1.2)
    assert ctx.counts == {"steps_with_another_clip": 1}


def test_defaults_change_nothing_else() -> None:
    p = build("clip_symmetric")[0].params
    assert (p.low, p.high) == (0.2, 0.2)
    c = build("clip_symmetric")[0].coefficients(tiny.make_context(), BASE)
    assert (c.dual_clip, c.kl, c.entropy) == (3.0, 0.01, 0.0)


def test_one_side_only_and_one_role_only() -> None:
    method = build("clip_symmetric:low=0.1,high=null,role=solver")[0]
    c = method.coefficients(tiny.make_context(role="solver"), BASE)
    assert (c.clip_low, c.clip_high) == (0.1, 0.3)
    assert method.coefficients(tiny.make_context(), BASE) is BASE


def test_off() -> None:
    ctx = tiny.make_context()
    assert build("clip_symmetric:low=null,high=null")[0].coefficients(ctx, BASE) == BASE
    assert ctx.counts["steps_with_another_clip"] == 0
