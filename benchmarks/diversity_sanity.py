"""What every diversity metric says of sets whose order is known, on the real MATH problems.

    python -m benchmarks.diversity_sanity [--data DIR] [--embedder ID_OR_FOLDER] [--cache FILE.npz]

Writes the tables into docs/diversity.md, between its markers. The sets hold 200 problems each, and
each is made from several disjoint draws of the MATH test problems: all seven subjects; one subject
alone (mean over the seven); half of the problems replaced by copies of the other half; by copies
with other numbers; one problem varied by rules; and two kinds of noise, the words shuffled within
each problem and across all of them. No language model takes part: a 'paraphrase' is a change of
numbers, names, opening words and politeness. Takes minutes; most of them go to the embedder.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness import rng
from harness.data import load_items, use_folder
from harness.diversity import Embedder, TopicModel, load_embedder, measure, snapshot
from harness.diversity.topics import NEIGHBOURS, QUANTILE, labelled_problems
from harness.leaderboard import describe

N, DRAWS, SEED = 200, 5, 0
PAGE = Path(__file__).resolve().parents[1] / "docs" / "diversity.md"
BEGIN, END = "<!-- sanity: begin -->", "<!-- sanity: end -->"
SETS = (
    "all subjects",
    "one subject",
    "half copies",
    "half renumbered",
    "one paraphrased",
    "shuffled within",
    "shuffled across",
)
EMBEDDED = ("vendi", "vendi_cumulative", "novelty_rate", "log_det", "topic_entropy")
"""Metrics that depend on the embedder."""

Values = dict[str, NDArray[np.float64]]
"""By metric, over the draws."""


@dataclass(frozen=True)
class Problems:
    """A set: texts with solutions and answers, all [n]."""

    texts: list[str]
    solutions: list[str]
    answers: list[str]

    def take(self, index: Sequence[int] | NDArray[np.int64]) -> Problems:
        return Problems(
            *([column[i] for i in index] for column in (self.texts, self.solutions, self.answers))
        )

    def __add__(self, other: Problems) -> Problems:
        return Problems(
            self.texts + other.texts,
            self.solutions + other.solutions,
            self.answers + other.answers,
        )


class Remembering:
    """An embedder that embeds no text twice, and keeps what it knows in a file."""

    def __init__(self, embed: Embedder, cache: Path | None) -> None:
        self._embed, self._cache = embed, cache
        self.name = embed.name
        self._known: dict[str, NDArray[np.float32]] = {}
        if cache is not None and cache.exists():
            with np.load(cache) as stored:
                self._known = dict(zip(stored["keys"].tolist(), stored["rows"], strict=True))

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        keys = [hashlib.sha256(f"{self.name}\n{t}".encode()).hexdigest() for t in texts]
        new = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
        if new:
            self._known.update(zip(new, self._embed(list(new.values())), strict=True))
        return np.stack([self._known[k] for k in keys])

    def save(self) -> None:
        if self._cache is not None:
            rows = np.stack(list(self._known.values()))
            np.savez(self._cache, keys=np.array(list(self._known)), rows=rows)


NAMES = (
    "Anna",
    "Boris",
    "Chen",
    "Dalia",
    "Emeka",
    "Farid",
    "Greta",
    "Hiro",
    "Ines",
    "Jamal",
    "Kira",
    "Luis",
    "Maya",
    "Nils",
    "Olga",
)
OPENINGS = (
    "Find",
    "Compute",
    "Determine",
    "Calculate",
    "Evaluate",
    "Work out",
    "Give",
    "State",
    "Derive",
    "Obtain",
)
FRAMES = (
    "{}",
    "Please solve: {}",
    "{} Show your work.",
    "Here is a problem. {}",
    "{} Give an exact answer.",
    "{name} was asked: {}",
    "Consider this. {}",
    "{} Explain.",
    "{name} wonders about this. {}",
    "A question for {name}: {}",
)


def renumber(text: str, draw: np.random.Generator) -> str:
    """Every number replaced by one of as many digits."""

    def other(match: re.Match[str]) -> str:
        width = min(len(match[0]), 9)
        return str(draw.integers(10 ** (width - 1), 10**width))

    return re.sub(r"\d+", other, text)


def paraphrase(text: str, draw: np.random.Generator) -> str:
    """The problem with other numbers, opening verb, frame and name."""
    verbs = "|".join([*OPENINGS, "What is"])
    opening = OPENINGS[draw.integers(len(OPENINGS))]
    text = re.sub(rf"\b(?:{verbs})\b", opening, renumber(text, draw))
    frame, name = FRAMES[draw.integers(len(FRAMES))], NAMES[draw.integers(len(NAMES))]
    return frame.replace("{name}", name).replace("{}", text)


def shuffle_within(texts: Sequence[str], draw: np.random.Generator) -> list[str]:
    """Each text's own words in another order."""
    return [" ".join(draw.permutation(np.array(t.split(), dtype=object))) for t in texts]


