"""Contamination view: how much of a generated curriculum is in the test sets.

Two kinds of overlap, test set by test set:

* words: texts are reduced to lower-case letters and digits. Two texts overlap if they share a
  sequence of 13 words (the length of GPT-3's appendix C, arXiv 2005.14165), or of 8 where one of
  them has fewer than 13; texts of fewer than 8 words overlap only as copies. A copy has the same
  letters and digits in the same order, so that copies may still differ in signs and symbols.
* embeddings: the cosine of each question to the nearest item.

What it can't see: a paraphrase that shares no 8 words and that the embedder doesn't place close,
and what the base model saw before the run. A shared sequence may be a phrase of the trade ("where
m and n are relatively prime positive integers find m n"), so items of which shared sequences make
up half are counted besides (as Llama 2 does with tokens, arXiv 2307.09288), and pairs are listed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data import data_folder, sources
from harness.diversity.embedders import Embedder
from harness.diversity.report import read_table
from harness.diversity.semantic import unit_rows
from harness.errors import HarnessError
from harness.store import read_parquet

LONG, SHORT = 13, 8
"""Words of a shared sequence, and where a text has fewer than `LONG` words."""
THRESHOLD = 0.9
"""Cosine from which a question counts as close to an item."""
COVERED = 0.5
"""Share of an item's words in shared sequences from which it counts as covered."""
EXCERPT = 160
"""Characters of a text in the list of pairs."""
PAIR_COLUMNS = (
    "task",
    "row",
    "item",
    "copy",
    "shared",
    "words",
    "cosine",
    "question",
    "problem",
)
"""Columns of the pairs: test set, number of the question, id of the item, whether they are copies,
shared sequences, words of one such sequence, cosine, and both texts' beginnings, escaped."""
_WORD: Final = re.compile(r"[^\W_]+")
_BLOCK: Final = 512


@dataclass(frozen=True)
class Overlap:
    """A curriculum of n questions against one test set of m items.

    Attributes:
        task: name of the test set.
        questions, items: n and m.
        copies: questions that are an item, letters and digits compared.
        questions_shared: share of the questions that share a sequence of words with any item.
        items_shared: share of the items that share one with any question.
        items_covered: share of the items of which at least half of the words are in sequences
            shared with questions, all questions together; copies included.
        cosine_mean, cosine_p95: over questions, of the cosine to the nearest item; None without
            an embedder.
        close: share of the questions at `THRESHOLD` or above; None likewise.
        pairs: the closest question-item pairs, as `PAIR_COLUMNS`.
    """

    task: str
    questions: int
    items: int
    copies: int
    questions_shared: float
    items_shared: float
    items_covered: float
    cosine_mean: float | None
    cosine_p95: float | None
    close: float | None
    pairs: pd.DataFrame = field(repr=False, compare=False)

    def row(self) -> dict[str, Any]:
        """The numbers, without the pairs."""
        return {k: v for k, v in asdict(self).items() if k != "pairs"}


def words(text: str) -> list[str]:
    """Lower-case words of letters and digits."""
    return _WORD.findall(text.casefold())


def compare(
    task: str,
    questions: Sequence[str],
    items: Sequence[dict[str, Any]],
    *,
    embed: Embedder | None = None,
    embedded: NDArray[np.floating] | None = None,
    threshold: float = THRESHOLD,
    top: int = 100,
) -> Overlap:
    """Overlap of questions with one test set.

    Args:
        task: its name.
        questions: generated texts, n of them; whatever a model wrote.
        items: the test set, each with ``id`` and ``problem``.
        embed: an embedder; None leaves cosines out.
        embedded: `embed(questions)` if it exists already.
        threshold: cosine from which a question counts as close.
        top: pairs to list at most, one a question.

    Raises:
        HarnessError: no questions, or no items.
    """
    if not questions or not items:
        raise HarnessError(f"contamination: nothing to compare with {task}: no questions or items")
    problems = [str(item["problem"]) for item in items]
    spelled_items = [words(p) for p in problems]
    index = _Index(spelled_items)
    copies = np.zeros(len(questions), dtype=bool)
    shared = np.zeros(len(questions), dtype=np.int64)
    partner = np.full(len(questions), -1)
    sequence = [""] * len(questions)
    hits: dict[int, set[str]] = {}
    copied: set[int] = set()
    for i, question in enumerate(questions):
        spelled = words(question)
        same = index.copies.get("".join(spelled), []) if spelled else []
        found = index.shared(spelled)
        copied.update(same)
        for item, sequences in found.items():
            hits.setdefault(item, set()).update(sequences)
        copies[i] = bool(same)
        if same or found:
            # A copy before anything else, then the item that shares most, then the first.
            best = same[0] if same else min(found, key=lambda k: (-len(found[k]), k))
            partner[i], shared[i] = best, len(found.get(best, ()))
            sequence[i] = next(iter(found[best])) if found.get(best) else ""
    cosine, nearest = _nearest(questions, problems, embed, embedded)
    covered = {i for i, found in hits.items() if _coverage(spelled_items[i], found) >= COVERED}
    pairs = _pairs(task, questions, items, copies, shared, partner, sequence, cosine, nearest, top)
    return Overlap(
        task=task,
        questions=len(questions),
        items=len(items),
        copies=int(copies.sum()),
        questions_shared=float(np.mean(partner >= 0)),
        items_shared=len(copied | hits.keys()) / len(items),
        items_covered=len(copied | covered) / len(items),
        cosine_mean=None if cosine is None else float(cosine.mean()),
        cosine_p95=None if cosine is None else float(np.quantile(cosine, 0.95)),
        close=None if cosine is None else float(np.mean(cosine >= threshold)),
        pairs=pairs,
    )


