"""``a+b``: every hook, in order; exclusive hooks; state."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny
import torch

from harness.config.schema import RunConfig
from harness.engines import SamplingParams
from harness.errors import HarnessError
from harness.grading.votes import Tally
from harness.grpo import Coefficients, TokenLoss
from harness.methods import (
    Ballots,
    Composite,
    Curriculum,
    Method,
    Pool,
    RolloutBatch,
    RolloutTools,
    TokenTools,
    build,
)
from harness.methods.base import EXCLUSIVE, HOOKS, HookContext, overridden
from harness.policy import Policy
from harness.roles import Rewards, solver_reward

CTX = tiny.make_context()


def public_methods() -> set[str]:
    """What the Method class defines for others to override."""
    return {n for n, f in vars(Method).items() if inspect.isfunction(f) and not n.startswith("_")}


class Recorder(Method):
    """Wraps every hook: notes its own label and the value it was handed, returns a new value."""

    log: ClassVar[list[tuple[str, str, Any]]] = []

    def __init__(self, label: str) -> None:
        super().__init__()
        self.tag = label


def recording(hook: str) -> type[Recorder]:
    """A method that overrides one hook: logs the running value, and passes on a tagged one."""
    names = list(inspect.signature(getattr(Method, hook)).parameters)

    def wrapped(self: Recorder, *args: Any) -> Any:
        values = dict(zip(names[1:], args, strict=True))
        self.log.append((self.tag, hook, values))
        if hook.startswith("on_"):
            return None
        if hook == "advantage":
            return values["advantages"] + [self.tag], values["blend"] + [self.tag]
        return values[RUNNING[hook]] + [self.tag]

    return type(f"Recording_{hook}", (Recorder,), {hook: wrapped, "name": hook})


RUNNING = {
    "steps": "steps",
    "jury": "snapshots",
    "coefficients": "coefficients",
    "prompts": "messages",
    "sampling": "params",
    "mask": "mask",
    "logits_rule": "rule",
    "after_rollout": "batch",
    "label": "tallies",
    "reward": "rewards",
    "advantage": "advantages",
    "token_stats": "stats",
    "candidates": "candidates",
    "token_loss": "loss",
    "select": "curriculum",
}
"""The argument that each hook passes on."""


def test_hooks_is_the_whole_list() -> None:
    """A hook added to the class but not to HOOKS would not be described, and not composed."""
    assert set(HOOKS) == public_methods() - {"check", "files", "state_dict", "load_state_dict"}
    assert set(EXCLUSIVE) <= set(HOOKS)
    assert set(RUNNING) == {h for h in HOOKS if not h.startswith("on_")}


def test_the_composite_overrides_every_hook_with_the_same_signature() -> None:
    for hook in (*HOOKS, "check", "files", "state_dict", "load_state_dict"):
        ours, base = getattr(Composite, hook), getattr(Method, hook)
        assert ours is not base, f"Composite does not delegate {hook}"
        assert inspect.signature(ours) == inspect.signature(base)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_delegated_in_order_with_the_value_so_far(hook: str) -> None:
    kind = recording(hook)
    kind.log.clear()
    composite = Composite([kind("first")])
    # Exclusive hooks can't be claimed twice by construction: extend the list past the check.
    composite.parts.append(kind("second"))
    names = list(inspect.signature(getattr(Method, hook)).parameters)[1:]
    arguments: dict[str, Any] = {name: [name] for name in names}
    result = getattr(composite, hook)(*arguments.values())
    assert [label for label, _, _ in kind.log] == ["first", "second"]
    first, second = (values for _, _, values in kind.log)
    assert first == arguments
    if hook.startswith("on_"):
        assert result is None
        assert second == arguments
        return
    running = [RUNNING[hook]] if hook != "advantage" else ["advantages", "blend"]
    handed = {**arguments, **{name: [name, "first"] for name in running}}
    assert second == handed
    final = [[name, "first", "second"] for name in running]
    assert result == (tuple(final) if hook == "advantage" else final[0])


@pytest.mark.parametrize("hook", HOOKS)
def test_only_exclusive_hooks_conflict(hook: str) -> None:
    parts = [recording(hook)("a"), recording(hook)("b")]
    type(parts[1]).name = "other"
    if hook in EXCLUSIVE:
        with pytest.raises(HarnessError, match=rf"{hook} and other both replace the hook '{hook}'"):
            Composite(parts)
    else:
        assert len(Composite(parts).parts) == 2


def test_a_real_conflict_names_both() -> None:
    with pytest.raises(HarnessError, match="vocab_dropout and vocab_dropout_train_only both"):
        build("vocab_dropout+vocab_dropout_train_only")


def test_the_base_class_changes_nothing(tiny_policy: Policy) -> None:
    """The Method class is R-Zero: every hook hands back what it was given."""
    method, ctx = Method(), tiny.make_context(tiny_policy.tokenizer)
    batch = tiny.make_batch(tiny_policy, groups=2, n=2, new=3)
    a, blend = torch.ones(1, 4, 3), torch.ones(1, 4)
    loss, tallies = TokenLoss(a[0], a[0]), [Tally("1", 1.0, (0,), 1)]
    pool = Pool(["q"], tallies, ["so 1"], np.zeros(1))
    ballots = Ballots(["q"], [["1"]], [["so 1"]], np.zeros((1, 1)))
    curriculum, params = Curriculum(np.array([0])), SamplingParams(3)
    tools = RolloutTools(
        params,
        resample=lambda *_: batch,
        more=lambda _: batch,
        score=lambda b: b,
        measure=lambda _: (a[0], a[0]),
    )
    assert tools.join([batch, batch]).texts == batch.texts * 2
    token_tools = TokenTools(lambda _: a[0])
    given_and_got: list[tuple[Any, Any]] = [
        (messages := [[{"role": "user", "content": "x"}]], method.prompts(ctx, messages)),
        (params, method.sampling(ctx, params)),
        (None, method.mask(ctx, None)),
        (None, method.logits_rule(ctx, None)),
        (batch, method.after_rollout(ctx, batch, tools)),
        (pool.tallies, method.label(ctx, ballots, pool.tallies)),
        (batch.rewards, method.reward(ctx, batch, batch.rewards)),  # type: ignore[arg-type]
        (a, method.advantage(ctx, batch, a, blend)[0]),
        (blend, method.advantage(ctx, batch, a, blend)[1]),
        (stats := {"old": a[0]}, method.token_stats(ctx, batch, stats, token_tools)),
        (None, method.candidates(ctx, batch, None)),
        (jurors := (0,), method.jury(ctx, jurors)),
        (c := Coefficients(0.2, 0.3, 3.0, 0.01), method.coefficients(ctx, c)),
        (loss, method.token_loss(ctx, None, loss)),  # type: ignore[arg-type]
        (curriculum, method.select(ctx, pool, curriculum)),
        (7, method.steps(ctx, 7)),
    ]
    assert all(before is after for before, after in given_and_got)
    assert overridden(Method) == ()
    method.check(ctx.config)  # whatever the profile
    assert method.state_dict() == {}


class Refuses(Method):
    """Can't work with any profile; notes what it was shown."""

    def __init__(self, word: str | None) -> None:
        super().__init__()
        self.word, self.seen = word, 0

    def check(self, config: RunConfig) -> None:
        self.seen += config.suite == "ladder"
        if self.word:
            raise HarnessError(self.word)


