"""All diversity metrics of one iteration's questions, under flat names and at fixed n.

Each metric is computed on a seeded subsample of exactly n questions, drawn without replacement,
because every one of them changes with n. Where fewer are available the value is None: a metric at
another n is never reported in its place. ``diversity/...`` covers all questions,
``diversity_wellposed/...`` the well-posed ones only, since word salad is diverse, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness import rng
from harness.checker import Checked, Checker
from harness.data import read_rows
from harness.diversity import functional, lexical, semantic
from harness.diversity.embedders import Embedder
from harness.diversity.epiplexity import prequential
from harness.diversity.skeletons import distinct_skeletons, skeleton_entropy
from harness.diversity.topics import TopicModel
from harness.errors import HarnessError
from harness.store import read_parquet

ALL, WELL_POSED = "diversity", "diversity_wellposed"
METRICS = (
    "lexical/distinct_1",
    "lexical/distinct_2",
    "lexical/distinct_3",
    "lexical/self_bleu",
    "lexical/compression_ratio",
    "semantic/vendi",
    "semantic/vendi_cumulative",
    "semantic/novelty_rate",
    "semantic/log_det",
    "functional/topic_entropy",
    "functional/difficulty_entropy",
    "functional/answer_entropy",
    "functional/skeleton_entropy",
    "functional/skeleton_distinct",
    "functional/code_length",
    "functional/epiplexity",
)
"""What is measured of every population. Which of them see through copies, paraphrase and shuffled
words, and which don't, is measured in docs/diversity.md."""


@dataclass(frozen=True)
class Snapshot:
    """One iteration's questions, as the measurements of later iterations need them.

    Attributes:
        texts: the questions, N of them.
        embeddings: their embeddings [N, d].
        well_posed: bool [N], or None without a checker.
    """

    texts: list[str]
    embeddings: NDArray[np.float32]
    well_posed: NDArray[np.bool_] | None


def metric_names() -> tuple[str, ...]:
    """The names of all metrics that `measure` returns."""
    return tuple(f"{population}/{m}" for population in (ALL, WELL_POSED) for m in METRICS)


def snapshot(texts: Sequence[str], checks: Sequence[Checked] | None, embed: Embedder) -> Snapshot:
    """Embed one iteration's questions; pass it to `measure` now and as history later."""
    well_posed = None if checks is None else np.array([c.well_posed for c in checks], dtype=bool)
    return Snapshot(list(texts), embed(texts), well_posed)


def measure(
    texts: Sequence[str],
    *,
    p_hat: Sequence[float] | NDArray[np.floating] | None,
    answers: Sequence[str | None] | None,
    checks: Sequence[Checked] | None,
    embed: Embedder,
    history: Sequence[Snapshot],
    n: int,
    n_well_posed: int,
    votes: int,
    seed: int,
    now: Snapshot | None = None,
    topics: Sequence[str] | None = None,
    solutions: Sequence[str | None] | None = None,
) -> dict[str, float | None]:
    """Diversity of one iteration's questions.

    Args:
        texts: all N questions of iteration t.
        p_hat: vote shares [N], or None if there was no vote (difficulty entropy is then None).
        answers: majority answers [N] (None: nobody answered), or None as above.
        checks: the checker's findings [N], or None without a checker; everything among
            well-posed questions is then None, and so are topics if none are given.
        embed: the embedder, the same for every iteration.
        history: snapshots of iterations 1..t-1, in order. Their subsamples are those that were
            measured then. Empty in iteration 1, where novelty is None.
        n: questions per measurement.
        n_well_posed: questions per measurement among the well-posed.
        votes: M, votes per question, which gives difficulty its M + 1 classes.
        seed: the run's seed; subsamples come from its stream ``diversity``.
        now: `snapshot(texts, checks, embed)` if it exists already, to embed only once.
        topics: each question's topic [N], from a `TopicModel`; None: the checker's, if any.
        solutions: a solution of each question [N] (None: there is none), or None as above.

    Returns:
        `metric_names()`, each with a number or None. Entropies are in nats.
    """
    if topics is None and checks is not None:
        topics = [check.topic for check in checks]
    labels = {"answers": answers, "topics": topics, "solutions": solutions}
    for what, column in {"p_hat": p_hat, "checks": checks, **labels}.items():
        if column is not None and len(column) != len(texts):
            raise HarnessError(f"diversity: {len(texts)} texts but {len(column)} {what}")
    snapshots = [*history, now or snapshot(texts, checks, embed)]
    values: dict[str, float | None] = dict.fromkeys(metric_names())
    for population, size in ((ALL, n), (WELL_POSED, n_well_posed)):
        chosen = [_sample(s, population, size, t, seed) for t, s in enumerate(snapshots, 1)]
        rows = chosen[-1]
        if rows is None:
            continue
        measured = {
            **_lexical([texts[i] for i in rows]),
            **_semantic(snapshots, chosen),
            **_functional(rows, p_hat, labels, votes),
            **_prequential([texts[i] for i in rows], seed),
        }
        values.update({f"{population}/{name}": value for name, value in measured.items()})
    return values


