"""SEED-GRPO: the entropy of answers by hand, its three forms, and the proposer's reading."""

from __future__ import annotations

import math

import pytest
import rows
import tiny
import torch

from baselines.seed_grpo import semantic_entropy
from harness.methods import build

SOLVER = {"role": "solver"}


def scaled(text: str, batch, **context: object):
    ctx = tiny.make_context(**{**SOLVER, **context})
    advantages, blend = rows.grpo(batch)
    return build(text)[0].advantage(ctx, batch, advantages, blend)[0][0, :, 0], ctx.counts


def uncertain():
    """Answers 7 7 8 9: shares 1/2, 1/4, 1/4, so SE = (ln 2 + 2 ln 4) / 3 = 5/3 ln 2."""
    return rows.make([0] * 4, [1, 1, 0, 0], texts=rows.boxed(7, 7, 8, 9))


def test_semantic_entropy() -> None:
    # 5/3 ln 2 over ln 4 = 2 ln 2 is 5/6
    assert semantic_entropy([0, 0, 1, 2]) == pytest.approx(5 / 6)
    assert semantic_entropy([0, 0, 0, 0]) == 0.0
    assert semantic_entropy([0, 1, 2, 3]) == pytest.approx(1.0)
    # No answer is one outcome: -1 -1 0 0 has shares 1/2, 1/2, SE = ln 2 of ln 4.
    assert semantic_entropy([-1, -1, 0, 0]) == pytest.approx(0.5)
    assert semantic_entropy([0]) == semantic_entropy([]) == 0.0


@pytest.mark.parametrize(
    ("form", "factor"),
    [
        ("linear", 1 / 6),  # 1 - 5/6
        ("exponential", math.exp(-5 / 6)),
        ("focal", 1 / 36),  # (1/6)^2
    ],
)
def test_centred_rewards_times_the_form(form: str, factor: float) -> None:
    # rewards 1 1 0 0 are centred to +-1/2, and not divided by their std
    found, counts = scaled(f"seed_grpo:form={form}", uncertain())
    expected = torch.tensor([0.5, 0.5, -0.5, -0.5]) * factor
    assert torch.allclose(found, expected, atol=1e-6)
    assert counts["advantages_rescaled"] == 4
    assert counts["groups_damped"] == 1


def test_never_below_zero_and_agreement_is_left_whole() -> None:
    found, _ = scaled("seed_grpo:alpha=5", uncertain())
    assert (found == 0).all()  # 1 - 5 * 5/6 < 0
    sure = rows.make([0] * 4, [1, 1, 1, 0], texts=rows.boxed(7, 7, 7, 7))
    found, counts = scaled("seed_grpo", sure)
    assert torch.allclose(found, torch.tensor([0.25, 0.25, 0.25, -0.75]), atol=1e-6)
    assert counts["groups_damped"] == 0


def test_group_std_can_be_kept() -> None:
    batch = uncertain()
    found, _ = scaled("seed_grpo:std_normalised=true", batch)
    assert torch.allclose(found, rows.grpo(batch)[0][0, :, 0] / 6, atol=1e-6)


def test_equal_answers_are_one_whatever_their_spelling() -> None:
    batch = rows.make([0] * 4, [1, 1, 0, 0], texts=rows.boxed("0.5", r"\frac{1}{2}", 3, "3.0"))
    found, _ = scaled("seed_grpo", batch)  # shares 1/2, 1/2: SE is half of log 4
    assert torch.allclose(found, torch.tensor([0.25, 0.25, -0.25, -0.25]), atol=1e-6)


def test_the_proposer_moves_less_when_the_batch_collapses() -> None:
    same, other = "what is the sum of 3 and 4 ?", "name a prime above ten or so please now"
    # clusters of 4 questions: {3 alike}, {1}: SE = (-ln 3/4 - ln 1/4) / 2 = 0.83698 of ln 4
    batch = rows.make([0, 0, 1, 1], [1, 0, 1, 0], questions=[same, same, same, other])
    found, counts = scaled("seed_grpo:role=proposer", batch, role="proposer")
    assert torch.allclose(found, torch.tensor([0.5, -0.5, 0.5, -0.5]) * 0.603759, atol=1e-5)
    assert counts["groups_damped"] == 2
    copies = rows.make([0] * 4, [1, 0, 1, 0], questions=[same] * 4)
    assert (scaled("seed_grpo:role=proposer", copies, role="proposer")[0] == 0).all()
    invalid = rows.make([0, 0], [1, 0], questions=[None, None])
    found, _ = scaled("seed_grpo:role=proposer", invalid, role="proposer")
    assert torch.allclose(found, torch.tensor([0.5, -0.5]), atol=1e-6)


def test_defaults_and_off() -> None:
    method = build("seed_grpo")[0]
    p = method.params
    assert (p.alpha, p.form, p.std_normalised, p.role) == (1.0, "linear", False, "solver")
    batch = uncertain()
    advantages, blend = rows.grpo(batch)
    for text, role in (
        ("seed_grpo:alpha=0,std_normalised=true", "solver"),
        ("seed_grpo", "proposer"),
    ):
        ctx = tiny.make_context(role=role)
        a, b = build(text)[0].advantage(ctx, batch, advantages, blend)
        assert a is advantages
        assert b is blend
        assert not ctx.counts


def test_edges_are_finite() -> None:
    lone = rows.make([0], [1.0], texts=rows.boxed(7))
    silent = rows.make([0, 0], [0, 0], texts=rows.boxed(None, None))
    for batch in (lone, silent):
        assert (scaled("seed_grpo", batch)[0] == 0).all()
