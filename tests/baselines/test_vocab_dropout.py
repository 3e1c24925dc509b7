"""Vocabulary dropout: a mask in exactly its phases, anew for each batch, alpha by schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import tiny
import tiny_run

from harness.config import load_config
from harness.masks import VocabMask, protected_set
from harness.methods import HookContext, build
from harness.phases.workbench import _minibatch_of
from harness.policy import Policy
from harness.roles import format_strings

PHASES = {
    "vocab_dropout": {"train", "generate"},
    "vocab_dropout_train_only": {"train"},
    "vocab_dropout_generation_only": {"generate"},
}
PLACES = [(r, p) for r in ("proposer", "solver") for p in ("train", "generate", "vote", "label")]


def context(policy: Policy, **changes: object) -> HookContext:
    return tiny.make_context(policy.tokenizer, **changes)


def mask_of(spec: str, ctx: HookContext) -> VocabMask:
    mask = build(spec)[0].mask(ctx, None)
    assert mask is not None
    return mask


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize(("role", "phase"), PLACES)
def test_masks_the_proposer_in_its_phases_only(base_policy, name, role, phase) -> None:
    ctx = context(base_policy, role=role, phase=phase)
    mask = build(name)[0].mask(ctx, None)
    masked = role == "proposer" and phase in PHASES[name]
    assert (mask is not None) is masked
    assert ctx.counts["masked_batches"] == masked
    if mask is None:
        earlier = tiny.make_mask()
        assert build(name)[0].mask(ctx, earlier) is earlier  # what stood before it stays
    else:
        assert mask.alpha == 0.85
        assert mask.protected is ctx.protected
        assert mask.vocab_size == len(base_policy.tokenizer)
        assert (mask.granularity, mask.in_logprobs) == ("step", True)


def test_every_batch_has_its_own_mask(base_policy: Policy) -> None:
    places: list[Mapping[str, object]] = [
        {"seed": seed, "iteration": t, "phase": phase, "step": step}
        for seed in (0, 1)
        for t in (1, 2)
        for phase in ("train", "generate")
        for step in (0, 1, 2)
    ]
    masks = [mask_of("vocab_dropout", context(base_policy, **p)) for p in places]
    bits = {m.keep_numpy([0]).tobytes() for m in masks}
    assert len(bits) == len(places)
    again = mask_of("vocab_dropout", context(base_policy, **places[3]))
    assert (again.keep_numpy([0]) == masks[3].keep_numpy([0])).all()


def test_variants_share_their_masks(base_policy: Policy) -> None:
    """Matched in all but the phase: the same batch has the same mask in each variant."""
    ctx = context(base_policy)
    assert mask_of("vocab_dropout", ctx) == mask_of("vocab_dropout_train_only", ctx)
    ctx = context(base_policy, phase="generate")
    assert mask_of("vocab_dropout", ctx) == mask_of("vocab_dropout_generation_only", ctx)


@pytest.mark.parametrize(
    ("schedule", "alphas"),
    [
        # five iterations: shares 0, 1/4, 1/2, 3/4, 1 of the way from .5 to .9
        ("linear", [0.5, 0.6, 0.7, 0.8, 0.9]),
        # (1 - cos(pi x)) / 2 at those shares: 0, .1464466, .5, .8535534, 1
        ("cosine", [0.5, 0.55857864, 0.7, 0.84142136, 0.9]),
    ],
)
def test_schedule_by_hand(base_policy: Policy, schedule: str, alphas: list[float]) -> None:
    spec = f"vocab_dropout:alpha=0.5,alpha_end=0.9,schedule={schedule}"
    found = [mask_of(spec, context(base_policy, iteration=t)).alpha for t in range(1, 6)]
    assert found == pytest.approx(alphas, abs=1e-7)
    assert all(0 < a <= 1 for a in found)


def test_schedule_of_a_single_iteration_is_its_start(base_policy: Policy) -> None:
    config = load_config("ladder", overrides=["iterations=1"])[0]
    ctx = context(base_policy, config=config)
    assert mask_of("vocab_dropout:alpha=0.5,alpha_end=1.0", ctx).alpha == 0.5


def test_a_falling_schedule_to_one_end(base_policy: Policy) -> None:
    spec = "vocab_dropout:alpha=1.0,alpha_end=0.3"
    last = mask_of(spec, context(base_policy, iteration=5))
    first = build(spec)[0].mask(context(base_policy, iteration=1), None)
    assert last.alpha == pytest.approx(0.3)
    assert first is None


def test_protected_kinds_override_the_profile_s(base_policy: Policy) -> None:
    ctx = context(base_policy)
    mask = mask_of("vocab_dropout:protected=[digits]", ctx)
    digits = base_policy.tokenizer.convert_tokens_to_ids(list("0123456789"))
    assert mask.protected.ids == tuple(sorted(digits))
    everything = mask_of("vocab_dropout:protected=[format, single_characters]", ctx)
    expected = protected_set(
        base_policy.tokenizer, ["format", "single_characters"], format_strings(ctx.config.roles)
    )
    assert everything.protected == expected
    nothing = mask_of("vocab_dropout:protected=[]", ctx)
    assert len(nothing.protected) == 0
    assert mask_of("vocab_dropout", ctx).protected is ctx.protected


@pytest.mark.parametrize("granularity", ["step", "mini", "group", "sequence"])
@pytest.mark.parametrize("logprob_mask", ["behaviour", "none"])
def test_parameters_reach_the_mask(base_policy, granularity: str, logprob_mask: str) -> None:
    spec = f"vocab_dropout:granularity={granularity},logprob_mask={logprob_mask},alpha=0.75"
    mask = mask_of(spec, context(base_policy))
    assert mask.granularity == granularity
    assert mask.in_logprobs is (logprob_mask == "behaviour")
    assert mask.alpha == 0.75
    kept = mask.keep_numpy([0])[0]
    free = np.setdiff1d(np.arange(767), mask.protected.ids)
    slack = 5 * math.sqrt(0.75 * 0.25 / len(free))
    assert abs(kept[free].mean() - 0.75) < slack
    assert kept[list(mask.protected.ids)].all()


def test_alpha_one_is_off(base_policy: Policy) -> None:
    ctx = context(base_policy)
    earlier = tiny.make_mask()
    for spec in ("vocab_dropout:alpha=1.0", "vocab_dropout:alpha=1.0,granularity=sequence"):
        assert build(spec)[0].mask(ctx, None) is None
        assert build(spec)[0].mask(ctx, earlier) is earlier
    assert not ctx.counts


def test_dropped_tokens_are_counted(base_policy: Policy) -> None:
    ctx = context(base_policy)
    mask = mask_of("vocab_dropout", ctx)
    dropped = 767 - int(mask.keep_numpy([0]).sum())
    assert dropped > 50
    assert dict(ctx.counts) == {"masked_batches": 1, "masked_tokens": dropped}


@pytest.mark.parametrize("role", ["proposer", "solver"])
def test_the_solver_s_mask_is_an_ablation(base_policy: Policy, role: str) -> None:
    for who in ("proposer", "solver", "both"):
        for phase in ("train", "vote", "label"):
            ctx = context(base_policy, role=role, phase=phase)
            mask = build(f"vocab_dropout:role={who}")[0].mask(ctx, None)
            assert (mask is not None) is (phase == "train" and who in ("both", role))


class TestMini:
    """One mask for the groups of each optimiser update."""

    CONFIG = load_config(
        "ladder", overrides=["proposer.prompts_per_step=7", "proposer.minibatches=3"]
    )[0]

    def updates(self, base_policy: Policy, step: int) -> tuple[HookContext, list[list[int]]]:
        """The groups of each update, as the trainer cuts a step's batch."""
        ctx = context(base_policy, config=self.CONFIG, step=step)
        groups = [g for g in range(7) for _ in range(2)]
        return ctx, [sorted(part.tolist()) for part in ctx.minibatches(groups, 3)]

    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_groups_of_one_update_share_a_mask(self, base_policy: Policy, step: int) -> None:
        ctx, updates = self.updates(base_policy, step)
        mask = mask_of("vocab_dropout:granularity=mini", ctx)
        rows = mask.row_ids(list(range(7)), _minibatch_of(ctx))
        assert sorted(g for part in updates for g in part) == list(range(7))
        assert [{rows[g] for g in part} for part in updates] == [{0}, {1}, {2}]
        assert len({row.tobytes() for row in mask.keep_numpy([0, 1, 2])}) == 3

    def test_the_cut_differs_from_step_to_step(self, base_policy: Policy) -> None:
        assert len({str(self.updates(base_policy, step)[1]) for step in range(4)}) == 4

    def test_generation_has_one_mask_per_batch(self, base_policy: Policy) -> None:
        ctx = context(base_policy, phase="generate", config=self.CONFIG)
        mask = mask_of("vocab_dropout:granularity=mini", ctx)
        assert mask.row_ids(list(range(9)), _minibatch_of(ctx)) == [0] * 9

    def test_the_trainer_replays_it(self) -> None:
        """Rows of both updates are scored under the mask that they were sampled under."""
        spec = "vocab_dropout:alpha=0.75,granularity=mini"
        found = tiny_run.metrics(tiny_run.finished(spec, 0, "proposer.minibatches=2"), 1)
        assert found["train/proposer/logprob_gap_max"] < 1e-4
        assert found["train/proposer/updates_skipped"] == 0
        assert found["method/masked_batches"] == 3  # a step, and two batches of the curriculum
