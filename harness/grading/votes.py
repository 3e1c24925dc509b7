"""Majority votes: the answers to one question, clustered by equivalence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from harness.grading.equivalence import canonical, decide_exactly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.grading.pool import Grader


@dataclass(frozen=True)
class Tally:
    """How one question's M votes fell.

    Attributes:
        answer: the majority answer (the representative of cluster 0); None if nobody answered.
        p_hat: size of cluster 0 over all M votes, those without an answer included.
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
    pairwise, by the exact rules first and then all questions in one batch. An answer that the
    grader can't get through alone (``Grader.readable``) agrees only with what the exact rules say.
    """
    answers = [[v.strip() or None if v is not None else None for v in row] for row in votes]
    links = _links(answers, grader)
    return [_tally_one(row, links) for row in answers]


def _links(answers: list[list[str | None]], grader: Grader) -> dict[frozenset[Hashable], bool]:
    """Equivalence of every pair of keys of one question that isn't a pair of numbers."""
    links: dict[frozenset[Hashable], bool] = {}
    asked: dict[frozenset[Hashable], tuple[str, str]] = {}
    for row in answers:
        # A key is compared by its shortest spelling, whatever the order of the votes.
        keys: dict[Hashable, str] = {}
        for answer in sorted({a for a in row if a is not None}, key=lambda t: (-len(t), t)):
            keys[canonical(answer)] = answer
        for (key, text), (other, other_text) in combinations(keys.items(), 2):
            if isinstance(key, str) or isinstance(other, str):
                known = decide_exactly(text, other_text)
                if known is None:
                    asked[frozenset((key, other))] = (text, other_text)
                else:
                    links[frozenset((key, other))] = known
    if not asked:
        return links
    texts = list(dict.fromkeys(text for pair in asked.values() for text in pair))
    unread = [t for t in texts if isinstance(canonical(t), str)]
    readable = dict.fromkeys(texts, True)
    readable |= dict(zip(unread, grader.readable(unread), strict=True))
    asked = {key: (a, b) for key, (a, b) in asked.items() if readable[a] and readable[b]}
    same = grader.equivalent(
        first=[a for a, _ in asked.values()], second=[b for _, b in asked.values()]
    )
    return links | dict(zip(asked, same, strict=True))


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
