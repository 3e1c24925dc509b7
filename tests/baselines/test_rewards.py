"""What holds of all reward entries, and what they share."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from reward_batches import place, proposed, reward

from baselines import _rewards
from harness.diversity.embedders import HashingEmbedder
from harness.grpo import group_advantages
from harness.methods import Curriculum, Pool, build
from harness.methods.registry import get
from harness.policy import Policy
from harness.roles import Rewards, solver_reward

ENTRIES = (
    "no_repetition_penalty",
    "paper_reward",
    "valid_zero",
    "darling",
    "dqo",
    "vendi_reward",
    "novelty_search",
    "opensir",
    "r_diverse",
    "prism",
    "azr_reward",
    "spice_reward",
    "socratic_reward",
    "solver_ensemble",
    "solver_ensemble:mode=uncertainty_weighted",
    "solver_ensemble:mode=disagreement",
    "darling:mode=additive,scope=batch",
    "darling:add_bias=false",
)
QUESTIONS = [
    "how many red beads",
    "how many red beads",
    None,
    "what is the sum of both",
    "ok",
    "ok",
]
SHARES = [0.5, 0.5, 0.0, 1.0, 0.3, 0.0]


def whole_place(base_policy: Policy, **changes: object):
    values = {"embed": HashingEmbedder(64), "archive": [["an old question", "another one"], []]}
    return tiny.make_context(base_policy.tokenizer, **{**values, **changes})


def judged(policy: Policy):
    batch = proposed(policy, QUESTIONS, SHARES, 1 / 6, groups=2, solutions=["1+2=3"] * 6)
    batch.jury = [[t, t, t] for t in batch.tallies]
    return batch


@pytest.mark.parametrize("entry", ENTRIES)
def test_components_add_up_and_say_what_changed(
    entry: str, tiny_policy: Policy, base_policy: Policy
) -> None:
    ctx, batch = whole_place(base_policy), judged(tiny_policy)
    found = reward(build(entry)[0], ctx, batch)
    assert found.total.shape == (6,)
    assert set(batch.rewards.components) <= set(found.components)


@pytest.mark.parametrize("entry", ENTRIES)
def test_off_is_the_very_same_rewards(entry: str, tiny_policy: Policy, base_policy: Policy) -> None:
    cls = get(entry.partition(":")[0]).cls
    ctx, batch = whole_place(base_policy), judged(tiny_policy)
    assert cls.off is not None
    if cls.off.get("snapshots") == 1:
        batch.jury = [seen[:1] for seen in batch.jury]  # what such a jury leaves
    method = cls(cls.off)
    assert method.reward(ctx, batch, batch.rewards) is batch.rewards
    one, blend = torch.ones(1, 6, 1), torch.ones(1, 6)
    assert method.advantage(ctx, batch, one, blend)[0] is one
    assert method.jury(ctx, (4,)) == (4,)
    curriculum = Curriculum(np.arange(3))
    assert method.select(ctx, Pool([], [], [], np.zeros(0)), curriculum) is curriculum
    assert not sum(ctx.counts.values())


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_solver_s_rewards_are_left_alone(
    entry: str, tiny_policy: Policy, base_policy: Policy
) -> None:
    ctx = whole_place(base_policy, role="solver")
    batch = tiny.make_batch(tiny_policy, groups=2, n=3, new=1)
    rewards = solver_reward(np.array([True, False] * 3))
    assert build(entry)[0].reward(ctx, batch, rewards) is rewards


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_valid_question(entry: str, tiny_policy: Policy, base_policy: Policy) -> None:
    ctx = whole_place(base_policy)
    batch = proposed(tiny_policy, [None] * 4, [0.0] * 4, groups=2)
    found = reward(build(entry)[0], ctx, batch)
    gate = {"paper_reward": 0.0, "valid_zero": 0.0, "spice_reward": -0.1}
    assert found.total == pytest.approx([gate.get(entry, -1.0)] * 4)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_single_valid_question(entry: str, tiny_policy: Policy, base_policy: Policy) -> None:
    ctx = whole_place(base_policy, archive=())
    batch = proposed(tiny_policy, [None, "how many", None, None], [0.5] * 4, 0.25, groups=2)
    reward(build(entry)[0], ctx, batch)


@pytest.mark.parametrize("entry", ["dqo", "vendi_reward", "novelty_search", "prism", "r_diverse"])
def test_two_methods_at_once(entry: str, tiny_policy: Policy, base_policy: Policy) -> None:
    """A bonus and a reward without the repetition penalty are the sum of both changes."""
    ctx, batch = whole_place(base_policy), judged(tiny_policy)
    both = reward(build(f"paper_reward+{entry}")[0], ctx, batch)
    paper = reward(build("paper_reward")[0], ctx, batch)
    if entry in ("dqo", "vendi_reward", "novelty_search"):
        alone = build(entry)[0].reward(whole_place(base_policy), batch, batch.rewards)
        assert both.total - paper.total == pytest.approx(alone.total - batch.rewards.total)
    kept = 0.0 if entry == "prism" else paper.components["floor"]  # which replaces all of it
    assert both.components["floor"] == pytest.approx(kept)


class TestReplaced:
    BASE = Rewards(
        np.array([0.3, -1.0]),
        {"uncertainty": np.array([0.4, 0.0]), "x": np.array([-0.1, -1.0])},
    )

    def test_the_mix_by_hand(self) -> None:
        """Row 0: .25 * .4 + .75 * .8 + (-.1) = .6; row 1: 0 + .75 * .2 - 1 = -.85."""
        found = _rewards.replaced(self.BASE, {"new": np.array([0.8, 0.2])}, 0.75, ["uncertainty"])
        assert found.total == pytest.approx([0.6, -0.85])
        assert found.components["uncertainty"] == pytest.approx([0.1, 0.0])
        assert found.components["new"] == pytest.approx([0.6, 0.15])

    def test_weight_zero_and_names_that_are_not_there(self) -> None:
        assert _rewards.replaced(self.BASE, {"new": np.ones(2)}, 0.0, ["x"]) is self.BASE
        found = _rewards.replaced(self.BASE, {"new": np.ones(2)}, 1.0, ["absent"])
        assert found.total == pytest.approx([1.3, 0.0])


class TestNearest:
    POOL = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])

    def test_by_hand(self) -> None:
        """From (1, 0) the pool is at distances 0, 1 and 2: means 0, .5, 1; from (0, 1) 0, 1, 1."""
        rows = self.POOL[:2]
        for k, expected in ((1, [0, 0]), (2, [0.5, 0.5]), (3, [1, 2 / 3]), (9, [1, 2 / 3])):
            assert _rewards.nearest_distance(rows, self.POOL, k) == pytest.approx(expected)

    def test_nobody_is_its_own_neighbour(self) -> None:
        """Without itself (1, 0) has neighbours at 1 and 2, (0, 1) at 1 and 1."""
        found = _rewards.nearest_distance(self.POOL, self.POOL, 2, own=0)
        assert found == pytest.approx([1.5, 1.0, 1.5])
        assert _rewards.nearest_distance(self.POOL[:1], self.POOL[:1], 5, own=0) is None
        assert _rewards.nearest_distance(self.POOL, self.POOL[:0], 5) is None

    def test_blocks_don_t_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = np.random.Generator(np.random.PCG64(0)).normal(size=(50, 3))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        whole = _rewards.nearest_distance(rows, rows, 4, own=0)
        monkeypatch.setattr(_rewards, "_BLOCK", 7)
        assert _rewards.nearest_distance(rows, rows, 4, own=0) == pytest.approx(whole)


def test_each_chunk_is_embedded_once() -> None:
    asked: list[list[str]] = []

    def embed(texts):
        asked.append(list(texts))
        return np.array([[len(t), 1.0] for t in texts], dtype=np.float32)

    ctx, remembered = place(embed=embed), _rewards.Remembered()
    first = remembered(ctx, [["a", "bb"]])
    assert remembered(ctx, [["a", "bb"], [], ["ccc"]])[:2] == pytest.approx(first)
    assert asked == [["a", "bb"], ["ccc"]]
    changed = remembered(ctx, [["a", "b"]])
    assert asked[2:] == [["a", "b"]]
    assert changed[1] == pytest.approx([2**-0.5, 2**-0.5])
    assert remembered(ctx, []).shape == (0, 1)


def test_without_std_is_the_mean_centred_reward(tiny_policy: Policy) -> None:
    """Group 1: 1, 2, 6 -> -2, -1, 3. Group 2 has no variance: 0, as before."""
    batch = tiny.make_batch(tiny_policy, groups=2, n=3, new=1, rewards=[1, 2, 6, 5, 5, 5])
    values, _ = group_advantages(batch.rewards.total, batch.group_id)
    advantages = torch.as_tensor(values, dtype=torch.float32)[None, :, None]
    found = _rewards.without_std(batch, advantages)
    assert found[0, :, 0].tolist() == pytest.approx([-2, -1, 3, 0, 0, 0], abs=1e-5)
