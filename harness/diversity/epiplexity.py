"""Epiplexity: how much of a set of texts a small, bounded learner can learn, and what it can't.

Finzi et al., arXiv 2601.03220, split the code of a data set by a computationally bounded observer
into structure (epiplexity, the description of the model) and randomness (time-bounded entropy).
Their prequential estimate of the first is the area of the loss curve above the final loss:
K(M) = K(X) - K(X|M), with K(X) the summed loss of each datum before the learner saw it, and
K(X|M) the final learner's loss on fresh data times the amount of data (their repository's README).

Here the observer is fixed: counts of bytes after the last 0 to 5 bytes, interpolated as Witten and
Bell do, learning one text at a time. Their estimate takes the best of many neural learners under a
budget of compute; that ours ranks sets as theirs would is unconfirmed. So is that vocabulary
dropout (arXiv 2604.03472), which reports 'epiplexity' of questions, means this quantity.

What it is not: a measure of how different the texts are. It is high where many texts share much
that can be learned, and low both for noise and for one text repeated. Three choices matter:

* The learner counts a text only once the whole of it has been coded. One that learns within a text
  ranks words shuffled across texts as the most learnable of all (docs/diversity.md).
* Texts that differ in numbers, case or spaces only are one text: copies would otherwise be
  learned by heart, and a set that is half copies would come out at twice its value or more.
* The texts are coded in one seeded order, so that the values belong to the set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness import rng

ORDER = 5
"""Longest context, in bytes."""
MAX_BYTES = 1000
"""A text is read up to here."""
FOLDS = 5
"""Each fifth of the texts is once the fresh data of a learner of the others."""
_END = 256
_SYMBOLS = 257
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Prequential:
    """What the learner made of a set of texts.

    Attributes:
        code_length: bits per byte of the set, each text coded before it is learned and copies free
            of charge; an end of text is a byte. Higher is less predictable: by diversity or by
            noise, so that shuffled words and random letters score highest.
        epiplexity: bits learned per text of the set, copies included in the number of texts. What
            is learned of one text without any use for the others counts as nothing; noise gives
            about 0, on either side.
    """

    code_length: float
    epiplexity: float


def prequential(texts: Sequence[str], seed: int) -> Prequential | None:
    """Code length and epiplexity of a set of texts; None without a text.

    Both depend on how many texts there are, and neither on their order: the learner gets them in
    an order from the stream ``prequential`` of the run's `seed`.
    """
    if not texts:
        return None
    distinct = _distinct(texts)
    order = rng.stream(seed, "diversity", "prequential").permutation(len(distinct))
    coded = [_symbols(distinct[i]) for i in order]
    folds = min(FOLDS, len(coded))
    before, after = [], []
    for fold in range(folds):
        fresh = [row for i, row in enumerate(coded) if i % folds == fold]
        seen = [row for i, row in enumerate(coded) if i % folds != fold]
        bits, learned = _code([*seen, *fresh], len(seen))
        after.append(bits[~learned].mean())
        before.append(bits[learned].mean() if seen else after[-1])
    code, final = float(np.mean(before)), float(np.mean(after))
    size = sum(map(len, coded))
    everything = sum(len(_symbols(text)) for text in texts)
    return Prequential(code * size / everything, (code - final) * size / len(texts))


def _distinct(texts: Sequence[str]) -> list[str]:
    """The first in order of code points of all texts that differ in numbers or spaces only."""
    found: dict[str, str] = {}
    for text in sorted(texts):
        found.setdefault(_NUMBER.sub("0", " ".join(text.casefold().split())), text)
    return sorted(found.values())


def _symbols(text: str) -> NDArray[np.int64]:
    """UTF-8 bytes and an end; a lone surrogate, which has no UTF-8, is spelled out."""
    data = text[:MAX_BYTES].encode("utf-8", "backslashreplace")[:MAX_BYTES]
    return np.append(np.frombuffer(data, dtype=np.uint8).astype(np.int64), _END)


def _code(
    texts: Sequence[NDArray[np.int64]], n_learned: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Bits of every symbol given the texts before its own, of which the first `n_learned` count.

    Witten-Bell: p_k = (count of symbol + distinct * p_{k-1}) / (count of context + distinct).

    Returns:
        Bits [symbols], and whether each symbol's text is one of those learned [symbols].
    """
    lengths = np.array([len(t) for t in texts])
    symbol = np.concatenate(texts)
    text = np.repeat(np.arange(len(texts)), lengths)
    position = np.arange(len(symbol)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    learned = text < n_learned
    p = np.full(len(symbol), 1.0 / _SYMBOLS)
    context = np.zeros(len(symbol), dtype=np.int64)
    for k in range(ORDER + 1):
        if k:
            # One id more stands for 'before the text': contexts don't reach into another text.
            past = np.where(position >= k, np.roll(symbol, k), _SYMBOLS)
            context = np.unique(context * (_SYMBOLS + 1) + past, return_inverse=True)[1]
        pair = np.unique(context * (_SYMBOLS + 1) + symbol, return_inverse=True)[1]
        seen, first = _earlier(pair, text, learned)
        total, _ = _earlier(context, text, learned)
        kinds, _ = _earlier(context, text, learned & first)
        known = total > 0
        p[known] = (seen[known] + kinds[known] * p[known]) / (total[known] + kinds[known])
    return -np.log2(p), learned


def _earlier(
    group: NDArray[np.int64], text: NDArray[np.int64], counts: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many counting members of its group each has in earlier texts; who is its group's first.

    All arrays are [symbols], sorted by text.
    """
    order = np.argsort(group, kind="stable")
    changes = np.diff(group[order], prepend=-1) != 0
    runs = changes | (np.diff(text[order], prepend=-1) != 0)
    weights = counts[order].astype(np.int64)
    before = np.cumsum(weights) - weights

    def at_start(of: NDArray[np.bool_]) -> NDArray[np.int64]:
        starts = np.flatnonzero(of)
        return np.repeat(before[starts], np.diff(starts, append=len(of)))

    number = np.empty_like(weights)
    number[order] = at_start(runs) - at_start(changes)
    first = np.empty(len(order), dtype=bool)
    first[order] = changes
    return number, first
