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
from vendi_score import vendi

from harness.errors import HarnessError

NOVELTY_DISTANCE = 0.3
"""Cosine distance to every earlier question beyond which a question counts as new."""
RIDGE = 1e-2
"""Added to the Gram matrix's diagonal for the log-det volume, which copies would make -inf."""


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


def cumulative_vendi(iterations: Sequence[NDArray[np.floating]]) -> float:
    """Vendi score of the union of iterations 1..t: each [n, d] with the same n.

    Noise after sense adds to it: shuffled words rank as more diverse, or equal, by any embedder.
    """
    return vendi_score(np.concatenate([np.asarray(e) for e in iterations]))


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
    rows = unit_rows(embeddings)
    nearest = np.max([np.max(rows @ unit_rows(e).T, axis=1) for e in earlier if len(e)], axis=0)
    return float(np.mean(1.0 - nearest > distance))


def log_det_volume(embeddings: NDArray[np.floating], ridge: float = RIDGE) -> float:
    """Log-determinant of the cosine Gram matrix, per text: (1/n) sum log((l_i + e) / (1 + e)).

    l_i are the eigenvalues and e the ridge. 0 for orthogonal texts, negative otherwise, near
    log(e) for copies. With n > d at least n - d eigenvalues are 0. Shuffled words rank as more
    diverse under any embedder.
    """
    rows = unit_rows(embeddings)
    n = len(rows)
    gram = (rows @ rows.T + ridge * np.eye(n)) / (1.0 + ridge)
    return float(np.linalg.slogdet(gram)[1] / n)
