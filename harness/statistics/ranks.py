"""Places in a leaderboard: how sure a rank is, and which methods are not ordered."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import HarnessError
from harness.statistics.intervals import check_level, finite, welch


@dataclass(frozen=True)
class Rank:
    """A method's place, 1 being the best, with its interval.

    Attributes:
        rank: place by the means; methods of equal mean share the average of their places.
        low, high: best and worst place at the level asked; None for fewer than 2 runs.
    """

    rank: float
    low: int | None
    high: int | None


def rank_intervals(
    values: Mapping[str, Sequence[float]], *, higher: bool = True, level: float = 0.95
) -> dict[str, Rank]:
    """Rank of every method by its mean over runs, with the places that the runs leave open.

    Best place: 1 + the number of methods that are surely better; worst: the number of methods less
    those that are surely worse. Surely: Welch's interval of the difference leaves out 0. A method
    with fewer than 2 runs is never surely better or worse.

    Confidence sets from comparisons (Mogstad et al., Review of Economic Studies 91, 2024; arXiv
    2401.15205), each comparison at `level`: of all methods' true places a share of at least about
    `level` is inside, near ties included; it isn't claimed that all are inside at once. Quantiles
    of ranks over resampled runs aren't used: with 3 runs they hold 57 to 92 % of the true places,
    and means redrawn from Student's t still fail where methods are close (benchmarks/coverage.py).

    Args:
        values: per method one number per run.
        higher: whether larger values are better.

    Raises:
        HarnessError: a method has no value, a value is not finite, or the level is outside (0, 1).
    """
    names, places = _by_mean(values, higher, level)
    open_pairs = _not_ordered([values[name] for name in names], level)
    ranks: dict[str, Rank] = {}
    for i, name in enumerate(names):
        if len(values[name]) < 2:
            ranks[name] = Rank(places[i], None, None)
            continue
        low = 1 + int((~open_pairs[i, :i]).sum())
        high = len(names) - int((~open_pairs[i, i + 1 :]).sum())
        ranks[name] = Rank(places[i], low, high)
    return {name: ranks[name] for name in values}


def tie_groups(
    values: Mapping[str, Sequence[float]], *, higher: bool = True, level: float = 0.95
) -> dict[str, str]:
    """Letters by which methods are not ordered (a compact letter display).

    Two methods share a letter if and only if Welch's interval of their difference contains 0 or
    can't be computed (fewer than 2 runs on a side). Not sharing one is no claim for many methods
    at once: the intervals are pairwise.

    A cover of the graph of ties by cliques: each tie not yet covered is grown to a largest-possible
    clique, best methods first; cliques that the others make superfluous are dropped. That is
    polynomial, and not always the fewest letters. Letters: a to z, A to Z, then further small
    letters of Unicode; 'a' has the best method.

    Args:
        values: per method one number per run.
        higher: whether larger values are better.

    Raises:
        HarnessError: a method has no value, a value is not finite, or the level is outside (0, 1).
    """
    names, _ = _by_mean(values, higher, level)
    ties = _not_ordered([values[name] for name in names], level)
    cliques = _needed(_cliques(ties), len(names))
    letters = dict.fromkeys(names, "")
    for letter, clique in zip(_letters(), sorted(cliques), strict=False):
        for member in clique:
            letters[names[member]] += letter
    return {name: letters[name] for name in values}


def _by_mean(
    values: Mapping[str, Sequence[float]], higher: bool, level: float
) -> tuple[list[str], list[float]]:
    """Names from the best mean to the worst, and the place of each; equal means share theirs."""
    check_level(level)
    means: dict[str, float] = {}
    for name, x in values.items():
        if len(x) == 0:
            raise HarnessError(f"ranks: {name} has no run; leave it out")
        means[name] = float(np.sort(finite(x)).mean())  # sorted: rounding can't depend on order
    sign = -1.0 if higher else 1.0
    names = sorted(means, key=lambda name: (sign * means[name], name))
    places = stats.rankdata([sign * means[name] for name in names])
    return names, [float(place) for place in places]


def _not_ordered(samples: Sequence[Sequence[float]], level: float) -> NDArray[np.bool_]:
    """Which pairs of methods are not ordered [M, M]; nothing is ordered against itself."""
    n = len(samples)
    ties = np.eye(n, dtype=np.bool_)
    for i in range(n):
        for j in range(i):
            found = welch(samples[i], samples[j], level)
            low, high = found.low, found.high
            ties[i, j] = ties[j, i] = low is None or high is None or low <= 0 <= high
    return ties


def _cliques(ties: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Maximal cliques that cover every tie and every method."""
    n = len(ties)
    covered = np.zeros_like(ties)
    cliques = []
    for i in range(n):
        for j in chain(range(i + 1, n), (i,)):
            if not ties[i, j] or covered[i, j]:
                continue
            common = ties[i] & ties[j]
            clique = {i, j}
            for k in range(n):
                if k not in clique and common[k]:
                    clique.add(k)
                    common = common & ties[k]
            members = sorted(clique)
            covered[np.ix_(members, members)] = True
            cliques.append(tuple(members))
    return cliques


def _needed(cliques: Sequence[tuple[int, ...]], n: int) -> list[tuple[int, ...]]:
    """The cliques without those whose every tie is in others, too."""
    count = np.zeros((n, n), dtype=np.int64)
    for clique in cliques:
        count[np.ix_(clique, clique)] += 1
    kept = []
    for clique in sorted(cliques, key=len):
        block = np.ix_(clique, clique)
        if (count[block] > 1).all():
            count[block] -= 1
        else:
            kept.append(clique)
    return kept


def _letters() -> Iterator[str]:
    more = (chr(i) for i in range(0xDF, 0x1FFFF))
    return chain(string.ascii_letters, (c for c in more if c.islower()))
