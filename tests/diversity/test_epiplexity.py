"""The prequential learner: its counts by hand, its invariances, and structure against noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.diversity.epiplexity import ORDER, Prequential, _code, _Corpus, _symbols, prequential

TEXTS = st.lists(st.text(max_size=40), min_size=1, max_size=12)


def coded(texts: list[str], seed: int = 0) -> Prequential:
    found = prequential(texts, seed)
    assert found is not None
    return found


def by_hand(texts: list[str], n_learned: int) -> list[float]:
    """The same probabilities from dictionaries, symbol after symbol."""
    counts: dict[tuple[int, ...], dict[int, int]] = {}
    bits = []
    for t, text in enumerate(texts):
        symbols = _symbols(text).tolist()
        added = []
        for i, symbol in enumerate(symbols):
            p = 1 / 257
            for k in range(ORDER + 1):
                past = [-1] * max(0, k - i) + symbols[max(0, i - k) : i]
                context = (k, *past)
                seen = counts.get(context, {})
                if seen:
                    total, kinds = sum(seen.values()), len(seen)
                    p = (seen.get(symbol, 0) + kinds * p) / (total + kinds)
                added.append((context, symbol))
            bits.append(-np.log2(p))
        if t < n_learned:
            for context, symbol in added:
                seen = counts.setdefault(context, {})
                seen[symbol] = seen.get(symbol, 0) + 1
    return bits


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab c", max_size=12), min_size=1, max_size=8), st.data())
def test_code_is_that_of_the_learner_by_hand(texts: list[str], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(texts)))
    bits, learned = _code(_Corpus([_symbols(t) for t in texts]), np.arange(len(texts)) < n)
    np.testing.assert_allclose(bits, by_hand(texts, n), rtol=1e-9)
    assert learned.sum() == sum(len(_symbols(t)) for t in texts[:n])


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_any_strings_in_any_order(texts: list[str], random: object) -> None:
    found = coded(texts)
    assert np.isfinite([found.code_length, found.epiplexity]).all()
    assert found.code_length >= 0
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert coded(shuffled) == found


HOSTILE = ("", "\0" * 2000, "\ud800\udc00\ud8ff", "\u202e" * 9, "x" * 10**6, "7" * 10**6)


@pytest.mark.parametrize("text", [*HOSTILE, "1," * 10**5])
def test_hostile_strings(text: str) -> None:
    found = coded([text, "What is 3 + 4?", text + "!"])
    assert np.isfinite([found.code_length, found.epiplexity]).all()


def sentences(n: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    names, things = ["Anna", "Boris", "Chen", "Dalia"], ["apples", "books", "coins", "pens"]
    verbs, ends = ["buys", "finds", "sells", "counts"], ["in all", "at last", "now", "per day"]
    pick = lambda of: of[draw.integers(len(of))]  # noqa: E731
    return [
        f"{pick(names)} {pick(verbs)} some {pick(things)} and then some {pick(things)}. "
        f"How many {pick(things)} does {pick(names)} have {pick(ends)}?"
        for _ in range(n)
    ]


def test_noise_has_a_long_code_and_nothing_to_learn() -> None:
    real = sentences(60, 0)
    letters = np.random.default_rng(1).permutation(list("".join(real)))
    ends = np.cumsum([len(t) for t in real])
    noise = ["".join(letters[e - len(t) : e]) for t, e in zip(real, ends, strict=True)]
    structure, random = coded(real), coded(noise)
    assert random.code_length > 2 * structure.code_length
    assert structure.epiplexity > 2 * abs(random.epiplexity)  # the letters' frequencies alone


def test_copies_cost_and_teach_nothing() -> None:
    real = sentences(40, 2)
    distinct = sorted(set(real))
    once, twice = coded(distinct), coded(distinct * 2)
    assert twice.code_length == pytest.approx(once.code_length / 2)
    assert twice.epiplexity == pytest.approx(once.epiplexity / 2)


def test_other_numbers_are_a_copy() -> None:
    real = sorted(set(sentences(40, 3)))
    numbered = [f"{t} 12 or 3.5" for t in real]
    again = [f"{t}  7 or 1,000" for t in real]
    assert coded(numbered + again).epiplexity == pytest.approx(coded(numbered).epiplexity / 2, 0.1)
    collapsed = coded([f"What is {i} + {i * i}?" for i in range(50)])
    assert collapsed.epiplexity == 0.0
    assert collapsed.code_length < 0.5


def test_nothing_to_measure() -> None:
    assert prequential([], 0) is None
    assert coded(["a"]) == Prequential(pytest.approx(np.log2(257)), 0.0)
    assert coded(["a"]) != coded(["a", "b"])
    assert coded(sentences(30, 4), 0) != coded(sentences(30, 4), 1)