class _Index:
    """Where the test items' sequences of words are."""

    def __init__(self, items: Sequence[list[str]]) -> None:
        self.copies: dict[str, list[int]] = {}
        self._long: dict[str, list[int]] = {}
        self._short: dict[str, list[int]] = {}
        self._of_short: dict[str, list[int]] = {}
        for i, item in enumerate(items):
            if item:
                self.copies.setdefault("".join(item), []).append(i)
            _add(self._long, item, LONG, i)
            _add(self._short, item, SHORT, i)
            if len(item) < LONG:
                _add(self._of_short, item, SHORT, i)

    def shared(self, question: list[str]) -> dict[int, dict[str, None]]:
        """The items that share sequences with a question, and which sequences, in order."""
        found: dict[int, dict[str, None]] = {}
        looks = [(LONG, self._long), (SHORT, self._of_short)]
        if len(question) < LONG:
            looks = [(SHORT, self._short)]
        for n, index in looks:
            for sequence in _sequences(question, n):
                for item in index.get(sequence, ()):
                    found.setdefault(item, {})[sequence] = None
        return found


def _sequences(spelled: Sequence[str], n: int) -> Iterator[str]:
    return (" ".join(spelled[i : i + n]) for i in range(len(spelled) - n + 1))


def _add(index: dict[str, list[int]], item: Sequence[str], n: int, i: int) -> None:
    for sequence in dict.fromkeys(_sequences(item, n)):
        index.setdefault(sequence, []).append(i)


def _coverage(item: Sequence[str], shared: set[str]) -> float:
    """Share of an item's words that are in the shared sequences."""
    inside = np.zeros(len(item), dtype=bool)
    for n in (LONG, SHORT):
        for i, sequence in enumerate(_sequences(item, n)):
            if sequence in shared:
                inside[i : i + n] = True
    return float(inside.mean())


def _nearest(
    questions: Sequence[str],
    problems: Sequence[str],
    embed: Embedder | None,
    embedded: NDArray[np.floating] | None,
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64]]:
    """Cosine [n] to the nearest item, and which one it is [n]; None and -1 without an embedder."""
    none = np.full(len(questions), -1)
    if embed is None:
        return None, none
    theirs = unit_rows(embed(problems)).T
    ours = unit_rows(embed(questions) if embedded is None else embedded)
    cosine = np.empty(len(ours))
    for start in range(0, len(ours), _BLOCK):
        block = ours[start : start + _BLOCK] @ theirs
        none[start : start + _BLOCK] = block.argmax(axis=1)
        cosine[start : start + _BLOCK] = block.max(axis=1)
    return np.clip(cosine, -1.0, 1.0), none


def _pairs(
    task: str,
    questions: Sequence[str],
    items: Sequence[dict[str, Any]],
    copies: NDArray[np.bool_],
    shared: NDArray[np.int64],
    partner: NDArray[np.int64],
    sequence: Sequence[str],
    cosine: NDArray[np.float64] | None,
    nearest: NDArray[np.int64],
    top: int,
) -> pd.DataFrame:
    """One pair a question: copies first, then by shared sequences, then by cosine."""
    close = np.zeros(len(questions)) if cosine is None else cosine
    rows = []
    for i in np.lexsort((np.arange(len(questions)), -close, -shared, ~copies))[:top]:
        # The cosine is that of the nearest item, which need not be the one that shares words.
        item = int(partner[i]) if partner[i] >= 0 else int(nearest[i])
        if item < 0:
            continue
        rows.append(
            (
                task,
                int(i),
                printable(str(items[item]["id"])),
                bool(copies[i]),
                int(shared[i]),
                printable(sequence[i]),
                float(close[i]) if item == nearest[i] else None,
                printable(questions[i]),
                printable(str(items[item]["problem"])),
            )
        )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def printable(text: str, length: int = EXCERPT) -> str:
    """A text's beginning on one line; what a terminal or a file could act on is spelled out."""
    cut = " ".join(text[: 4 * length].split())
    cut = cut if len(cut) <= length else cut[: length - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def read_questions(path: Path, text: str) -> list[str]:
    """The questions of a table, or what the solver of a run folder was trained on.

    Raises:
        HarnessError: neither; or no question in it.
    """
    if path.is_dir():
        tables = sorted(path.glob("iterations/*/curriculum.parquet"))
        if not tables:
            raise HarnessError(
                f"{path}: no iterations/*/curriculum.parquet here; give a run folder or a file"
            )
        found = [str(q) for t in tables for q in read_parquet(t)["question"]]
    else:
        found = [str(q) for q in read_table(path, text)[text]]
    if not found:
        raise HarnessError(f"{path}: no questions in it")
    return found


def available_sets() -> tuple[list[str], list[str]]:
    """The catalogue's test sets: those that can be read here, and those whose file is missing."""
    names = [name for name in sources() if not name.endswith("_train")]
    folder = data_folder()
    if folder is None:
        return names, []
    there = [name for name in names if (folder / sources()[name].file).is_file()]
    return there, [name for name in names if name not in there]


def check_names(names: Sequence[str]) -> list[str]:
    """Names of data sets, each once.

    Raises:
        HarnessError: none, one twice, or one that the catalogue doesn't have.
    """
    if not names:
        raise HarnessError("--tasks: name at least one data set, or leave it out for all there are")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HarnessError(f"--tasks: {twice[0]} is named twice")
    if unknown := [name for name in names if name not in sources()]:
        raise HarnessError(f"--tasks: no data set {unknown[0]!r}; known: {', '.join(sources())}")
    return list(names)
