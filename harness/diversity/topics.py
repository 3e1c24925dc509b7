"""Topics of real text, which no parser reads: the label of the nearest labelled problems.

Measured on MATH (Hendrycks et al., arXiv 2103.03874; 7 subjects, 7,500 labelled training problems,
accuracy on the 5,000 test problems; always naming the largest subject: .24):

| nobody 'other' | hashing embedder | all-MiniLM-L6-v2 |
|---|---|---|
| nearest of 7 centroids | .46 | .61 |
| 1 neighbour | .65 | .72 |
| 10 neighbours, weighted by cosine | .64 | .75 |

So neighbours vote, and the labels are good enough for a set's histogram, not for one question.

A topic says what the words are about and not whether they make sense: **topic entropy ranks words
shuffled within their problems as equally diverse (hashing) or more so (MiniLM)**, because a few of
them turn into 'other', and it doesn't see copies (docs/diversity.md). Never a headline on real text
by itself. Where a checker names the topics, what it can't parse is 'other' and the reverse holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.data import load_items
from harness.diversity.embedders import Embedder
from harness.diversity.semantic import unit_rows
from harness.errors import HarnessError

OTHER: Final = "other"
NEIGHBOURS: Final = 10
"""Labelled problems that vote."""
QUANTILE: Final = 0.01
"""Share of the yardstick's own problems that would be 'other' if each were left out in turn."""
_BLOCK: Final = 512


class TopicModel:
    """Names the topic of a text by its nearest labelled texts.

    A text whose nearest neighbour is farther than that of all but `quantile` of the yardstick's
    own texts (each against the others) is 'other'. The others take the label with the largest sum
    of cosines among the `neighbours` nearest; a tie falls to the first label in order.

    Args:
        embeddings: of the labelled texts [n, d], n >= 2.
        labels: their topics [n].
        neighbours: how many vote; at most n do.
        quantile: in [0, 1); 0 makes only what is farther than any of the yardstick 'other'.

    Raises:
        HarnessError: fewer than two texts, or another number of labels.
    """

    def __init__(
        self,
        embeddings: NDArray[np.floating],
        labels: Sequence[str],
        *,
        neighbours: int = NEIGHBOURS,
        quantile: float = QUANTILE,
    ) -> None:
        if len(embeddings) != len(labels) or len(labels) < 2:
            raise HarnessError(
                f"topics: {len(embeddings)} embeddings and {len(labels)} labels; at least two "
                "labelled texts are needed"
            )
        self.topics: tuple[str, ...] = tuple(sorted(set(labels)))
        index = {topic: i for i, topic in enumerate(self.topics)}
        self._rows = unit_rows(embeddings)
        self._label = np.array([index[label] for label in labels])
        self._neighbours = min(neighbours, len(labels))
        self.threshold = float(np.quantile(self._leave_one_out(), quantile))

    def __call__(self, embeddings: NDArray[np.floating]) -> list[str]:
        """The topic of each row of `embeddings` [m, d]: one of `topics`, or 'other'."""
        rows = unit_rows(embeddings)
        found: list[str] = []
        for start in range(0, len(rows), _BLOCK):
            similar = rows[start : start + _BLOCK] @ self._rows.T
            votes = self._votes(similar)
            far = similar.max(axis=1) < self.threshold
            found += [
                OTHER if is_far else self.topics[best]
                for best, is_far in zip(votes.argmax(axis=1), far, strict=True)
            ]
        return found

    def _votes(self, similar: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of positive cosines [m, topics] over the nearest neighbours."""
        k = self._neighbours
        nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        weights = np.maximum(np.take_along_axis(similar, nearest, axis=1), 0.0)
        votes = np.zeros((len(similar), len(self.topics)))
        np.add.at(votes, (np.arange(len(similar))[:, None], self._label[nearest]), weights)
        return votes

    def _leave_one_out(self) -> NDArray[np.float64]:
        """Cosine of each yardstick text to the nearest of the others."""
        nearest = np.empty(len(self._rows))
        for start in range(0, len(self._rows), _BLOCK):
            similar = self._rows[start : start + _BLOCK] @ self._rows.T
            here = np.arange(len(similar))
            similar[here, start + here] = -1.0
            nearest[start : start + _BLOCK] = similar.max(axis=1)
        return nearest


def labelled_problems(name: str) -> tuple[list[str], list[str]]:
    """Problems and subjects of a data set, those without a subject left out.

    Raises:
        HarnessError: no such data set, or it has no subjects.
    """
    items = [item for item in load_items(name) if item.get("subject")]
    if len(items) < 2:
        raise HarnessError(f"diversity.topics: {name} has no subjects; name a set that has")
    return [item["problem"] for item in items], [item["subject"] for item in items]


def load_topics(name: str | None, embed: Embedder) -> TopicModel | None:
    """A topic model from a data set with subjects, e.g. ``math_train``; None without a name.

    Embeds the whole set once: a second with the hashing embedder, minutes on a CPU with a sentence
    transformer.

    Raises:
        HarnessError: no such data set, or it has no subjects.
    """
    if name is None:
        return None
    problems, subjects = labelled_problems(name)
    return TopicModel(embed(problems), subjects)
