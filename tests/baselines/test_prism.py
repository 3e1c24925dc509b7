"""The stand-in for Prism, by hand."""

from __future__ import annotations

import json

import pytest
from reward_batches import place, proposed, reward

from harness.methods import build
from harness.policy import Policy

VECTORS = {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1], "near x": [10, 1, 0]}


def step(method, policy: Policy, questions, shares=None, step: int = 0):
    """One training step: the rewards, then the step's end."""
    ctx = place(VECTORS, step=step)
    batch = proposed(policy, questions, shares or [0.5] * len(questions), 0.2)
    found = reward(method, ctx, batch)
    method.on_step_end(ctx, {})
    return found.total, ctx


def test_the_window_and_a_first_step(tiny_policy: Policy) -> None:
    """1 inside .25 to .75, the ends included; all cells are even."""
    shares = [0.2, 0.3, 0.7, 0.8]
    total, ctx = step(build("prism")[0], tiny_policy, ["x", "x", "y", "z"], shares)
    assert total == pytest.approx([0, 1, 1, 0])
    assert ctx.counts["rewards_changed"] == 2  # R-Zero gives 0 at .2 and .8, too
    bounds = build("prism:low=0.3,high=0.7")[0]
    assert step(bounds, tiny_policy, ["x", "y", "z", None], shares)[0][:3] == pytest.approx(
        [0, 1, 1]
    )


def test_what_was_asked_often_earns_less(tiny_policy: Policy) -> None:
    """After a step with 3 x and 1 y: 1 / sqrt(1 + 3) = .5 and 1 / sqrt(2) = .7071. The second step
    asks x once: n_x = .5 * 3 + 1 = 2.5, n_y = .5: .5345 and .8165."""
    method = build("prism:decay=0.5")[0]
    step(method, tiny_policy, ["x", "x", "x", "y"])
    total, _ = step(method, tiny_policy, ["near x", None], step=1)
    assert total == pytest.approx([0.5, -1])
    total, _ = step(method, tiny_policy, ["x", "y"], step=2)
    assert total == pytest.approx([0.5345, 0.8165], abs=1e-4)


def test_a_solver_s_step_counts_nothing(tiny_policy: Policy) -> None:
    method = build("prism")[0]
    batch = proposed(tiny_policy, ["x", "y"], [0.5] * 2)
    reward(method, place(VECTORS), batch)
    before = method.state_dict()
    method.on_step_end(place(VECTORS, role="solver"), {})
    assert method.state_dict() == before
    method.on_step_end(place(VECTORS), {})
    assert sum(method.state_dict()["counts"]) == 2


def test_cells_are_made_once_and_no_more_than_there_are_questions(tiny_policy: Policy) -> None:
    method = build("prism:cells=2")[0]
    step(method, tiny_policy, ["x", "near x", "y", "y"])
    centroids = method.state_dict()["centroids"]
    assert len(centroids) == 2
    step(method, tiny_policy, ["z"] * 4, step=1)
    assert method.state_dict()["centroids"] == centroids
    one = build("prism")[0]
    step(one, tiny_policy, ["x"] * 4)
    assert len(one.state_dict()["centroids"]) == 1


def test_state_goes_through_json_and_continues_alike(tiny_policy: Policy) -> None:
    method, other = build("prism")[0], build("prism")[0]
    assert method.state_dict() == {"centroids": [], "counts": []}
    step(method, tiny_policy, [None] * 2)
    assert method.state_dict() == {"centroids": [], "counts": []}
    step(method, tiny_policy, ["x", "x", "y", "z"])
    state = json.loads(json.dumps(method.state_dict()))
    other.load_state_dict(state)
    assert other.state_dict() == method.state_dict() == state
    totals = [
        step(m, tiny_policy, ["x", "z", "near x"], step=1)[0].tolist() for m in (method, other)
    ]
    assert totals[0] == totals[1]
    assert other.state_dict() == method.state_dict()


def test_documented_as_a_stand_in() -> None:
    method = build("prism")[0]
    assert (method.__doc__ or "").startswith("Stand-in for Prism")
    p = method.params
    assert (p.cells, p.decay, p.low, p.high) == (32, 0.99, 0.25, 0.75)
