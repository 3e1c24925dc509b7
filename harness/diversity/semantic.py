"""Semantic diversity from embeddings: Vendi score, novelty rate and log-det volume.

Every function takes embeddings [n, d] and compares by cosine; rows are normalised here.

What shuffled words do (docs/diversity.md): under the hashing embedder, which sees pairs of words,
all of these rank them as *more* diverse than real problems. Under a sentence transformer the Vendi
score of one iteration ranks them as less diverse, and is the headline on real text; the other
three still don't, and are never one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from vendi_score import vendi

from harness.errors import HarnessError

NOVELTY_DISTANCE = 0.3
"""Cosine distance to every earlier question beyond which a question counts as new."""
RIDGE = 1e-2
"""Added to the Gram matrix's diagonal for the log-det volume, which copies would make -inf."""

_ROWS = 1024
"""Rows of a similarity matrix held at once."""


def unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows scaled to length 1, float64 [n, d].

    Raises:
        HarnessError: a row is zero or not finite, so that its cosines are undefined.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        bad = int(np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))[0])
        raise HarnessError(f"embedding of text {bad} is zero or not finite; use another embedder")
    unit: NDArray[np.float64] = rows / norms
    return unit


def vendi_score(embeddings: NDArray[np.floating]) -> float:
    """Vendi score under cosine similarity (arXiv 2210.02410), in [1, min(n, d)].

    The effective number of different texts, in the package's dual form. Where n < d, the rows are
    first rotated into n dimensions, which changes no cosine. Shuffled words rank as more diverse
    under the hashing embedder, and as less (by 3 % within a problem) under a sentence transformer.
    """
    rows = unit_rows(embeddings)
    n, d = rows.shape
    if n < d:
        rows = np.asarray(np.linalg.qr(rows.T, mode="r")).T
    score = vendi.score_dual(rows, normalize=False)
    return float(np.clip(score, 1.0, min(n, d)))  # eigenvalues carry rounding errors


class CumulativeVendi:
    """Vendi score of a union that grows, from d x d numbers: the texts are read once each.

    While the union has no more than d texts, their rows themselves are the smaller thing.
    """

    def __init__(self) -> None:
        self._few: list[NDArray[np.floating]] | None = []
        self._gram: NDArray[np.float64] | None = None
        self._n = 0

    def add(self, embeddings: NDArray[np.floating]) -> float:
        """Add embeddings [n, d]; the Vendi score of all rows so far."""
        if len(embeddings) == 0:
            raise HarnessError("cumulative Vendi score: no text was added")
        rows = unit_rows(embeddings)
        self._n, d = self._n + len(rows), rows.shape[1]
        if self._few is not None:
            self._few.append(np.asarray(embeddings))
        self._gram = rows.T @ rows if self._gram is None else self._gram + rows.T @ rows
        if self._few is not None and (len(self._few) == 1 or self._n <= d):
            return vendi_score(np.concatenate(self._few))
        self._few = None
        score = np.exp(vendi.entropy_q(linalg.eigvalsh(self._gram / self._n)))
        return float(np.clip(score, 1.0, min(self._n, d)))


def cumulative_vendi(iterations: Sequence[NDArray[np.floating]]) -> float:
    """Vendi score of the union of iterations 1..t: each [n, d] with the same n.

    Noise after sense adds to it: shuffled words rank as more diverse, or equal, by any embedder.
    """
    union = CumulativeVendi()
    return [union.add(rows) for rows in iterations][-1]


def novelty_rate(
    embeddings: NDArray[np.floating],
    earlier: Sequence[NDArray[np.floating]],
    distance: float = NOVELTY_DISTANCE,
) -> float | None:
    """Share of texts farther than `distance` from *every* text of all earlier iterations.

    None where there is no earlier text: novelty is then undefined rather than complete. Says
    nothing of the set's own diversity (one new problem in 200 wordings is all new), and shuffled
    words rank as more novel under any embedder.
    """
    if not earlier or sum(len(e) for e in earlier) == 0 or len(embeddings) == 0:
        return None
    parts = np.array_split(unit_rows(embeddings), -(-len(embeddings) // _ROWS))
    before = [unit_rows(e) for e in earlier if len(e)]
    nearest = [np.max([np.max(rows @ e.T, axis=1) for e in before], axis=0) for rows in parts]
    return float(np.mean(1.0 - np.concatenate(nearest) > distance))


def log_det_volume(embeddings: NDArray[np.floating], ridge: float = RIDGE) -> float:
    """Log-determinant of the cosine Gram matrix, per text: (1/n) sum log((l_i + e) / (1 + e)).

    l_i are the eigenvalues and e the ridge. 0 for orthogonal texts, negative otherwise, near
    log(e) for copies. With n > d at least n - d eigenvalues are 0; the others are those of the
    smaller d x d matrix. Shuffled words rank as more diverse under any embedder.
    """
    rows = unit_rows(embeddings)
    n, d = rows.shape
    small = rows @ rows.T if n <= d else rows.T @ rows
    gram = (small + ridge * np.eye(len(small))) / (1.0 + ridge)
    zeros = max(0, n - d) * np.log(ridge / (1.0 + ridge))
    return float((np.linalg.slogdet(gram)[1] + zeros) / n)
