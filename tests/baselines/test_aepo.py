"""AEPO: which rows give way, what their advantage is, and the entropy that decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rows
import tiny
import torch

from harness.engines import SamplingParams
from harness.grpo import Coefficients
from harness.methods import RolloutBatch, RolloutTools, build
from harness.roles import Rewards

REWARDS = [1, 0, 0, 0, 1, 1, 0, 0]


def main_batch() -> RolloutBatch:
    return rows.make([0] * 4 + [1] * 4, REWARDS, questions=["q"] * 8)


class Control:
    """Control rows with the given rewards; notes what was asked."""

    def __init__(self, rewards: Sequence[float], valid: Sequence[bool] | None = None) -> None:
        self.rewards, self.valid = rewards, valid or [True] * len(rewards)
        self.asked: list[tuple[list[int], SamplingParams]] = []

    def resample(self, batch: RolloutBatch, at: Sequence[int], params: Any, prefixes: Any):
        self.asked.append((list(at), params))
        group_id = [batch.group_id[i] for i in at for _ in range(params.n)]
        ids = [[500 + i, 600 + i, 700 + i] for i in range(len(group_id))]
        return rows.make(group_id, ids=ids, temperature=params.temperature)

    def score(self, batch: RolloutBatch) -> RolloutBatch:
        scored = rows.make([0] * len(batch), questions=["q" if v else None for v in self.valid])
        total = Rewards(np.array(self.rewards, dtype=float), {})
        return replace(batch, rewards=total, proposals=scored.proposals)

    def tools(self) -> RolloutTools:
        def refuse(*_: object):
            raise AssertionError("not asked for here")

        params = SamplingParams(4, n=4, top_p=0.9)
        return RolloutTools(params, self.resample, refuse, self.score, refuse)


def test_good_control_rows_take_the_first_rows_places() -> None:
    # R = 8, a quarter: n = 2. Control rewards 0 1 1 0: rows 1 and 2 pass (advantage .866).
    control, method = Control([0, 1, 1, 0]), build("aepo:replaced_fraction=0.25")[0]
    ctx, batch = tiny.make_context(), main_batch()
    found = method.after_rollout(ctx, batch, control.tools())
    assert control.asked == [([0], SamplingParams(4, n=4, top_p=0.9, temperature=1.2))]
    assert len(found) == 8
    assert found.group_id == batch.group_id
    assert found.tokens.response_ids[:2, 0].tolist() == [501, 502]
    assert found.off_policy == [True, True] + [False] * 6
    assert found.tokens.temperature == 1.0  # the trainer's own
    assert found.texts[2:] == batch.texts[2:]
    assert ctx.counts == {"control_rows": 4, "rows_replaced": 2}
    # The others keep the advantages of the batch before: 1 0 0 0 has mean 1/4, std 1/2, so -.5;
    # 1 1 0 0 has std .57735, so +-.866025.
    advantages, blend = method.advantage(ctx, found, *rows.grpo(found))
    a = [1, 1, -0.5, -0.5, 0.866025, 0.866025, -0.866025, -0.866025]
    assert advantages[0, :, 0].tolist() == pytest.approx(a, abs=1e-4)
    assert (advantages[0, 2:, 2] == 0).all()  # the main rows are a token shorter
    assert (advantages[0, :2, 2] == 1).all()
    assert blend.tolist() == [[1.0] * 8]


def test_high_entropy_cools_and_halves() -> None:
    method = build("aepo:replaced_fraction=0.5")[0]
    for surprisal, temperature, replaced in ((0.5, 1.2, 4), (0.51, 0.8, 2)):
        method.on_step_end(tiny.make_context(), {"surprisal": surprisal})
        method.on_step_end(tiny.make_context(role="solver"), {"surprisal": 9.0})
        control, ctx = Control([1, 1, 1, 1, 0, 0, 0, 0][:4]), tiny.make_context()
        control.rewards = [1, 1, 1, 0]
        found = method.after_rollout(ctx, main_batch(), control.tools())
        assert control.asked[0][1].temperature == temperature
        assert ctx.counts["rows_replaced"] == min(replaced, 3)
        assert sum(found.off_policy) == min(replaced, 3)


def test_only_valid_rows_above_the_threshold_pass() -> None:
    ctx, method = tiny.make_context(), build("aepo:replaced_fraction=0.25")[0]
    control = Control([1, 1, 0, 0], [False, True, True, True])
    found = method.after_rollout(ctx, main_batch(), control.tools())
    assert ctx.counts["rows_replaced"] == 1
    assert found.tokens.response_ids[0, 0] == 501


def test_no_row_passes() -> None:
    ctx, method, batch = tiny.make_context(), build("aepo")[0], main_batch()
    found = method.after_rollout(ctx, batch, Control([0, 0, 0, 0]).tools())
    assert found is batch
    assert ctx.counts["steps_without_control_rows"] == 1
    advantages, blend = rows.grpo(batch)
    assert method.advantage(ctx, found, advantages, blend)[0] is advantages


def test_the_first_quarter_of_the_prompts_is_sampled() -> None:
    batch = rows.make([g for g in range(9) for _ in range(2)], [0, 1] * 9, questions=["q"] * 18)
    control = Control([0, 0, 0, 1] * 2)
    build("aepo")[0].after_rollout(tiny.make_context(), batch, control.tools())
    assert control.asked[0][0] == [0, 2]


def test_rows_that_joined_later_keep_what_they_are_given() -> None:
    method, ctx = build("aepo:replaced_fraction=0.25")[0], tiny.make_context()
    found = method.after_rollout(ctx, main_batch(), Control([0, 1, 1, 0]).tools())
    late = rows.make([7, 7], [1, 0], questions=["q", "q"])
    joined = RolloutBatch.join([found, late])
    advantages, _ = method.advantage(ctx, joined, *rows.grpo(joined))
    assert advantages[0, 8:, 0].tolist() == pytest.approx([0.7071, -0.7071], abs=1e-3)
    assert advantages.isfinite().all()


def test_state_round_trips_and_survives_an_empty_step() -> None:
    method = build("aepo")[0]
    assert method.state_dict() == {"proposer": 0.0, "solver": 0.0}
    method.on_step_end(tiny.make_context(), {"surprisal": 0.75})
    method.on_step_end(tiny.make_context(), {"updates_skipped": 1.0})
    state = json.loads(json.dumps(method.state_dict()))
    again = build("aepo")[0]
    again.load_state_dict(state)
    assert again.state_dict() == state == {"proposer": 0.75, "solver": 0.0}


def test_defaults_and_off() -> None:
    p = build("aepo")[0].params
    assert (p.temperature_high, p.temperature_low, p.entropy_base) == (1.2, 0.8, 0.5)
    assert p.replaced_fraction * 2560 == pytest.approx(60)
    assert p.low_share * 60 == 30
    assert (p.prompt_fraction, p.min_advantage, p.role) == (0.25, 0.05, "proposer")
    base = Coefficients(0.2, 0.3, 3.0, 0.01)
    for name in ("aepo", "aepo_control"):
        found = build(name)[0].coefficients(tiny.make_context(), base)
        assert found == Coefficients(0.2, 0.2, 3.0, 0.0)
        assert build(name)[0].coefficients(tiny.make_context(role="solver"), base) is base
    off, batch, ctx = build("aepo:replaced_fraction=0,settings=rzero")[0], main_batch(), None
    for method, role in ((off, "proposer"), (build("aepo")[0], "solver")):
        ctx = tiny.make_context(role=role)
        assert method.after_rollout(ctx, batch, Control([]).tools()) is batch
        assert not ctx.counts
    assert off.coefficients(tiny.make_context(), base) is base
    assert torch.equal(off.advantage(ctx, batch, *rows.grpo(batch))[0], rows.grpo(batch)[0])
