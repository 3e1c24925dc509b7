"""Lexical diversity: distinct-n, Self-BLEU and compression ratio of a set of texts.

Words are separated by white space, as in the repetition penalty. None of the three depends on
the order of the texts. All depend on how many texts there are: compare at equal n only.

**All three rank shuffled words as more diverse than real problems** (docs/diversity.md; distinct-1
alone can't tell them apart), so that none is ever a headline: they find copies and templates.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.repetition import BLEU_ORDER, ngram_occurrences, smoothed_bleu


def distinct_n(texts: Sequence[str], order: int) -> float | None:
    """Distinct n-grams over all n-grams (Li et al., arXiv 1510.03055), in (0, 1].

    Shuffled words rank as more diverse for n > 1 and as equal for n = 1.

    None if no text has an n-gram of this order.
    """
    ngrams = ngram_occurrences(texts, order)[-1].ngram
    return len(np.unique(ngrams)) / len(ngrams) if len(ngrams) else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against *all* the others (Zhu et al., arXiv 1802.01886), in [0, 1].

    Higher is less diverse; shuffled words score as most diverse. Sentence BLEU with NLTK's
    smoothing method 1; no reference is sampled, since the exact value costs one pass: an n-gram's
    k-th occurrence is matched if and only if another text has it a k-th time as well. None for
    fewer than two texts.
    """
    n = len(texts)
    if n < 2:
        return None
    matches: list[NDArray[np.float64]] = []
    totals: list[NDArray[np.float64]] = []
    for grams in ngram_occurrences(texts, BLEU_ORDER):
        texts_having = np.bincount(grams.feature, minlength=max(grams.n_features, 1))
        shared = (texts_having[grams.feature] >= 2).astype(np.float64)
        matches.append(np.bincount(grams.text, weights=shared, minlength=n).astype(np.float64))
        totals.append(np.bincount(grams.text, minlength=n).astype(np.float64))
    bleu = smoothed_bleu(matches, totals, totals[0], _closest_other(totals[0]))
    return float(np.sort(bleu).mean())  # sorted, so that the order of texts changes no bit


def _closest_other(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length nearest to each text's own among the other texts; ties go to the shorter."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order]
    below = np.concatenate([[-np.inf], ranked[:-1]])
    above = np.concatenate([ranked[1:], [np.inf]])
    closest = np.empty_like(lengths)
    closest[order] = np.where(ranked - below <= above - ranked, below, above)
    return closest


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Bytes before over bytes after DEFLATE (Shaib et al., arXiv 2403.00553).

    Higher is less diverse; shuffled words score as most diverse. The texts are sorted first, so
    that their order doesn't matter. None if there is no byte.
    """
    # Lone surrogates, which a model's tokenizer can emit, have no UTF-8 form of their own.
    data = "\n".join(sorted(texts)).encode("utf-8", "backslashreplace")
    return len(data) / len(zlib.compress(data, 9)) if data else None
