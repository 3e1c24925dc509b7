"""Ill-posed questions are paid as if they were invalid."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from harness.config import load_config
from harness.errors import HarnessError
from harness.methods import HookContext, RolloutBatch, build
from harness.policy import Policy
from harness.roles import Proposal, Rewards
from tasks.ladder.checker import LadderChecker

WELL = "a hall has 5 rows holding 6 coins. what is the right total?"
ILL = "a hall has 5 rows holding 6 coins."


def batch_of(policy: Policy, questions: list[str | None]) -> RolloutBatch:
    batch = tiny.make_batch(policy, groups=1, n=len(questions), new=3)
    batch.proposals = [Proposal("", q, None) for q in questions]
    return batch


def context(role: str = "proposer") -> HookContext:
    return tiny.make_context(role=role, checker=LadderChecker())


@pytest.fixture
def batch(tiny_policy: Policy) -> RolloutBatch:
    return batch_of(tiny_policy, [WELL, ILL, None])


def test_the_checker_tells_the_two_apart() -> None:
    checker = LadderChecker()
    assert checker.check(WELL).well_posed
    assert not checker.check(ILL).well_posed


def test_ill_posed_costs_what_invalid_costs(batch: RolloutBatch) -> None:
    before = Rewards(np.array([0.4, 0.5, -1.0]), {"all": np.array([0.4, 0.5, -1.0])})
    ctx = context()
    after = build("well_posed_guard")[0].reward(ctx, batch, before)
    assert after.total.tolist() == [0.4, -1.0, -1.0]
    assert after.components["guard"].tolist() == [0.0, -1.5, 0.0]
    assert ctx.counts["ill_posed_questions"] == 1
    assert before.total.tolist() == [0.4, 0.5, -1.0]


@pytest.mark.parametrize(
    ("entry", "paid"),
    [
        ("well_posed_guard:pay=zero", 0.0),
        ("well_posed_guard:weight=0.5", -0.25),  # half of .5 and half of -1
        ("well_posed_guard:pay=zero,weight=0.5", 0.25),
    ],
)
def test_other_prices(batch: RolloutBatch, entry: str, paid: float) -> None:
    after = build(entry)[0].reward(context(), batch, Rewards(np.array([0.4, 0.5, -1.0])))
    assert after.total.tolist() == [0.4, paid, -1.0]


def test_off_and_the_solver_are_the_base(batch: RolloutBatch) -> None:
    before = Rewards(np.zeros(3))
    assert build("well_posed_guard:weight=0")[0].reward(context(), batch, before) is before
    assert build("well_posed_guard")[0].reward(context("solver"), batch, before) is before


def test_a_profile_without_a_checker_is_refused() -> None:
    method = build("well_posed_guard")[0]
    config, _ = load_config("ladder")
    method.check(config)
    with pytest.raises(HarnessError, match="needs a profile with a checker") as error:
        method.check(config.model_copy(update={"checker": None}))
    assert "\n" not in str(error.value)


def test_defaults() -> None:
    params = build("well_posed_guard")[0].params
    assert (params.weight, params.pay) == (1.0, "invalid")
