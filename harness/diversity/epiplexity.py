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
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

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
    coded = _Corpus([_symbols(distinct[i]) for i in order])
    folds = min(FOLDS, len(distinct))
    before, after = [], []
    for fold in range(folds):
        learned = np.arange(len(distinct)) % folds != fold
        bits, known = _code(coded, learned)
        after.append(bits[~known].mean())
        before.append(bits[known].mean() if known.any() else after[-1])
    code, final = float(np.mean(before)), float(np.mean(after))
    size = len(coded.text)
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


class _Corpus:
    """The symbols of some texts, one after another, and which of them are alike.

    Attributes:
        text: each symbol's text [symbols], from 0 on.
        groups: for k = 0..5, symbols with the same k symbols before them in their text, and those
            that are the same themselves, too.
    """

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        lengths = np.array([len(t) for t in texts])
        symbol = np.concatenate(texts)
        self.text = np.repeat(np.arange(len(texts)), lengths)
        position = np.arange(len(symbol)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.groups: list[tuple[_Groups, _Groups]] = []
        context = np.zeros(len(symbol), dtype=np.int64)
        for k in range(ORDER + 1):
            if k:
                # One id more stands for 'before the text': contexts don't reach into another.
                past = np.where(position >= k, np.roll(symbol, k), _SYMBOLS)
                context = _ids(context * (_SYMBOLS + 1) + past)
            pair = _ids(context * (_SYMBOLS + 1) + symbol)
            self.groups.append((_Groups(context, self.text), _Groups(pair, self.text)))


def _code(
    corpus: _Corpus, learned_texts: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Bits of every symbol given the learned texts before its own, or all where it isn't learned.

    Witten-Bell: p_k = (count of symbol + distinct * p_{k-1}) / (count of context + distinct).

    Args:
        learned_texts: which texts are learned, in the order of the corpus [texts].

    Returns:
        Bits [symbols], and whether each symbol's text is one of those learned [symbols].
    """
    learned = learned_texts[corpus.text]
    p = np.full(len(learned), 1.0 / _SYMBOLS)
    for contexts, pairs in corpus.groups:
        seen, first = pairs.earlier(learned, learned)
        total, _ = contexts.earlier(learned, learned)
        kinds, _ = contexts.earlier(learned, first)
        known = total > 0
        p[known] = (seen[known] + kinds[known] * p[known]) / (total[known] + kinds[known])
    return -np.log2(p), learned


def _ids(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Equal values as equal numbers from 0 on, by hashing: time in proportion to their number."""
    ids: NDArray[np.int64] = pd.factorize(values)[0]
    return ids


class _Groups:
    """Symbols in groups, and what stands before each in its group.

    Args:
        ids: each symbol's group [symbols], from 0 on.
        text: each symbol's text [symbols], ascending.
    """

    def __init__(self, ids: NDArray[np.int64], text: NDArray[np.int64]) -> None:
        places = np.arange(len(ids), dtype=np.int32)
        # A stable sort of small numbers by counting: the places in a sparse matrix' columns.
        by_group = sparse.csc_array((places, (places, ids)), shape=(len(ids), int(ids.max()) + 1))
        self._order = by_group.data.astype(np.int64)
        self._group_start = by_group.indptr[:-1].astype(np.int64)
        self._group_size = np.diff(by_group.indptr)
        changes = np.diff(text[self._order], prepend=-1) != 0
        changes[self._group_start] = True
        self._run_start = np.flatnonzero(changes)  # a text's symbols in a group
        self._run_size = np.diff(self._run_start, append=len(ids))

    def earlier(
        self, learned: NDArray[np.bool_], counts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """How many members of its group that count each symbol finds learned.

        Args:
            learned: symbols of learned texts [symbols]; they find what earlier texts left, the
                others find everything.
            counts: which symbols count [symbols]; learned ones.

        Returns:
            The number [symbols], and whether each is its group's first that counts [symbols].
        """
        counting = counts[self._order]
        upto: NDArray[np.int64] = np.cumsum(counting)
        before = upto - counting
        start = before[self._group_start]
        end = np.append(start[1:], upto[-1:])
        in_group = np.repeat(start, self._group_size)
        found = np.where(
            learned[self._order],
            np.repeat(before[self._run_start], self._run_size),
            np.repeat(end, self._group_size),
        )
        number = np.empty(len(found), dtype=np.int32)  # half the memory to write at random
        number[self._order] = found - in_group
        first = np.empty_like(counts)
        first[self._order] = counting & (before == in_group)
        return number, first
