"""R-Zero's repetition penalty: the share of a batch that lies in a question's BLEU cluster.

Source: R-Zero, arXiv 2508.05004, with the details that only its released reward function states:
NLTK's sentence BLEU (4-grams, smoothing method 1) over whitespace tokens, distance 1 - BLEU,
average-linkage agglomerative clustering cut at 0.5.

Two properties of the published rule are kept on purpose, because they are part of the baseline:

* BLEU is asymmetric and only one direction is computed: for i < j, question i is the hypothesis
  and question j the reference. The penalty therefore depends (slightly) on the order of a batch.
* Smoothing leaves short texts far apart: a question of one word is at distance 0.82 from its own
  copy, and an empty one at distance 1, so neither ever joins a cluster.

The pairwise matrix is computed from sparse products instead of n^2 calls to NLTK, which
COEVOLUTION_PLAIN=1 brings back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster import hierarchy

from harness.errors import HarnessError
from harness.kernels import PLAIN

BLEU_ORDER = 4
"""Longest n-gram of BLEU."""
SMOOTHING_EPSILON = 0.1
"""What NLTK's `SmoothingFunction().method1` adds to a zero count of matches."""


@dataclass(frozen=True)
class NgramOccurrences:
    """The n-grams of one order in a set of texts, told apart by how often they came before.

    The k-th occurrence of an n-gram in a text is feature (n-gram, k). Two texts share
    min(count_1, count_2) of an n-gram's features, which is exactly BLEU's clipped match count.

    Attributes:
        text: index of the text of each occurrence, int64 [occurrences].
        ngram: n-gram id of each occurrence, int64 [occurrences].
        feature: id of (n-gram, k), int64 [occurrences]; unique within a text.
        n_features: number of different features over all texts.
    """

    text: NDArray[np.int64]
    ngram: NDArray[np.int64]
    feature: NDArray[np.int64]
    n_features: int


def ngram_occurrences(texts: Sequence[str], max_order: int) -> list[NgramOccurrences]:
    """Occurrences of the 1- to `max_order`-grams of whitespace tokens; item n-1 is order n."""
    ids: dict[str, int] = {}
    tokens = [[ids.setdefault(word, len(ids)) for word in text.split()] for text in texts]
    lengths = np.array([len(row) for row in tokens], dtype=np.int64)
    words = np.array([word for row in tokens for word in row], dtype=np.int64)
    text = np.repeat(np.arange(len(tokens), dtype=np.int64), lengths)
    ends = np.repeat(np.cumsum(lengths), lengths)
    position = np.arange(len(words), dtype=np.int64)

    result = []
    start, ngram = position, words
    for order in range(1, max_order + 1):
        if order > 1:
            fits = start + order <= ends[start]
            start, ngram = start[fits], ngram[fits]
            pair = ngram * max(len(ids), 1) + words[start + order - 1]
            ngram = np.unique(pair, return_inverse=True)[1].astype(np.int64)
        owner = text[start]
        # A stable sort by (text, n-gram) puts repeats side by side: their rank in the run is k.
        sort = np.lexsort((ngram, owner))
        new = np.ones(len(sort), dtype=bool)
        new[1:] = (np.diff(owner[sort]) != 0) | (np.diff(ngram[sort]) != 0)
        place = np.arange(len(sort), dtype=np.int64)
        repeat = np.empty_like(place)
        repeat[sort] = place - np.maximum.accumulate(np.where(new, place, 0))
        width = int(repeat.max(initial=0)) + 1
        unique, feature = np.unique(ngram * width + repeat, return_inverse=True)
        result.append(NgramOccurrences(owner, ngram, feature.astype(np.int64), len(unique)))
    return result