def test_every_part_checks_the_configuration() -> None:
    config = CTX.config
    parts = [Refuses(None), Refuses("first"), Refuses("second")]
    with pytest.raises(HarnessError, match="first"):
        Composite(parts).check(config)
    assert [p.seen for p in parts] == [1, 1, 0]
    Composite(parts[:1]).check(config)
    with pytest.raises(HarnessError, match="second"):
        Composite([Method(), parts[2]]).check(config)


def test_coefficients_add_up_and_steps_follow() -> None:
    class HigherClip(Method):
        def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
            return replace(coefficients, clip_high=coefficients.clip_high + 0.1)

    class Half(Method):
        def steps(self, ctx: HookContext, steps: int) -> int:
            return steps // 2

    composite = Composite([HigherClip(), Half(), HigherClip()])
    found = composite.coefficients(CTX, Coefficients(0.2, 0.3, 3.0, 0.01))
    assert found.clip_high == pytest.approx(0.5)
    assert (found.clip_low, found.dual_clip, found.kl, found.entropy) == (0.2, 3.0, 0.01, 0.0)
    assert composite.steps(CTX, 5) == 2


class Adds(Method):
    """Adds to rewards, then remembers how often."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount, self.calls = amount, 0

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        self.calls += 1
        return rewards.plus(f"add{self.amount}", np.full(len(rewards.total), self.amount))

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: Any) -> None:
        self.calls = state["calls"]


class Doubles(Method):
    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        return rewards.plus("double", rewards.total)


def test_order_is_part_of_the_entry() -> None:
    start = solver_reward(np.array([True]))
    # (1 + 3) * 2 = 8 and 1 * 2 + 3 = 5
    assert Composite([Adds(3), Doubles()]).reward(CTX, None, start).total.tolist() == [8.0]  # type: ignore[arg-type]
    assert Composite([Doubles(), Adds(3)]).reward(CTX, None, start).total.tolist() == [5.0]  # type: ignore[arg-type]
    assert build("random_label+static_proposer")[1] != build("static_proposer+random_label")[1]


def test_state_goes_to_its_own_part() -> None:
    parts = [Adds(1), Doubles(), Adds(2)]
    parts[0].calls, parts[2].calls = 3, 8  # type: ignore[attr-defined]
    state = Composite(parts).state_dict()
    fresh = [Adds(1), Doubles(), Adds(2)]
    Composite(fresh).load_state_dict(state)
    assert (fresh[0].calls, fresh[2].calls) == (3, 8)  # type: ignore[attr-defined]


def test_context_streams_are_those_of_the_place() -> None:
    places = [
        tiny.make_context(role=r, phase=p, iteration=i, step=s, seed=seed)
        for r in ("proposer", "solver")
        for p in ("train", "generate")
        for i in (1, 2)
        for s in (0, 1)
        for seed in (0, 1)
    ]
    assert len({c.key("x") for c in places}) == len(places)
    assert len({float(c.stream("x").random()) for c in places}) == len(places)
    assert places[0].stream("x").random() == places[0].stream("x").random()
    assert places[0].key("x") != places[0].key("y")


def test_counts_are_summed_where_the_run_keeps_them() -> None:
    counts: Counter[str] = Counter()
    for step in range(3):
        ctx = tiny.make_context(step=step, counts=counts)
        ctx.count("tokens", 5)
        ctx.count("calls")
    assert counts == {"tokens": 15, "calls": 3}
