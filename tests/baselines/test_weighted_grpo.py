"""Weighted GRPO: pairs and their advantages by hand."""

from __future__ import annotations

import pytest
import rows
import tiny
import torch

from harness.methods import build


def batch_of(*shares: str):
    """A group for each string of outcomes such as '1000'."""
    outcomes = [float(c) for s in shares for c in s]
    group_id = [g for g, s in enumerate(shares) for _ in s]
    return rows.make(group_id, outcomes, components={"correct": outcomes})


def weighted(text: str, batch, role: str = "solver"):
    ctx = tiny.make_context(role=role)
    return build(text)[0].advantage(ctx, batch, *rows.grpo(batch))[0][0, :, 0], ctx.counts


def test_a_hard_and_an_easy_group_are_standardised_together() -> None:
    # 4 of 8 rows correct: mean 1/2, std sqrt(8 * .25 / 7) = .534522, so z = +-.935414.
    found, counts = weighted("weighted_grpo", batch_of("1000", "0111"))
    z = 0.935414
    assert found.tolist() == pytest.approx([z, -z, -z, -z, -z, z, z, z], abs=1e-4)
    assert counts == {"pairs": 1, "rows_reweighted": 8}


def test_failures_weigh_lambda_neg() -> None:
    found, _ = weighted("weighted_grpo:lambda_neg=0.5", batch_of("1000", "0111"))
    z = 0.935414
    assert found.tolist() == pytest.approx([z, -z / 2, -z / 2, -z / 2, -z / 2, z, z, z], abs=1e-4)
    batch = batch_of("1000", "0111")
    found, _ = weighted("weighted_grpo:lambda_neg=0.5,scope=group", batch)
    base = rows.grpo(batch)[0][0, :, 0]
    assert torch.allclose(found, torch.where(base < 0, base / 2, base))


def test_affine_maps_of_one_group_change_nothing() -> None:
    """Why the weight is kept after standardising: +1/-lambda alone is undone by it."""
    outcome = [1.0, 0.0, 0.0, 0.0]
    mapped = [1.0 if r else -0.3 for r in outcome]
    plain, remapped = (rows.grpo(rows.make([0] * 4, r))[0] for r in (outcome, mapped))
    assert torch.allclose(plain, remapped, atol=3e-6)


def test_lowest_goes_with_highest_and_the_rest_is_left() -> None:
    batch = batch_of("1100", "1000", "0000", "1110", "1111", "1110", "1100")
    ctx = tiny.make_context(role="solver")
    # G = 4, c = 2: easy is 2 or 3 of 4. Order of shares: .25 | .5 .5 | .75 .75 (by group).
    # (1, 5), then (0, 3); then group 6 is alone. All wrong and all right never take part.
    base = rows.grpo(batch)[0]
    method = build("weighted_grpo")[0]
    found = method.advantage(ctx, batch, base, torch.ones(1, 28))[0]
    changed = {i // 4 for i in range(28) if not torch.equal(found[0, i], base[0, i])}
    assert ctx.counts["pairs"] == 2
    assert changed == {0, 1, 3, 5}


def test_c_bounds_how_many_failures_an_easy_group_has() -> None:
    batch = batch_of("10000000", "11111000")  # 3 failures of 8
    assert weighted("weighted_grpo:c=2", batch)[1]["pairs"] == 0
    assert weighted("weighted_grpo:c=3", batch)[1]["pairs"] == 1


def test_equally_hard_groups_are_no_pair() -> None:
    base = batch_of("1000", "0100")
    found, counts = weighted("weighted_grpo:c=4", base)
    assert counts["pairs"] == 0
    assert torch.equal(found, rows.grpo(base)[0][0, :, 0])


def test_defaults_and_off() -> None:
    p = build("weighted_grpo")[0].params
    assert (p.lambda_neg, p.c, p.scope, p.pairing) == (1.0, 2, "pair", True)
    batch = batch_of("1000", "0111")
    advantages, blend = rows.grpo(batch)
    for text, role in (("weighted_grpo:pairing=false", "solver"), ("weighted_grpo", "proposer")):
        ctx = tiny.make_context(role=role)
        a, b = build(text)[0].advantage(ctx, batch, advantages, blend)
        assert a is advantages
        assert b is blend
        assert not ctx.counts


def test_partial_credit_counts_as_correct() -> None:
    """Another method may have reshaped the total: the outcome is the component's."""
    batch = batch_of("1000", "0111")
    assert batch.rewards is not None
    batch.rewards = batch.rewards.plus("format", batch.rewards.total * 0 + 0.1)
    assert weighted("weighted_grpo", batch)[1]["pairs"] == 1