def smoothed_bleu(
    matches: Sequence[NDArray[np.float64]],
    totals: Sequence[NDArray[np.float64]],
    hypothesis_length: NDArray[np.float64],
    reference_length: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sentence BLEU from counts, as NLTK's method 1 smooths it (all arrays broadcast together).

    Args:
        matches: per order 1..4, clipped n-gram matches.
        totals: per order 1..4, n-grams in the hypothesis (0 where it is too short).
        hypothesis_length: tokens of the hypothesis.
        reference_length: tokens of the (closest) reference.
    """
    log_precision = np.zeros(np.broadcast_shapes(matches[0].shape, totals[0].shape))
    for match, total in zip(matches, totals, strict=True):
        smoothed = np.where(match > 0, match, SMOOTHING_EPSILON)
        log_precision += np.log(smoothed / np.maximum(total, 1.0)) / len(matches)
    brevity = np.minimum(0.0, 1.0 - reference_length / np.maximum(hypothesis_length, 1.0))
    # Without a shared word NLTK returns 0 before it smooths.
    return np.where(matches[0] > 0, np.exp(brevity + log_precision), 0.0)


def bleu_distances(questions: Sequence[str]) -> NDArray[np.float64]:
    """Distances 1 - BLEU, float64 [n, n], symmetric, diagonal 0.

    Entry (i, j) with i < j takes question i as hypothesis and question j as its only reference.
    """
    if os.environ.get(PLAIN):
        return plain_bleu_distances(questions)
    n = len(questions)
    matches, totals = [], []
    for grams in ngram_occurrences(questions, BLEU_ORDER):
        incidence = sparse.csr_array(
            (np.ones(len(grams.text)), (grams.text, grams.feature)),
            shape=(n, max(grams.n_features, 1)),
        )
        matches.append((incidence @ incidence.T).toarray())
        totals.append(np.bincount(grams.text, minlength=n).astype(np.float64))
    length = totals[0]
    bleu = smoothed_bleu(
        matches, [total[:, None] for total in totals], length[:, None], length[None, :]
    )
    upper = np.triu(1.0 - bleu, k=1)
    return upper + upper.T


def plain_bleu_distances(questions: Sequence[str]) -> NDArray[np.float64]:
    """The published double loop over NLTK, about 0.1 ms a pair; as `bleu_distances`.

    Raises:
        HarnessError: NLTK is not installed.
    """
    try:
        from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    except ImportError as error:
        raise HarnessError(f"{PLAIN}: the plain formula needs NLTK; pip install nltk") from error
    smooth = SmoothingFunction(epsilon=SMOOTHING_EPSILON).method1
    words = [question.split() for question in questions]
    distances = np.zeros((len(words), len(words)))
    for i, hypothesis in enumerate(words):
        for j in range(i + 1, len(words)):
            score = sentence_bleu([words[j]], hypothesis, smoothing_function=smooth)
            distances[i, j] = distances[j, i] = 1.0 - float(score)
    return distances


def bleu_clusters(questions: Sequence[str], threshold: float = 0.5) -> NDArray[np.int64]:
    """Cluster label of each question, int64 [n], numbered in order of first appearance.

    Clusters merge while their average distance is below `threshold`; a distance equal to it
    does not merge, as in scikit-learn's `AgglomerativeClustering(distance_threshold=...)`.
    """
    n = len(questions)
    if n < 2:
        return np.zeros(n, dtype=np.int64)
    distances = bleu_distances(questions)
    condensed = distances[np.triu_indices(n, k=1)]
    tree = hierarchy.linkage(condensed, method="average")
    # fcluster merges at distances <= t, the published rule at distances < threshold.
    cut = float(np.nextafter(threshold, -np.inf))
    raw = hierarchy.fcluster(tree, t=cut, criterion="distance")
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def bleu_cluster_share(questions: Sequence[str], threshold: float = 0.5) -> NDArray[np.float64]:
    """R-Zero's repetition penalty, float64 [n]: size of question i's BLEU cluster over n."""
    labels = bleu_clusters(questions, threshold)
    if len(labels) == 0:
        return np.zeros(0, dtype=np.float64)
    return np.bincount(labels)[labels] / len(labels)
