"""Majority votes: the answers to one question, clustered by equivalence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from harness.grading.equivalence import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.grading.pool import Grader


@dataclass(frozen=True)
class Tally:
    """How one question's M votes fell.

    Attributes:
        answer: the majority answer (the representative of cluster 0); None if nobody answered.
        p_hat: size of the largest cluster over all M votes, those without an answer included.
        cluster: cluster id of each vote, -1 for no answer. Ids are ranks: 0 is the winner.
        n_answers: votes that hold an answer.
    """

    answer: str | None
    p_hat: float
    cluster: tuple[int, ...]
    n_answers: int

    @property
    def n_clusters(self) -> int:
        """Different answers given."""
        return max(self.cluster, default=-1) + 1


def tally(votes: Sequence[Sequence[str | None]], grader: Grader) -> list[Tally]:
    """Cluster the votes of each question (answers as ``extract_answer`` returns them).

    Clusters are the transitive closure of equivalence over all pairs, so the order of the votes
    changes nothing. No answer (None or white space) is no cluster and never wins. A cluster is
    represented by its shortest member, the first in code-point order among those; clusters rank
    by size, and ties fall to the shorter representative, then to the first in code-point order.

    Plain numbers are compared by value at the price of a hash; only other answers are compared
    pairwise, all questions in one batch. An answer that the grader can't get through alone
    (``Grader.readable``) agrees with its exact copies only.
    """
    answers = [[v.strip() or None if v is not None else None for v in row] for row in votes]
    links = _links(answers, grader)
    return [_tally_one(row, links) for row in answers]


def _links(answers: list[list[str | None]], grader: Grader) -> dict[frozenset[Hashable], bool]:
    """Equivalence of every pair of keys of one question that needs the grader."""
    texts: dict[str, None] = {}
    per_question: list[list[tuple[Hashable, str]]] = []
    for row in answers:
        # A key is compared by its shortest spelling, whatever the order of the votes.
        keys: dict[Hashable, str] = {}
        for answer in sorted({a for a in row if a is not None}, key=lambda t: (-len(t), t)):
            keys[canonical(answer)] = answer
        if len(keys) < 2 or not any(isinstance(key, str) for key in keys):
            continue
        per_question.append(list(keys.items()))
        texts.update((k, None) for k in keys if isinstance(k, str))
    if not per_question:
        return {}
    readable = dict(zip(texts, grader.readable(list(texts)), strict=True))
    pairs: dict[frozenset[Hashable], tuple[str, str]] = {}
    for spelled in per_question:
        usable = [(k, t) for k, t in spelled if not isinstance(k, str) or readable[k]]
        for (key, text), (other, other_text) in combinations(usable, 2):
            if isinstance(key, str) or isinstance(other, str):
                pairs[frozenset((key, other))] = (text, other_text)
    same = grader.equivalent(
        first=[a for a, _ in pairs.values()], second=[b for _, b in pairs.values()]
    )
    return dict(zip(pairs, same, strict=True))


def _tally_one(row: list[str | None], links: dict[frozenset[Hashable], bool]) -> Tally:
    keys: list[Hashable] = [None if a is None else canonical(a) for a in row]
    distinct = [key for key in dict.fromkeys(keys) if key is not None]
    root: dict[Hashable, Hashable] = {key: key for key in distinct}

    def find(key: Hashable) -> Hashable:
        while root[key] != key:
            key = root[key]
        return key

    if links:
        for a, b in combinations(distinct, 2):
            if links.get(frozenset((a, b)), False):
                root[find(a)] = find(b)
    members: defaultdict[Hashable, set[str]] = defaultdict(set)
    sizes: Counter[Hashable] = Counter()
    for answer, key in zip(row, keys, strict=True):
        if answer is not None:
            members[find(key)].add(answer)
            sizes[find(key)] += 1
    name = {top: min(texts, key=lambda t: (len(t), t)) for top, texts in members.items()}
    ranked = sorted(name, key=lambda top: (-sizes[top], len(name[top]), name[top]))
    rank = {top: i for i, top in enumerate(ranked)}
    return Tally(
        answer=name[ranked[0]] if ranked else None,
        p_hat=sizes[ranked[0]] / len(row) if ranked else 0.0,
        cluster=tuple(-1 if key is None else rank[find(key)] for key in keys),
        n_answers=sum(sizes.values()),
    )
