"""COPO: both channels and the blend by hand."""

from __future__ import annotations

import math

import pytest
import rows
import tiny
import torch

from harness.grpo import Coefficients, TokenInputs, base_token_loss
from harness.methods import build


def blended(text: str, batch, role: str = "solver"):
    ctx = tiny.make_context(role=role)
    advantages, blend = build(text)[0].advantage(ctx, batch, *rows.grpo(batch))
    return advantages[:, :, 0], blend, ctx.counts


def two_questions():
    """Answers 7 7 8 8 (H = 1 bit, mean reward 1/2) and 7 7 7 7 (H = 0, mean reward 1)."""
    texts = rows.boxed(7, 7, 8, 8, 7, 7, 7, 7)
    return rows.make([0] * 4 + [1] * 4, [1, 1, 0, 0, 1, 1, 1, 1], texts=texts)


def test_channels_and_weights() -> None:
    # lambda = (1 - 1/4) / log2 4 = .375: g = .5 (1 - .375) = .3125 and 1. Two values are
    # standardised (ddof 1) to -+ 1/sqrt 2. w = sigmoid(2 (1 - .5)) = .731059 for the first; the
    # second has no group advantage, so it is forced to 0.
    advantages, blend, counts = blended("copo:k=2", two_questions())
    assert advantages.shape == (2, 8)
    half = math.sqrt(0.5)
    assert advantages[1].tolist() == pytest.approx([-half] * 4 + [half] * 4, abs=1e-4)
    assert blend[0].tolist() == pytest.approx([0.731059] * 4 + [0.0] * 4, abs=1e-5)
    assert torch.allclose(blend.sum(dim=0), torch.ones(8))
    assert counts["rows_blended"] == 8


def test_without_forcing_the_entropy_alone_decides() -> None:
    # sigmoid(2 (0 - .5)) = .268941
    _, blend, _ = blended("copo:k=2,forced=false", two_questions())
    assert blend[0, 4:].tolist() == pytest.approx([0.268941] * 4, abs=1e-5)


def test_the_penalty_ranks_questions() -> None:
    # Means .5 (H = 1) and .5 (H = .811278 bits, answers 7 7 7 8): with the penalty the surer one
    # is ahead (.5 * .625 < .5 * (1 - .375 * .811278)), without it they are equal.
    texts = rows.boxed(7, 7, 8, 8, 7, 7, 7, 8)
    batch = rows.make([0] * 4 + [1] * 4, [1, 1, 0, 0, 1, 1, 0, 0], texts=texts)
    assert (blended("copo", batch)[0][1, 4:] > 0.7).all()
    assert (blended("copo:entropy_penalty=false", batch)[0][1] == 0).all()


def test_two_clipped_losses_are_blended_not_two_advantages() -> None:
    # ratio 1.5, clip .2: A = 1 costs max(-1.5, -1.2) = -1.2; A = -1 costs max(1.5, 1.2) = 1.5.
    # Half and half: .15. The blended advantage would be 0, and so its loss.
    one = torch.ones(1, 1)
    x = TokenInputs(
        logp=one * math.log(1.5),
        old=one * 0,
        ref=one * 0,
        entropy=one * 0,
        mask=one.bool(),
        advantages=torch.tensor([[[1.0]], [[-1.0]]]),
        blend=torch.tensor([[0.5], [0.5]]),
        response_ids=one.long(),
        coefficients=Coefficients(0.2, 0.2, 3.0, 0.0),
    )
    assert base_token_loss(x).loss.item() == pytest.approx(0.15, abs=1e-6)


def test_strings_or_equal_answers() -> None:
    texts = rows.boxed("0.5", r"\frac{1}{2}", "0.5", r"\frac{1}{2}", 1, 2, 3, 4)
    batch = rows.make([0] * 4 + [1] * 4, [1, 1, 0, 0, 1, 0, 0, 0], texts=texts)
    # as values: H = 0, w = sigmoid(-1); as strings: H = 1, w = sigmoid(1)
    assert blended("copo:k=2", batch)[1][0, 0].item() == pytest.approx(0.268941, abs=1e-5)
    found = blended("copo:k=2,same_answer=string", batch)[1][0, 0].item()
    assert found == pytest.approx(0.731059, abs=1e-5)


def test_the_proposer_uses_the_votes_on_its_questions() -> None:
    # group 0: votes 0 0 1 1 (1 bit) and an invalid row: H = 1; group 1: votes all alike: H = 0
    batch = rows.make(
        [0, 0, 1, 1],
        [0.5, -1, 0.2, 0.1],
        votes=[[0, 0, 1, 1], None, [0, 0, 0, 0], [0, 0, 0, 0]],
    )
    _, blend, _ = blended("copo:k=2,role=proposer", batch, "proposer")
    assert blend[0].tolist() == pytest.approx([0.731059] * 2 + [0.268941] * 2, abs=1e-5)
    nobody = rows.make([0, 0], [-1, -1], votes=[None, None])
    advantages, blend, counts = blended("copo:role=proposer", nobody, "proposer")
    assert (advantages == 0).all()
    assert blend.isfinite().all()
    assert not counts["rows_blended"]


def test_padding_stays_without_advantage() -> None:
    batch = rows.make([0, 1], [1, 0], ids=[[5, 6, 7], [8]], texts=rows.boxed(1, 2))
    ctx = tiny.make_context(role="solver")
    advantages, _ = build("copo")[0].advantage(ctx, batch, *rows.grpo(batch))
    assert (advantages[:, 1, 1:] == 0).all()
    assert (advantages[1, 0] > 0.7).all()


def test_defaults_and_off() -> None:
    p = build("copo")[0].params
    assert (p.k, p.b, p.entropy_penalty, p.forced, p.role) == (20.0, 0.5, True, True, "solver")
    batch = two_questions()
    advantages, blend = rows.grpo(batch)
    method, ctx = build("copo:global_weight=0,settings=rzero")[0], tiny.make_context(role="solver")
    a, b = method.advantage(ctx, batch, advantages, blend)
    assert a is advantages
    assert b is blend
    base = Coefficients(0.2, 0.3, 3.0, 0.01)
    assert method.coefficients(ctx, base) is base
    for name in ("copo", "copo_control"):
        assert build(name)[0].coefficients(ctx, base) == Coefficients(0.2, 0.2, 3.0, 0.001)
        assert build(name)[0].coefficients(tiny.make_context(), base) is base
