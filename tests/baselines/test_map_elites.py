"""One elite per cell of topic, difficulty and length."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pools
import pytest
import tiny

from baselines.map_elites import MapElites
from harness.grading.votes import Tally
from harness.methods import HookContext, RolloutBatch, build
from harness.policy import Policy
from harness.roles import Proposal, Rewards

PLACES = {"aaaa": [1, 0], "bbbb": [0, 1], "bbbbb": [0.28, 0.96], "aa": [0.96, 0.28]}


def make(**params: object) -> MapElites:
    return MapElites({"topics": 2, **params})


def context(**changes: object) -> HookContext:
    return tiny.make_context(embed=pools.places(PLACES), **changes)


def batch_of(
    policy: Policy, asked: Sequence[tuple[str, int] | None], solutions: Sequence[str] = ()
) -> RolloutBatch:
    """Rows (question, majority out of 10); None is invalid."""
    batch = tiny.make_batch(policy, groups=1, n=len(asked), new=2)
    batch.proposals = [Proposal("", row and row[0], None) for row in asked]
    batch.tallies = [row and Tally("1", row[1] / 10, (0,) * row[1], row[1]) for row in asked]
    batch.solutions = list(solutions) or [None] * len(asked)
    return batch


def step(method: MapElites, batch: RolloutBatch) -> tuple[list[float], HookContext]:
    """What one training step adds to the rewards."""
    ctx = context()
    after = method.reward(ctx, batch, Rewards(np.zeros(len(batch))))
    method.on_step_end(ctx, {})
    return after.total.tolist(), ctx


def test_defaults() -> None:
    p = build("map_elites")[0].params
    assert (p.weight, p.topics, p.topic, p.bins, p.examples) == (0.25, 8, "centroids", 5, 0)


def test_a_new_cell_pays_its_learnability_and_a_better_elite_the_difference(
    tiny_policy: Policy,
) -> None:
    method = make()
    # p .4: 4 * .4 * .6 = .96; p .7: .84; times .25. Difficulty bins of five: 2 and 3.
    first = batch_of(tiny_policy, [("aaaa", 4), None, ("bbbb", 7)])
    gains, ctx = step(method, first)
    assert gains == pytest.approx([0.24, 0.0, 0.21])
    assert ctx.counts == {"rows_that_improve_a_cell": 2, "cells_filled": 2}
    # four characters: length bin 2
    topic = {c.split("/")[0]: c.split("/")[1:] for c in method.elites}
    assert sorted(topic.values()) == [["2", "2"], ["3", "2"]]
    # p .5 is in the same bin as .4: 1 - .96 = .04; p .6 begins bin 3: .96 - .84 = .12; the same
    # again improves nothing
    gains, ctx = step(method, batch_of(tiny_policy, [("aaaa", 5), ("bbbb", 6), ("bbbb", 7)]))
    assert gains == pytest.approx([0.01, 0.03, 0.0])
    assert ctx.counts["cells_filled"] == 0
    assert sorted(method.elites.values()) == [("aaaa", 0.5), ("bbbb", 0.6)]


def test_rows_of_one_step_are_measured_alike_whatever_their_order(tiny_policy: Policy) -> None:
    method = make()
    step(method, batch_of(tiny_policy, [("aaaa", 4), ("bbbb", 7)]))
    rows = [("aa", 4), ("aa", 5), ("aa", 4)]
    # a cell of its own (length bin 1): both levels are new, and the better one becomes the elite
    gains, _ = step(method, batch_of(tiny_policy, rows))
    assert gains == pytest.approx([0.24, 0.25, 0.24])
    assert ("aa", 0.5) in method.elites.values()
    assert len(method.elites) == 3


def test_scoring_a_step_twice_gives_the_same_rewards(tiny_policy: Policy) -> None:
    method = make()
    batch = batch_of(tiny_policy, [("aaaa", 4), ("bbbb", 7)])
    ctx = context()
    twice = [method.reward(ctx, batch, Rewards(np.zeros(2))).total.tolist() for _ in range(2)]
    assert twice[0] == twice[1] != [0.0, 0.0]


def test_topics_are_fitted_once(tiny_policy: Policy) -> None:
    method = make()
    gains, _ = step(method, batch_of(tiny_policy, [("aaaa", 5), ("aaaa", 5)]))
    assert gains == [0.0, 0.0]  # one question can't tell two topics
    assert method.centroids == []
    step(method, batch_of(tiny_policy, [("aaaa", 5), ("bbbb", 5), ("bbbbb", 5)]))
    centres = sorted(method.centroids)
    # the mean of (0, 1) and (.28, .96), and (1, 0)
    assert np.allclose(centres, [[0.14, 0.98], [1.0, 0.0]])
    step(method, batch_of(tiny_policy, [("aa", 5), ("aaaa", 5)]))
    assert sorted(method.centroids) == centres
    near = [cell for cell, (q, _) in method.elites.items() if q in ("aa", "aaaa")]
    assert len({cell.split("/")[0] for cell in near}) == 1


def test_topics_by_the_solutions_skeleton(tiny_policy: Policy) -> None:
    method = make(topic="skeleton", topics=256)
    texts = ["3 + 4 = 7", "5 + 1 = 6", "3 * 4 / 2 = 6"]
    step(method, batch_of(tiny_policy, [("aaaa", 5), ("bbbb", 4), ("aaaa", 5)], texts))
    # the two sums share a cell (same bins), whose elite is the more learnable one
    assert sorted(method.elites.values()) == [("aaaa", 0.5), ("aaaa", 0.5)]
    assert method.centroids == []


def test_unanimous_votes_and_invalid_rows_fill_nothing(tiny_policy: Policy) -> None:
    method = make()
    gains, ctx = step(method, batch_of(tiny_policy, [("aaaa", 10), None, ("bbbb", 0)]))
    assert gains == [0.0, 0.0, 0.0]
    assert method.elites == {}
    gains, ctx = step(make(), batch_of(tiny_policy, [None, None]))
    assert gains == [0.0, 0.0]
    assert ctx.counts["rows_that_improve_a_cell"] == 0


def test_state_round_trips_through_json(tiny_policy: Policy) -> None:
    method = make()
    step(method, batch_of(tiny_policy, [("aaaa", 4), ("bbbb", 7), ("bbbbb", 3)]))
    state = json.loads(json.dumps(method.state_dict()))
    fresh = make()
    fresh.load_state_dict(state)
    assert fresh.state_dict() == method.state_dict()
    again = batch_of(tiny_policy, [("aaaa", 5), ("bbbb", 6)])
    assert step(fresh, again)[0] == step(method, again)[0]


CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "ask."}]


def test_elites_of_sparse_topics_are_shown_more_often() -> None:
    method = make(examples=1)
    # topic 0 has three cells of weight 1/3, topic 1 one of weight 1: half of the draws
    method.elites = {f"0/{i}/2": (f"zero {i}", 0.5) for i in range(3)} | {"1/0/2": ("one", 0.5)}
    ctx = context()
    chats = method.prompts(ctx, [[dict(m) for m in CHAT] for _ in range(400)])
    assert ctx.counts["prompts_with_elites"] == 400
    shown = [chat[-1]["content"] for chat in chats]
    assert all(text.startswith("ask.\n\n") and "\n- " in text for text in shown)
    assert 150 < sum(text.endswith("- one") for text in shown) < 250  # sd 10
    assert chats[0][0] == CHAT[0]
    assert method.prompts(context(), [CHAT] * 400) == chats


def test_no_more_examples_than_there_are() -> None:
    method = make(examples=8)
    chats = [CHAT]
    assert method.prompts(context(), chats) is chats  # none yet
    method.elites = {"0/0/2": ("first", 0.5), "1/0/2": ("second", 0.5)}
    (chat,) = method.prompts(context(), chats)
    assert sorted(chat[-1]["content"].splitlines()[-2:]) == ["- first", "- second"]
    assert CHAT[-1]["content"] == "ask."


def test_off_and_the_solver_are_the_base(tiny_policy: Policy) -> None:
    batch = batch_of(tiny_policy, [("aaaa", 4), ("bbbb", 7)])
    before = Rewards(np.zeros(2))
    off = make(weight=0.0)
    assert off.reward(context(), batch, before) is before
    assert off.prompts(context(), [CHAT]) == [CHAT]
    assert off.state_dict() == {"elites": {}, "centroids": []}
    method = make(examples=1)
    method.elites = {"0/0/2": ("first", 0.5)}
    chats = [CHAT]
    assert method.prompts(context(role="solver"), chats) is chats
    assert method.reward(context(role="solver"), batch, before) is before


def test_examples_alone_keep_the_rewards_and_fill_the_archive(tiny_policy: Policy) -> None:
    method = make(weight=0.0, examples=1)
    before = Rewards(np.zeros(2))
    ctx = context()
    batch = batch_of(tiny_policy, [("aaaa", 4), ("bbbb", 7)])
    assert method.reward(ctx, batch, before) is before
    method.on_step_end(ctx, {})
    assert len(method.elites) == 2
