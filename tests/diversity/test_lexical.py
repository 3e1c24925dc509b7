"""Lexical metrics: values by hand, NLTK, and properties."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from harness.diversity.lexical import compression_ratio, distinct_n, self_bleu

texts_strategy = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d9", "é"]), max_size=8).map(" ".join),
    min_size=2,
    max_size=8,
)


def nltk_self_bleu(texts: list[str]) -> float:
    smooth = SmoothingFunction().method1
    scores = [
        sentence_bleu(
            [t.split() for j, t in enumerate(texts) if j != i],
            text.split(),
            smoothing_function=smooth,
        )
        for i, text in enumerate(texts)
    ]
    return sum(scores) / len(scores)


def test_distinct_by_hand() -> None:
    texts = ["a b a b", "a b c"]
    assert distinct_n(texts, 1) == pytest.approx(3 / 7)
    assert distinct_n(texts, 2) == pytest.approx(3 / 5)  # ab ba ab | ab bc
    assert distinct_n(texts, 3) == pytest.approx(3 / 3)  # aba bab | abc
    assert distinct_n(["a b", "c"], 3) is None
    assert distinct_n([], 1) is None


def test_ngrams_do_not_cross_texts() -> None:
    assert distinct_n(["a", "b", "a", "b"], 2) is None


def test_self_bleu_by_hand() -> None:
    same = "five words are in here"
    assert self_bleu([same] * 4) == pytest.approx(1.0)
    assert self_bleu(["a b c d", "e f g h"]) == 0.0
    assert self_bleu([same]) is None


@settings(max_examples=80, deadline=None)
@given(texts_strategy)
def test_self_bleu_equals_nltk_with_all_references(texts: list[str]) -> None:
    assert self_bleu(texts) == pytest.approx(nltk_self_bleu(texts), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(texts_strategy, st.randoms(use_true_random=False))
def test_order_of_texts_does_not_matter(texts: list[str], rand: random.Random) -> None:
    shuffled = texts[:]
    rand.shuffle(shuffled)
    for order in (1, 2, 3):
        assert distinct_n(texts, order) == distinct_n(shuffled, order)
    assert self_bleu(texts) == self_bleu(shuffled)
    assert compression_ratio(texts) == compression_ratio(shuffled)


@settings(max_examples=50, deadline=None)
@given(texts_strategy)
def test_bounds(texts: list[str]) -> None:
    value = self_bleu(texts)
    assert value is not None
    assert 0 <= value <= 1 + 1e-12
    for order in (1, 2, 3):
        ratio = distinct_n(texts, order)
        assert ratio is None or 0 < ratio <= 1


def test_compression_ratio() -> None:
    texts = ["what is 2 + 2 ?"] * 50
    raw = "\n".join(texts).encode()
    assert compression_ratio(texts) == len(raw) / len(zlib.compress(raw, 9))
    rng = random.Random(0)
    varied = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=15)) for _ in range(50)]
    repeated, different = compression_ratio(texts), compression_ratio(varied)
    assert repeated is not None
    assert different is not None
    assert repeated > 5 * different
    assert compression_ratio([]) is None


def test_lone_surrogates_are_text_too() -> None:
    hostile = ["a \ud800 b", "a \x00 b", "\u2028 c"]
    assert compression_ratio(hostile) is not None
    assert self_bleu(hostile) is not None
