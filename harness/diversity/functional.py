"""Functional diversity: entropies (in nats) of topics, difficulties and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError


def entropy(labels: Iterable[Hashable]) -> float | None:
    """Shannon entropy of the labels' frequencies in nats; None without labels."""
    counts = np.sort(np.array(list(Counter(labels).values()), dtype=np.float64))
    if counts.size == 0:
        return None
    p = counts / counts.sum()
    return float(max(0.0, -(p * np.log(p)).sum()))


def topic_entropy(topics: Sequence[str | None]) -> float | None:
    """Entropy of the topics with 'other' as a class; at most log(number of topics + 1).

    A topic is what a text is about, whether or not it makes sense: word salad has topics as well.
    Only a checker's topics, which are 'other' for what it can't parse, see the difference; and
    the well-posed subset does. What `TopicModel` makes of real text is in docs/diversity.md.
    """
    return entropy(topics)


def difficulty_entropy(p_hat: Sequence[float] | NDArray[np.floating], votes: int) -> float | None:
    """Entropy of the vote shares' histogram over 0/M, 1/M, ..., M/M; at most log(M + 1).

    Args:
        p_hat: share of the majority answer, in [0, 1].
        votes: M, the votes per question.

    Raises:
        HarnessError: a share outside [0, 1] or not finite.
    """
    shares = np.asarray(p_hat, dtype=np.float64)
    if shares.size and not ((shares >= 0) & (shares <= 1)).all():  # NaN fails both
        raise HarnessError("p_hat must lie in [0, 1]; a vote share is outside or not finite")
    return entropy(np.rint(shares * votes).astype(int).tolist())


def answer_entropy(answers: Sequence[str | None]) -> float | None:
    """Entropy of the majority answers, compared as text; 'no answer' (None) is a class.

    Blind to the questions themselves: shuffled ones that somehow keep their answers rank as equal.
    """
    return entropy(answers)
