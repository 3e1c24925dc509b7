"""HICRA: which grams are strategic, which tokens they cover, and what is remembered."""

from __future__ import annotations

import json

import pytest
import rows
import tiny
import torch

from harness.errors import HarnessError
from harness.methods import build
from harness.policy import Policy

PHRASE, CHANT, FORM = [100, 101, 102], [200, 201, 202], [300, 301, 302]


@pytest.fixture(scope="module")
def ctx_of(base_policy: Policy):
    return lambda **kw: tiny.make_context(base_policy.tokenizer, **{"role": "solver", **kw})


def four_responses():
    """FORM in all 4; PHRASE once in 2; CHANT twice in each of 2; the rest occurs once."""
    return rows.make(
        [0] * 4,
        [1, 0, 0, 0],
        ids=[
            [*FORM, 400, *PHRASE, 401],
            [*FORM, 402, 403, *PHRASE],
            [*FORM, 404, *CHANT, 405, *CHANT],
            [*CHANT, 406, *CHANT, 407, *FORM],
        ],
    )


def test_common_across_and_sparse_within(ctx_of) -> None:
    # N = 4. PHRASE: df 2 (share .5), 1 per response: strategic. CHANT: 4 / 2 = 2 > 1.5 per
    # response. FORM: share 1 > .5. Mixed windows have df 1.
    ctx, batch = ctx_of(), four_responses()
    advantages, blend = rows.grpo(batch)
    method = build("hicra:n_max=3")[0]
    found, same = method.advantage(ctx, batch, advantages, blend)
    marked = torch.zeros(4, 11, dtype=torch.bool)
    marked[0, 4:7] = marked[1, 5:8] = True
    # rewards 1 0 0 0: mean 1/4, std 1/2, so A = 1.5 and -.5: 1.2 * 1.5 = 1.8; .8 * -.5 = -.4
    assert found[0, 0, 4].item() == pytest.approx(1.8, abs=1e-4)
    assert found[0, 1, 5].item() == pytest.approx(-0.4, abs=1e-4)
    assert torch.equal((found != advantages)[0], marked)
    assert same is blend
    assert ctx.counts["tokens_amplified"] == 6
    assert method.strategic("solver", "100 101 102")
    assert not method.strategic("solver", "200 201 202")
    assert not method.strategic("solver", "300 301 302")


def test_repeats_and_band_are_limits(ctx_of) -> None:
    batch = four_responses()
    for text, amplified in (
        ("hicra:n_max=3,repeats=2", 6 + 12),  # CHANT as well, 2 rows of 6 tokens
        ("hicra:n_max=3,high=1.0", 6 + 12),  # FORM as well, 4 rows of 3
        ("hicra:n_max=3,low=0.51,high=0.9", 0),
        ("hicra:n_min=4,n_max=4", 0),  # no window of 4 is in two responses
    ):
        ctx = ctx_of()
        build(text)[0].advantage(ctx, batch, *rows.grpo(batch))
        assert ctx.counts["tokens_amplified"] == amplified, text


def test_special_tokens_belong_to_no_gram(ctx_of) -> None:
    ctx = ctx_of()
    end = ctx.tokenizer.eos_token_id
    ids = [[100, 101, end], [100, 101, end], [400, 401, 402], [403, 404, 405]]
    batch = rows.make([0] * 4, [1, 0, 0, 0], ids=ids)
    build("hicra:n_max=3")[0].advantage(ctx, batch, *rows.grpo(batch))
    assert ctx.counts["tokens_amplified"] == 0


def test_the_dictionary_grows_and_round_trips(ctx_of) -> None:
    method = build("hicra:n_max=3")[0]
    first, second = four_responses(), rows.make([0] * 2, [1, 0], ids=[PHRASE, [500, 501, 502]])
    method.advantage(ctx_of(), first, *rows.grpo(first))
    state = json.loads(json.dumps(method.state_dict()))
    assert state["responses"] == {"solver": 4}
    assert state["grams"]["solver"]["100 101 102"] == [2, 2]
    assert state["grams"]["solver"]["200 201 202"] == [2, 4]
    again = build("hicra:n_max=3")[0]
    again.load_state_dict(state)
    assert again.state_dict() == state
    # A known gram counts on when a single response holds it: df 3 of N = 6.
    ctx = ctx_of(step=1)
    again.advantage(ctx, second, *rows.grpo(second))
    assert again.state_dict()["grams"]["solver"]["100 101 102"] == [3, 3]
    assert again.state_dict()["responses"] == {"solver": 6}
    assert ctx.counts["tokens_amplified"] == 3
    assert state["grams"]["solver"]["100 101 102"] == [2, 2]  # what was handed over is a copy


def test_roles_have_dictionaries_of_their_own(ctx_of) -> None:
    method, batch = build("hicra:role=both,n_max=3")[0], four_responses()
    method.advantage(ctx_of(), batch, *rows.grpo(batch))
    method.advantage(ctx_of(role="proposer"), batch, *rows.grpo(batch))
    assert method.state_dict()["responses"] == {"solver": 4, "proposer": 4}


def test_only_the_most_frequent_are_kept(ctx_of) -> None:
    method, batch = build("hicra:n_max=3,kept=1")[0], four_responses()
    method.advantage(ctx_of(), batch, *rows.grpo(batch))
    assert method.state_dict()["grams"]["solver"] == {"300 301 302": [4, 4]}


def test_defaults_and_off(ctx_of) -> None:
    p = build("hicra")[0].params
    assert (p.alpha, p.n_min, p.n_max, p.role) == (0.2, 3, 5, "solver")
    with pytest.raises(HarnessError, match="n_min must not be above n_max"):
        build("hicra:n_min=6")
    batch = four_responses()
    advantages, blend = rows.grpo(batch)
    for text, role in (("hicra:alpha=0", "solver"), ("hicra", "proposer")):
        ctx, method = ctx_of(role=role), build(text)[0]
        assert method.advantage(ctx, batch, advantages, blend)[0] is advantages
        assert method.state_dict() == {"responses": {}, "grams": {}}
        assert not ctx.counts


def test_short_responses(ctx_of) -> None:
    batch = rows.make([0, 0], [1, 0], ids=[[100], [101]])
    advantages, blend = rows.grpo(batch)
    found, _ = build("hicra")[0].advantage(ctx_of(), batch, advantages, blend)
    assert torch.equal(found, advantages)
