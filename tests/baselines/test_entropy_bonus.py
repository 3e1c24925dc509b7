"""Entropy bonuses by hand: the term in the loss, and the walk of an adapted coefficient."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
from token_inputs import BASE, make_inputs

from harness.grpo import base_token_loss
from harness.methods import build


class TestConstant:
    def test_the_term_by_hand(self) -> None:
        """A = 1 at ratio 1 is -1; H = 2 nats, c = .1: -1 - .2."""
        method, ctx = build("entropy_bonus:coef=0.1")[0], tiny.make_context()
        c = method.coefficients(ctx, BASE)
        assert c == type(BASE)(0.2, 0.3, 3.0, 0.01, entropy=0.1)
        x = make_inputs([[-1.0]], [[1.0]], entropy=[[2.0]])
        x.coefficients = replace(c, kl=0.0)
        assert float(base_token_loss(x).loss.detach()) == pytest.approx(-1.2)
        assert ctx.counts == {"steps_with_bonus": 1}

    def test_adds_to_a_bonus_that_is_there(self) -> None:
        method, ctx = build("entropy_bonus+entropy_bonus:coef=0.1")[0], tiny.make_context()
        assert method.coefficients(ctx, BASE).entropy == pytest.approx(0.101)

    def test_defaults(self) -> None:
        assert build("entropy_bonus")[0].params.coef == 0.001

    def test_only_its_role(self) -> None:
        method = build("entropy_bonus:role=solver")[0]
        assert method.coefficients(tiny.make_context(), BASE) is BASE
        assert method.coefficients(tiny.make_context(role="solver"), BASE).entropy == 0.001

    def test_off(self) -> None:
        ctx = tiny.make_context()
        assert build("entropy_bonus:coef=0")[0].coefficients(ctx, BASE) is BASE
        assert not ctx.counts


class TestAdaptive:
    def walk(self, name: str, entropies: list[float]) -> list[float]:
        """The bonus coefficient in force at each step and after the last."""
        method, ctx, found = build(name)[0], tiny.make_context(), []
        for entropy in entropies:
            found.append(method.coefficients(ctx, BASE).entropy)
            method.on_step_end(ctx, {"entropy": entropy})
        return [*found, method.coefficients(ctx, BASE).entropy]

    def test_the_walk_by_hand(self) -> None:
        """Up, up; down (and silent above the target); up; equal counts as down, yet acts."""
        found = self.walk("adaptive_entropy", [0.1, 0.1, 0.3, 0.15, 0.2])
        assert found == pytest.approx([0.0, 0.005, 0.01, 0.0, 0.01, 0.005])

    def test_stays_within_its_bounds(self) -> None:
        """Never below 0: one step under the target after five above is +.005, not -.02."""
        assert self.walk("adaptive_entropy", [1.0] * 5 + [0.1])[-1] == pytest.approx(0.005)
        assert self.walk("adaptive_entropy:c_max=0.008", [0.1] * 5)[-1] == 0.008

    def test_defaults(self) -> None:
        p = build("adaptive_entropy")[0].params
        assert (p.target, p.delta, p.c_max) == (0.2, 0.005, 1.0)

    def test_roles_have_their_own(self) -> None:
        method = build("adaptive_entropy")[0]
        proposer, solver = tiny.make_context(), tiny.make_context(role="solver")
        method.on_step_end(solver, {"entropy": 0.1})
        assert method.coefficients(proposer, BASE) is BASE
        assert method.coefficients(solver, BASE).entropy == 0.005
        assert not proposer.counts
        assert solver.counts == {"steps_with_bonus": 1}
        one = build("adaptive_entropy:role=proposer")[0]
        one.on_step_end(solver, {"entropy": 0.1})
        assert one.coefficients(solver, BASE) is BASE

    def test_a_step_without_rows_changes_nothing(self) -> None:
        method, ctx = build("adaptive_entropy")[0], tiny.make_context()
        method.on_step_end(ctx, {"entropy": 0.1})
        before = method.state_dict()
        method.on_step_end(ctx, {"updates_skipped": 1.0})
        assert method.state_dict() == before

    def test_state_goes_through_json(self) -> None:
        method, ctx = build("adaptive_entropy:delta=0.1")[0], tiny.make_context()
        for entropy in (0.1, 0.01, 1 / 7):
            method.on_step_end(ctx, {"entropy": entropy})
        other = build("adaptive_entropy:delta=0.1")[0]
        other.load_state_dict(json.loads(json.dumps(method.state_dict())))
        assert other.state_dict() == method.state_dict()
        assert other.coefficients(ctx, BASE) == method.coefficients(ctx, BASE)
        other.on_step_end(ctx, {"entropy": 0.1})
        assert other.state_dict() != method.state_dict()  # a copy, not the same dictionaries

    def test_off(self) -> None:
        assert self.walk("adaptive_entropy:delta=0", [0.1] * 3) == [0.0] * 4
