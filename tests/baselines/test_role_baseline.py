"""SPIRAL's role baselines: the running mean by hand, per role, across iterations."""

from __future__ import annotations

import json

import pytest
import rows
import tiny

from harness.methods import build


def step(method, rewards: list[float], role: str = "solver", **context: object):
    batch = rows.make([0] * len(rewards), rewards)
    ctx = tiny.make_context(role=role, **context)
    advantages, _ = method.advantage(ctx, batch, *rows.grpo(batch))
    assert advantages.shape == (1, len(rewards), 2)
    return advantages[0, :, 0].tolist(), ctx.counts


def test_rewards_minus_a_running_mean() -> None:
    method = build("role_baseline")[0]
    # mean 1/2: b = .05 * .5 = .025; then mean 1: b = .95 * .025 + .05 = .07375
    found, counts = step(method, [1, 0])
    assert found == pytest.approx([0.975, -0.025])
    assert counts["rows_rebaselined"] == 2
    assert step(method, [1, 1], iteration=2)[0] == pytest.approx([0.92625, 0.92625])


def test_the_old_baseline_may_be_subtracted() -> None:
    method = build("role_baseline:update=after")[0]
    assert step(method, [1, 0])[0] == pytest.approx([1, 0])
    assert step(method, [1, 1])[0] == pytest.approx([0.975, 0.975])


def test_roles_do_not_share_and_state_round_trips() -> None:
    method = build("role_baseline")[0]
    step(method, [1, 1])
    step(method, [-1, -1], role="proposer")
    state = json.loads(json.dumps(method.state_dict()))
    assert state == pytest.approx({"solver": 0.05, "proposer": -0.05})
    again = build("role_baseline")[0]
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert step(again, [0, 0])[0] == step(method, [0, 0])[0]


def test_defaults_and_off() -> None:
    p = build("role_baseline")[0].params
    assert (p.gamma, p.update, p.group_normalised, p.role) == (0.95, "before", False, "both")
    batch = rows.make([0, 0], [1, 0])
    advantages, blend = rows.grpo(batch)
    for text in ("role_baseline:group_normalised=true", "role_baseline:role=proposer"):
        method, ctx = build(text)[0], tiny.make_context(role="solver")
        a, b = method.advantage(ctx, batch, advantages, blend)
        assert a is advantages
        assert b is blend
        assert method.state_dict() == {"proposer": 0.0, "solver": 0.0}
        assert not ctx.counts


def test_padding_has_no_advantage() -> None:
    batch = rows.make([0, 0], [1, 0], ids=[[5, 6, 7], [8]])
    found, _ = build("role_baseline")[0].advantage(
        tiny.make_context(role="solver"), batch, *rows.grpo(batch)
    )
    assert (found[0, 1, 1:] == 0).all()
    assert (found[0, 0] != 0).all()
