"""Scores of several samples per item: pass@k, maj@k and best-of-majority.

Each is the exact expectation over what k could have been kept of the n samples at hand, so that
neither the order of the samples nor a random choice matters.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache

from harness.errors import HarnessError

NO_ANSWER = -1
"""Cluster of the samples from which no answer could be read."""


def check_samples(n: int, k: int, temperature: float | None = None, name: str = "pass") -> None:
    """Refuse what n samples of an item can't say about k of them.

    Args:
        n: samples drawn for the item.
        k: samples allowed.
        temperature: what they were drawn at; None where it isn't known.
        name: of the measure, for the message: 'pass' for pass@k.

    Raises:
        HarnessError: k < 1, n < k, or k > 1 at temperature 0, which repeats one answer.
    """
    if k < 1 or n < k:
        raise HarnessError(f"{name}@{k} needs at least {max(k, 1)} samples per item, got {n}")
    if temperature is None:
        return
    if not 0 <= temperature < math.inf:
        raise HarnessError(f"{name}@{k}: a temperature of {temperature} is impossible")
    if temperature == 0 and k > 1:
        raise HarnessError(
            f"{name}@{k}: at temperature 0 all samples are one answer; sample above 0, or use k = 1"
        )


def pass_at_k(n: int, correct: int, k: int, temperature: float | None = None) -> float:
    """Unbiased pass@k of one item, 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374).

    Args:
        n: samples drawn for the item, at a temperature above 0.
        correct: c, how many of them are right.
        k: samples allowed.
        temperature: what they were drawn at, to be checked; None where it isn't known.

    Warns if n < 2k, where the estimate is noisy.

    Raises:
        HarnessError: n < k, k < 1, k > 1 at temperature 0, or `correct` outside 0..n.
    """
    check_samples(n, k, temperature)
    if not 0 <= correct <= n:
        raise HarnessError(f"pass@{k}: {correct} correct of {n} samples is impossible")
    _warn_if_noisy(n, k, "pass")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def maj_at_k(
    clusters: Sequence[int],
    correct: Collection[int] | int,
    k: int,
    temperature: float | None = None,
) -> float:
    """Chance that the most frequent answer of k samples is right (cons@k, arXiv 2203.11171).

    The exact expectation over all C(n, k) choices of k samples without replacement. Answers that
    tie for the most votes share the win evenly. Samples without an answer never win, even where
    they are the most; k samples without any answer are wrong.

    Args:
        clusters: the answer of each of the n samples, as the number of its class of equal answers;
            -1: no answer.
        correct: the classes that are right: one, or several where equality isn't decided fully.
        k: samples that vote.
        temperature: what they were drawn at, to be checked; None where it isn't known.

    Warns if 1 < k and n < 2k, where the estimate is noisy.

    Raises:
        HarnessError: n < k, k < 1, k > 1 at temperature 0, or a class below -1.
    """
    check_samples(len(clusters), k, temperature, "maj")
    sizes, right = _answers(clusters, correct)
    _warn_if_noisy(len(clusters), k, "maj")
    votes = sorted((size, answer in right) for answer, size in sizes.items())
    return _majority(tuple(votes), len(clusters), k)


def best_of_majority(
    clusters: Sequence[int],
    correct: Collection[int] | int,
    k: int,
    temperature: float | None = None,
) -> float:
    """Chance that one of the k most frequent answers of all samples is right (arXiv 2510.03199).

    k = 1 is the majority vote. Answers that tie at the cut are taken at random, each set of them
    equally likely. With fewer than k different answers all are taken; 'no answer' never is.

    Args:
        clusters: the answer of each of the n samples, as for `maj_at_k`.
        correct: the classes that are right.
        k: answers that may be handed in.
        temperature: what the samples were drawn at, to be checked; None where it isn't known.

    Raises:
        HarnessError: n < k, k < 1, k > 1 at temperature 0, or a class below -1.
    """
    check_samples(len(clusters), k, temperature, "best-of-majority")
    sizes, right = _answers(clusters, correct)
    if len(sizes) <= k:
        return float(any(answer in right for answer in sizes))
    cut = sorted(sizes.values(), reverse=True)[k - 1]
    above = [answer for answer, size in sizes.items() if size > cut]
    if any(answer in right for answer in above):
        return 1.0
    tied = [answer for answer, size in sizes.items() if size == cut]
    wrong, open_places = sum(answer not in right for answer in tied), k - len(above)
    return 1.0 - math.comb(wrong, open_places) / math.comb(len(tied), open_places)


def _answers(
    clusters: Sequence[int], correct: Collection[int] | int
) -> tuple[dict[int, int], frozenset[int]]:
    """Votes of each answer, and the answers that are right; neither has 'no answer'."""
    right = frozenset(correct if isinstance(correct, Collection) else (correct,)) - {NO_ANSWER}
    sizes = Counter(int(c) for c in clusters)
    sizes.pop(NO_ANSWER, None)
    if bad := [c for c in (*sizes, *right) if c < NO_ANSWER]:
        raise HarnessError(
            f"samples: answer class {bad[0]}; classes are 0, 1, ..., and -1 for 'no answer'"
        )
    return dict(sizes), right


def _warn_if_noisy(n: int, k: int, name: str) -> None:
    if n < 2 * k and k > 1:
        warnings.warn(f"{name}@{k} from {n} samples is noisy; draw {2 * k}", stacklevel=3)


@lru_cache(maxsize=4096)  # thousands of items share few patterns of votes
def _majority(votes: tuple[tuple[int, bool], ...], n: int, k: int) -> float:
    """Expected share of right answers among those with most votes, over choices of k of n.

    Counts choices by the largest number of votes m. An answer with fewer than m samples at hand
    can't reach m, so that all of those join the samples without an answer in one binomial.
    """
    total = 0.0
    choices = math.comb(n, k)
    for most in range(1, min(k, max((size for size, _ in votes), default=0)) + 1):
        able = [(size, right) for size, right in votes if size >= most]
        if not any(right for _, right in able):
            break  # nor can any reach more votes
        rest = n - sum(size for size, _ in able)
        for winners, (_, good) in _choices_by_winners(able, most, k).items():
            ways = sum(count * math.comb(rest, k - t) for t, count in enumerate(good))
            total += ways / winners / choices
    return total


def _choices_by_winners(
    able: Sequence[tuple[int, bool]], most: int, k: int
) -> dict[int, tuple[list[int], list[int]]]:
    """Choices from these answers where none has more than `most` samples, by how many have most.

    Returns:
        For each number of winners >= 1, lists over samples taken (0..k): the number of choices, and
        the sum over them of how many winners are right.
    """
    start = [1] + [0] * k
    table: dict[int, tuple[list[int], list[int]]] = {0: (start, [0] * (k + 1))}
    for size, right in able:
        fewer = [math.comb(size, i) for i in range(most)]
        exactly = [0] * most + [math.comb(size, most)]
        grown: dict[int, tuple[list[int], list[int]]] = {}
        for winners, (all_ways, good) in table.items():
            won = _product(all_ways, exactly, k)
            won_good = _product(good, exactly, k)
            if right:
                won_good = _sum(won_good, won)
            _add(grown, winners, _product(all_ways, fewer, k), _product(good, fewer, k))
            _add(grown, winners + 1, won, won_good)
        table = {w: pair for w, pair in grown.items() if any(pair[0])}
    table.pop(0, None)
    return table


def _add(
    table: dict[int, tuple[list[int], list[int]]], key: int, ways: list[int], good: list[int]
) -> None:
    if key in table:
        ways, good = _sum(table[key][0], ways), _sum(table[key][1], good)
    table[key] = (ways, good)


def _sum(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _product(a: list[int], b: list[int], k: int) -> list[int]:
    """Coefficients 0..k of the product of two polynomials."""
    out = [0] * (k + 1)
    for i, x in enumerate(a):
        if x:
            for j, y in enumerate(b[: k + 1 - i]):
                out[i + j] += x * y
    return out
