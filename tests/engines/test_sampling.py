"""One token at a time: truncation by hand, inversion, and what is never drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.engines import SamplingParams
from harness.engines.sampling import sample, truncate
from harness.errors import HarnessError
from harness.masks import uniforms
from harness.rng import keys64

P = [0.05, 0.4, 0.25, 0.2, 0.1]


def support(**changes: float) -> list[int]:
    """The tokens that survive in a row with probabilities P."""
    params = SamplingParams(1, **changes)  # type: ignore[arg-type]
    return truncate(torch.tensor([P]), params)[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 2, 3]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        # Sorted mass: .4, .65, .85, .95, 1: the smallest set that reaches top_p.
        ({"top_p": 0.3}, [1]),
        ({"top_p": 0.6}, [1, 2]),
        ({"top_p": 0.7}, [1, 2, 3]),
        ({"top_p": 0.9}, [1, 2, 3, 4]),
        # min-p: at least min_p * .4
        ({"min_p": 0.3}, [1, 2, 3]),
        ({"min_p": 0.24}, [1, 2, 3, 4]),
        ({"min_p": 0.99}, [1]),
        # top-k first: of .4 .25 .2 (sum .85) half is .425, so two tokens are needed.
        ({"top_k": 3, "top_p": 0.5}, [1, 2]),
        # without top-k: .4 < .45 <= .65
        ({"top_p": 0.45}, [1, 2]),
        # ... but over the top two alone .45 * .65 = .29 is reached by one.
        ({"top_k": 2, "top_p": 0.45}, [1]),
        ({"top_p": 0.9, "min_p": 0.55}, [1, 2]),
    ],
)
def test_truncation_by_hand(changes: dict[str, float], kept: list[int]) -> None:
    assert support(**changes) == kept


def test_truncation_does_not_rescale_and_treats_rows_apart() -> None:
    probs = torch.tensor([P, [0.9, 0.04, 0.03, 0.02, 0.01]])
    cut = truncate(probs, SamplingParams(1, top_p=0.6))
    assert cut.tolist() == [
        [0.0, pytest.approx(0.4), pytest.approx(0.25), 0.0, 0.0],
        [pytest.approx(0.9), 0.0, 0.0, 0.0, 0.0],
    ]


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.floats(0.05, 1.0),
    st.integers(0, 12),
    st.floats(0, 0.95),
)
@settings(max_examples=150, deadline=None)
def test_the_likeliest_token_survives_and_order_is_respected(logits, top_p, top_k, min_p) -> None:
    probs = torch.tensor([logits]).softmax(dim=-1)
    cut = truncate(probs, SamplingParams(1, top_p=top_p, top_k=top_k, min_p=min_p))[0]
    kept, dropped = probs[0][cut > 0], probs[0][cut == 0]
    assert kept.max() == probs.max()
    assert len(dropped) == 0 or dropped.max() <= kept.min()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens >= 1"),
        ({"n": 0}, "n >= 1"),
        ({"temperature": -1.0}, "temperature >= 0"),
        ({"top_p": 0.0}, r"top_p in \(0, 1\]"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k >= 0"),
        ({"min_p": 1.0}, r"min_p in \[0, 1\)"),
        ({"top_p": math.nan}, "top_p"),
    ],
)
def test_bad_parameters_are_refused(changes: dict[str, float], says: str) -> None:
    with pytest.raises(HarnessError, match=says):
        SamplingParams(**{"max_new_tokens": 1, **changes})  # type: ignore[arg-type]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(0, 1, exclude_max=True))
@settings(max_examples=150, deadline=None)
def test_a_uniform_picks_the_token_whose_interval_holds_it(logits, u) -> None:
    row = torch.tensor([logits])
    token, logprob = sample(row, SamplingParams(1), np.array([u]))
    logp = torch.log_softmax(row, dim=-1)[0]
    edges = np.concatenate([[0.0], np.cumsum(logp.exp().double().numpy())])
    i = int(token)
    assert edges[i] - 1e-9 <= u * edges[-1] <= edges[i + 1] + 1e-9
    assert float(logprob) == float(logp[i])


def test_a_uniform_near_one_never_leaves_the_support() -> None:
    """The last tokens are masked: rounding at the end of the line must not pick them."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -math.inf, -math.inf]])
    almost = np.array([np.nextafter(1.0, 0.0)])
    assert int(sample(logits, SamplingParams(1), almost)[0]) == 2
    assert int(sample(logits, SamplingParams(1), np.array([0.0]))[0]) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.3}])
def test_frequencies_are_those_of_the_truncated_softmax(temperature, changes) -> None:
    n = 20_000
    logits = torch.tensor([[0.3, 1.7, -0.4, 1.1, -math.inf, 0.0]])
    params = SamplingParams(1, temperature=temperature, **changes)
    u = uniforms(np.array(keys64(11, "frequencies", n=n), dtype=np.uint64), 0)
    token, _ = sample(logits.expand(n, -1), params, u)
    probs = truncate((logits / temperature).softmax(dim=-1), params)[0].double()
    probs = (probs / probs.sum()).numpy()
    counts = np.bincount(token.numpy(), minlength=6)
    assert counts[probs == 0].sum() == 0
    held = probs > 0
    if held.sum() > 1:
        assert stats.chisquare(counts[held], probs[held] * n).pvalue > 1e-4


def test_the_log_prob_is_of_the_temperature_not_of_the_truncation() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    token, logprob = sample(logits, SamplingParams(1, temperature=2.0, top_k=1), np.array([0.5]))
    # softmax of (0, .5, 1): ln(e^1 / (1 + e^.5 + e^1)) = 1 - ln(5.36700) = -.680265
    assert int(token) == 2
    assert float(logprob) == pytest.approx(1 - math.log(1 + math.exp(0.5) + math.e), abs=1e-6)


def test_temperature_zero_is_the_first_maximum() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [-math.inf, -2.0, -5.0]])
    token, logprob = sample(logits, SamplingParams(1, temperature=0.0), np.array([0.99, 0.99]))
    assert token.tolist() == [1, 1]
    assert torch.isfinite(logprob).all()
