"""R-Zero's BLEU-cluster share against NLTK and scikit-learn, the two libraries it was made of."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from harness.errors import HarnessError
from harness.kernels import PLAIN
from harness.repetition import (
    bleu_cluster_share,
    bleu_clusters,
    bleu_distances,
    plain_bleu_distances,
)

ADVERSARIAL = [
    "",
    "   ",
    "one",
    "one",
    "two words",
    "two words",
    "a a a a a a a a",
    "a a a",
    "a b a b a b a b",
    "b a b a b a",
    "What is 3 + 4 ?",
    "What is 3 + 4 ?",
    "What is 3 + 5 ?",
    "tab\tand\nnewline split the same",
    "tab and newline split the same",
    "café \u00a0 naïve \U0001f600 x",
]


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a[:, None] == a[None, :], b[:, None] == b[None, :]))


def questions(seed: int, n: int) -> list[str]:
    """Template-like text: some pairs nearly equal, others far apart."""
    rng = np.random.default_rng(seed)
    names, things = ["Ann", "Bo", "Cy", "Di"], ["apples", "pens", "books"]
    out = []
    for _ in range(n):
        name, thing = rng.choice(names), rng.choice(things)
        a, b = rng.integers(2, 30, 2)
        out.append(
            [
                f"{name} has {a} {thing} and buys {b} more . How many {thing} are there now ?",
                f"What is the remainder of {a} times {b} when it is divided by {a + 1} ?",
                f"Find the area of a rectangle of {a} by {b} .",
                " ".join(rng.choice(list("abcdefg"), rng.integers(0, 12))),
            ][rng.integers(4)]
        )
    return out


def test_equals_nltk_on_adversarial_texts() -> None:
    np.testing.assert_allclose(
        bleu_distances(ADVERSARIAL), plain_bleu_distances(ADVERSARIAL), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_equals_nltk_on_question_like_texts(seed: int) -> None:
    texts = questions(seed, 40)
    np.testing.assert_allclose(
        bleu_distances(texts), plain_bleu_distances(texts), rtol=0, atol=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=7))
def test_equals_nltk_on_any_texts(texts: list[str]) -> None:
    np.testing.assert_allclose(
        bleu_distances(texts), plain_bleu_distances(texts), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_same_partition_as_scikit_learn(seed: int, threshold: float) -> None:
    texts = questions(seed, 90)
    expected = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold
    ).fit_predict(plain_bleu_distances(texts))
    labels = bleu_clusters(texts, threshold)
    assert same_partition(labels, expected)
    shares = np.bincount(expected)[expected] / len(texts)
    np.testing.assert_array_equal(bleu_cluster_share(texts, threshold), shares)


def test_direction_is_the_published_one() -> None:
    short, long = "a b c d e", "a b c d e f g h i j"
    # The short hypothesis pays exp(1 - 10/5) for brevity, all its n-grams match.
    assert bleu_distances([short, long])[0, 1] == pytest.approx(1 - np.exp(-1))
    # The other way round precision falls instead: 5/10, 4/9, 3/8, 2/7.
    precision = (5 / 10 * 4 / 9 * 3 / 8 * 2 / 7) ** 0.25
    assert bleu_distances([long, short])[0, 1] == pytest.approx(1 - precision)


def test_copies_share_a_cluster_and_short_ones_do_not() -> None:
    text = "Ann has four red apples"
    assert bleu_cluster_share([text] * 3 + ["x y z w v u"]).tolist() == [0.75, 0.75, 0.75, 0.25]
    # A quirk of the published rule: the copy of a one-word text is at distance 1 - .1^(3/4).
    assert bleu_distances(["one", "one"])[0, 1] == pytest.approx(1 - 0.1**0.75)
    assert bleu_cluster_share(["one", "one", "", ""]).tolist() == [0.25] * 4


def test_a_distance_equal_to_the_threshold_does_not_merge() -> None:
    pair = ["a b c d e", "a b c d e f g h i j"]
    distance = float(bleu_distances(pair)[0, 1])
    assert bleu_clusters(pair, distance).tolist() == [0, 1]
    assert bleu_clusters(pair, float(np.nextafter(distance, 1))).tolist() == [0, 0]


def test_labels_are_numbered_by_first_appearance() -> None:
    a, b = "the first kind of text", "another sort of question here"
    assert bleu_clusters([b, a, b, a, "z"]).tolist() == [0, 1, 0, 1, 2]


def test_empty_and_single() -> None:
    assert bleu_clusters([]).shape == (0,)
    assert bleu_cluster_share([]).dtype == np.float64
    assert bleu_cluster_share(["x"]).tolist() == [1.0]
    assert bleu_distances([]).shape == (0, 0)


def test_the_switch_runs_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = questions(3, 12)
    calls: list[int] = []
    monkeypatch.setattr(
        "nltk.translate.bleu_score.sentence_bleu", lambda *_, **__: calls.append(1) or 0.25
    )
    assert bleu_distances(texts)[0, 1] != 0.75
    assert not calls
    monkeypatch.setenv(PLAIN, "1")
    assert bleu_distances(texts)[0, 1] == 0.75
    assert len(calls) == 12 * 11 // 2


def test_without_nltk_the_plain_loop_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.translate.bleu_score", None)
    with pytest.raises(HarnessError, match="pip install nltk"):
        plain_bleu_distances(["a b", "c d"])
