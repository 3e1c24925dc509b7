"""DAPO's dynamic sampling: which groups go, what fills their place, and when it stops."""

from __future__ import annotations

import pytest
import rows
import tiny

from harness.engines import SamplingParams
from harness.errors import HarnessError
from harness.methods import RolloutBatch, RolloutTools, build


def refuse(*_: object):
    raise AssertionError("not asked for here")


class Draws:
    """Fresh groups with the given outcomes, in groups numbered from 100."""

    def __init__(self, *outcomes: str) -> None:
        self.outcomes, self.asked = list(outcomes), []

    def more(self, prompts: int) -> RolloutBatch:
        self.asked.append(prompts)
        taken = [self.outcomes.pop(0) if self.outcomes else "00" for _ in range(prompts)]
        first = 100 * len(self.asked)
        return of(*taken, first=first)

    def tools(self) -> RolloutTools:
        return RolloutTools(SamplingParams(4, n=2), refuse, self.more, refuse, refuse)


def of(*outcomes: str, first: int = 0) -> RolloutBatch:
    rewards = [float(c) for s in outcomes for c in s]
    group_id = [first + g for g, s in enumerate(outcomes) for _ in s]
    batch = rows.make(
        group_id, rewards, components={"correct": rewards, "zero": [0] * len(rewards)}
    )
    batch.gold = [f"gold {g}" for g in group_id]
    return batch


def sampled(text: str, batch: RolloutBatch, draws: Draws, role: str = "solver"):
    ctx = tiny.make_context(role=role)
    return build(text)[0].after_rollout(ctx, batch, draws.tools()), ctx.counts


def test_flat_groups_are_replaced_until_there_are_as_many_as_before() -> None:
    # 1 of 3 groups teaches; the first draw (2 asked) gives one more, the second the last.
    draws = Draws("11", "10", "01")
    found, counts = sampled("dynamic_sampling", of("11", "10", "00"), draws)
    assert draws.asked == [2, 1]
    assert found.group_id == [1, 1, 101, 101, 200, 200]
    assert found.rewards is not None
    assert found.rewards.total.tolist() == [1, 0, 1, 0, 0, 1]
    assert found.gold == [f"gold {g}" for g in found.group_id]
    assert counts == {"groups_dropped": 2, "groups_drawn": 3, "groups_added": 2, "groups_short": 0}


def test_ten_generation_batches_at_most() -> None:
    draws = Draws()
    found, counts = sampled("dynamic_sampling", of("11", "10"), draws)
    assert draws.asked == [1] * 9  # the batch itself was the first
    assert found.group_id == [1, 1]
    assert counts["groups_short"] == 1


def test_nothing_may_be_left() -> None:
    found, counts = sampled("dynamic_sampling:max_gen_batches=1", of("11", "00"), Draws())
    assert len(found) == 0
    assert found.rewards is not None
    assert len(found.rewards.total) == 0
    assert counts["groups_short"] == 2


def test_what_is_over_is_left_out() -> None:
    draws = Draws("10", "10", "10")
    found, counts = sampled("dynamic_sampling:oversample=3", of("11", "10"), draws)
    assert draws.asked == [3]
    assert found.group_id == [1, 1, 100, 100]
    assert counts["groups_added"] == 1


def test_a_batch_that_teaches_is_left_alone() -> None:
    batch = of("10", "01")
    found, counts = sampled("dynamic_sampling", batch, Draws())
    assert found is batch
    assert counts["groups_dropped"] == 0


def test_a_component_may_decide() -> None:
    found, _ = sampled("dynamic_sampling:metric=zero,max_gen_batches=1", of("10", "01"), Draws())
    assert len(found) == 0
    with pytest.raises(HarnessError, match="no reward named 'lenth'; there are total, correct"):
        sampled("dynamic_sampling:metric=lenth", of("10"), Draws())


def test_defaults_and_off() -> None:
    p = build("dynamic_sampling")[0].params
    assert (p.max_gen_batches, p.metric, p.oversample, p.role) == (10, "total", 1.0, "solver")
    batch = of("11", "00")
    for text, role in (
        ("dynamic_sampling:max_gen_batches=0", "solver"),
        ("dynamic_sampling", "proposer"),
    ):
        found, counts = sampled(text, batch, Draws(), role)
        assert found is batch
        assert not counts