def shuffle_across(texts: Sequence[str], draw: np.random.Generator) -> list[str]:
    """All words in another order, dealt out so that every text keeps its number of words."""
    sizes = [len(t.split()) for t in texts]
    pool = draw.permutation(np.array([w for t in texts for w in t.split()], dtype=object))
    ends = np.cumsum(sizes)
    return [" ".join(pool[e - s : e]) for s, e in zip(sizes, ends, strict=True)]


def make_sets(
    problems: Problems, subjects: Sequence[str], d: int
) -> tuple[dict[str, list[Problems]], Problems]:
    """The sets of draw `d`, and 200 other problems as an earlier iteration."""
    draw = rng.stream(SEED, "sanity", d)
    # Draws share no problem, so that they are independent given the test set.
    order = rng.stream(SEED, "sanity").permutation(len(problems.texts))
    rows = order[2 * N * d : 2 * N * (d + 1)]
    mixed, earlier = problems.take(rows[:N]), problems.take(rows[N:])
    half = mixed.take(range(N // 2))
    of = np.array(subjects)
    alone = [
        problems.take(draw.permutation(np.flatnonzero(of == s))[:N]) for s in sorted(set(subjects))
    ]
    numbered = [i for i, t in enumerate(mixed.texts) if re.search(r"\d", t) and len(t) < 400]
    one = mixed.take([numbered[0]] * N)

    def changed(p: Problems, change: object) -> Problems:
        return Problems(
            [change(t, draw) for t in p.texts],  # type: ignore[operator]
            [renumber(s, draw) for s in p.solutions],
            [renumber(a, draw) for a in p.answers],
        )

    within = Problems(
        shuffle_within(mixed.texts, draw), shuffle_within(mixed.solutions, draw), mixed.answers
    )
    across = Problems(
        shuffle_across(mixed.texts, draw), shuffle_across(mixed.solutions, draw), mixed.answers
    )
    sets = [
        [mixed],
        alone,
        [half + half],
        [half + changed(half, renumber)],
        [changed(one, paraphrase)],
        [within],
        [across],
    ]
    return dict(zip(SETS, sets, strict=True)), earlier


def measured(
    sets: dict[str, list[Problems]], earlier: Problems, embed: Embedder, topics: TopicModel, d: int
) -> dict[str, dict[str, float]]:
    """Every metric of every set; a set with several variants gets their mean."""
    before = snapshot(earlier.texts, None, embed)
    found: dict[str, dict[str, float]] = {}
    for name, variants in sets.items():
        rows = []
        for v in variants:
            now = snapshot(v.texts, None, embed)
            labels = topics(now.embeddings)
            values = measure(
                v.texts,
                p_hat=None,
                answers=v.answers,
                checks=None,
                embed=embed,
                history=[before],
                n=N,
                n_well_posed=N,
                votes=10,
                seed=d,
                now=now,
                topics=labels,
                solutions=v.solutions,
            )
            given = {k.removeprefix("diversity/"): x for k, x in values.items() if x is not None}
            rows.append({**given, "share of 'other' topics": labels.count("other") / len(labels)})
        found[name] = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    return found


def mark(metric: str, whole: NDArray[np.float64], part: NDArray[np.float64]) -> str:
    """Whether 'all subjects' comes out more diverse than the set: yes, no, or not told apart.

    By the 95 % t-interval of the paired difference over the draws.
    """
    sign = -1.0 if describe(f"diversity/{metric}").better == "lower" else 1.0
    gap = sign * (whole - part)
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    reach = float(stats.t.ppf(0.975, len(gap) - 1)) * error
    if abs(gap.mean()) <= max(reach, 1e-9):
        return "≈"
    return "✓" if gap.mean() > 0 else "✗"


def number(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 99.5 else f"{x:.3g}"


def table(results: list[tuple[str, dict[str, Values]]]) -> list[str]:
    """Metrics as rows, sets as columns: mean ± sd over the draws, and the mark."""
    lines = ["| metric | " + " | ".join(SETS) + " |", "|---" * (len(SETS) + 1) + "|"]
    for i, (embedder, by_set) in enumerate(results):
        whole = by_set[SETS[0]]
        for metric in whole:
            depends = metric.startswith("share") or metric.split("/")[-1] in EMBEDDED
            if i and not depends:
                continue
            cells = []
            for name in SETS:
                x = by_set[name][metric]
                told = "" if name == SETS[0] or metric.startswith("share") else " "
                told += mark(metric, whole[metric], x) if told else ""
                cells.append(f"{number(x.mean())} ± {number(x.std(ddof=1))}{told}")
            label = f"`{metric}`" if "/" in metric else metric
            lines.append(f"| {label}{f', {embedder}' if depends else ''} | {' | '.join(cells)} |")
    return lines


def accuracy(topics: TopicModel, embed: Embedder, problems: Problems, of: Sequence[str]) -> str:
    found = topics(embed(problems.texts))
    right = np.mean([a == b for a, b in zip(found, of, strict=True)])
    return f"{right:.3f} right, {np.mean([f == 'other' for f in found]):.3f} 'other'"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument(
        "--embedder", default="sentence-transformers/all-MiniLM-L6-v2", help="beside 'hashing'"
    )
    parser.add_argument("--label", default="MiniLM", help="what the table calls it")
    parser.add_argument("--cache", type=Path, help="keep embeddings in this .npz")
    arguments = parser.parse_args()
    use_folder(arguments.data)
    items = [i for i in load_items("math_test") if i.get("solution") and i.get("subject")]
    problems = Problems(
        [i["problem"] for i in items], [i["solution"] for i in items], [i["answer"] for i in items]
    )
    subjects = [i["subject"] for i in items]
    results, lines = [], []
    for label, name in (("hashing", "hashing"), (arguments.label, arguments.embedder)):
        embed = Remembering(load_embedder(name), arguments.cache if name != "hashing" else None)
        texts, labels = labelled_problems("math_train")
        topics = TopicModel(embed(texts), labels)
        told = accuracy(topics, embed, problems, subjects)
        lines.append(
            f"- {label}: {told}; 'other' below a cosine of {topics.threshold:.3f} to the nearest "
            "problem."
        )
        draws = []
        for d in range(DRAWS):
            draws.append(measured(*make_sets(problems, subjects, d), embed, topics, d))
            embed.save()
            print(f"{label}: draw {d + 1} of {DRAWS}", flush=True)
        by_set = {s: {m: np.array([one[s][m] for one in draws]) for m in draws[0][s]} for s in SETS}
        results.append((label, by_set))
    body = [
        *table(results),
        "",
        f"Mean ± standard deviation over {DRAWS} draws of n = {N}. ✓: 'all subjects' comes out as "
        "more diverse than this set, ✗: as less, ≈: not told apart (95 % t-interval of the paired "
        "difference; higher is taken as more diverse where a metric has no direction).",
        "",
        f"Topics: {NEIGHBOURS} nearest of the {len(texts)} MATH training problems, 'other' by the "
        f"quantile {QUANTILE:g} of their own similarities. On the {len(items)} test problems:",
        "",
        *lines,
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{chr(10).join(body)}\n{END}{after}", encoding="utf-8")
    print("\n".join(body))


if __name__ == "__main__":
    main()