def _sample(one: Snapshot, population: str, n: int, t: int, seed: int) -> NDArray[np.int64] | None:
    """Row numbers of iteration t's subsample; None where fewer than n are available."""
    if population == ALL:
        available = np.arange(len(one.texts))
    elif one.well_posed is None:
        return None
    else:
        available = np.flatnonzero(one.well_posed)
    if len(available) < n:
        return None
    draw = rng.stream(seed, "diversity", population, t).permutation(len(available))[:n]
    return np.sort(available[draw])


def _lexical(texts: list[str]) -> dict[str, float | None]:
    return {
        **{f"lexical/distinct_{k}": lexical.distinct_n(texts, k) for k in (1, 2, 3)},
        "lexical/self_bleu": lexical.self_bleu(texts),
        "lexical/compression_ratio": lexical.compression_ratio(texts),
    }


def _semantic(
    snapshots: Sequence[Snapshot], chosen: Sequence[NDArray[np.int64] | None]
) -> dict[str, float | None]:
    sets = [None if r is None else s.embeddings[r] for s, r in zip(snapshots, chosen, strict=True)]
    complete = [rows for rows in sets if rows is not None]
    current = complete[-1]
    values: dict[str, float | None] = {
        "semantic/vendi": semantic.vendi_score(current),
        "semantic/log_det": semantic.log_det_volume(current),
    }
    # An iteration without n questions leaves the union, and what is new, at another size.
    if len(complete) == len(sets):
        values["semantic/vendi_cumulative"] = semantic.cumulative_vendi(complete)
        values["semantic/novelty_rate"] = semantic.novelty_rate(current, complete[:-1])
    return values


def _functional(
    rows: NDArray[np.int64],
    p_hat: Sequence[float] | NDArray[np.floating] | None,
    labels: Mapping[str, Sequence[str | None] | None],
    votes: int,
) -> dict[str, float | None]:
    chosen = {k: None if v is None else [v[i] for i in rows] for k, v in labels.items()}
    values: dict[str, float | None] = {}
    if p_hat is not None:
        shares = np.asarray(p_hat, dtype=np.float64)[rows]
        values["functional/difficulty_entropy"] = functional.difficulty_entropy(shares, votes)
    if (topics := chosen["topics"]) is not None:
        values["functional/topic_entropy"] = functional.topic_entropy(topics)
    if (answers := chosen["answers"]) is not None:
        values["functional/answer_entropy"] = functional.answer_entropy(answers)
    if (solutions := chosen["solutions"]) is not None:
        values["functional/skeleton_entropy"] = skeleton_entropy(solutions)
        values["functional/skeleton_distinct"] = distinct_skeletons(solutions)
    return values


def _prequential(texts: list[str], seed: int) -> dict[str, float | None]:
    found = prequential(texts, seed)
    return {
        "functional/code_length": found.code_length if found else None,
        "functional/epiplexity": found.epiplexity if found else None,
    }


def diversity_table(
    path: Path,
    *,
    embed: Embedder,
    n: int,
    n_well_posed: int,
    seed: int = 0,
    votes: int = 10,
    checker: Checker | None = None,
    topics: TopicModel | None = None,
    text: str = "question",
) -> pd.DataFrame:
    """Diversity of a table of questions, as rows iteration, metric, value.

    Args:
        path: a parquet file, or JSON Lines (``.jsonl``, ``.jsonl.gz``), with a column of questions
            and optionally ``p_hat``, ``answer``, ``solution`` and ``iteration`` (integers; each is
            then measured against the earlier ones).
        embed, n, n_well_posed, seed, votes: as for `measure`.
        checker: what knows topics and well-posedness, if anything does.
        topics: what names topics instead.
        text: name of the column of questions; rows without text are left out.

    Raises:
        HarnessError: the file is corrupt or has no such column.
    """
    frame = read_table(path, text)
    iterations = frame["iteration"] if "iteration" in frame.columns else pd.Series(1, frame.index)
    history: list[Snapshot] = []
    rows = []
    for t in sorted(iterations.unique()):
        part = frame[iterations == t]
        texts = [str(q) for q in part[text]]
        checks = None if checker is None else [checker.check(q) for q in texts]
        now = snapshot(texts, checks, embed)
        values = measure(
            texts,
            p_hat=part["p_hat"].to_numpy(np.float64) if "p_hat" in part.columns else None,
            answers=_optional(part, "answer"),
            checks=checks,
            embed=embed,
            history=history,
            n=n,
            n_well_posed=n_well_posed,
            votes=votes,
            seed=seed,
            now=now,
            topics=None if topics is None else topics(now.embeddings),
            solutions=_optional(part, "solution"),
        )
        history.append(now)
        rows += [(int(t), name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["iteration", "metric", "value"])


def read_table(path: Path, text: str) -> pd.DataFrame:
    """A parquet or JSON Lines file's rows that have something in the column `text`.

    Raises:
        HarnessError: missing or corrupt, or without such a column.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        frame = pd.DataFrame(read_rows(path, ()))
    else:
        frame = read_parquet(path)
    if text not in frame.columns:
        have = ", ".join(map(str, frame.columns))
        raise HarnessError(f"{path}: no column {text!r} (it has: {have}); name the question column")
    return frame[frame[text].notna()]


def _optional(frame: pd.DataFrame, column: str) -> list[str | None] | None:
    """A column's texts, None where one is missing; None if there is no such column."""
    if column not in frame.columns:
        return None
    return [None if pd.isna(value) else str(value) for value in frame[column]]
