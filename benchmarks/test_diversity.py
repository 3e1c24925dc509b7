"""Every family of diversity at the paper's scale: 8,000 questions, five iterations of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from vendi_score import vendi

from benchmarks.test_repetition import texts
from harness.diversity import functional, lexical, semantic
from harness.diversity.epiplexity import prequential
from harness.diversity.skeletons import distinct_skeletons, skeleton_entropy

N, D, ITERATIONS = 8000, 384, 5


@pytest.fixture(scope="module")
def questions() -> list[str]:
    """Three ladder problems to a text: about 350 characters, as competition problems have."""
    found = texts(3 * N)
    return [" ".join(found[i : i + 3]) for i in range(0, 3 * N, 3)]


@pytest.fixture(scope="module")
def embeddings() -> list[NDArray[np.float32]]:
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((40, D))
    made = [centres[draw.integers(0, 40, N)] + draw.standard_normal((N, D)) for _ in range(5)]
    return [rows.astype(np.float32) for rows in made]


def test_lexical(benchmark: Any, questions: list[str]) -> None:
    def run() -> None:
        for order in (1, 2, 3):
            lexical.distinct_n(questions, order)
        lexical.self_bleu(questions)
        lexical.compression_ratio(questions)

    benchmark.pedantic(run, rounds=1)


def test_functional(benchmark: Any, questions: list[str]) -> None:
    draw = np.random.default_rng(0)
    shares, answers = draw.integers(0, 11, N) / 10, [str(a) for a in draw.integers(0, 99, N)]
    solved = [f"{a} + {b} = {a + b}, {a} * {b} = {a * b}" for a, b in draw.integers(2, 99, (N, 2))]

    def run() -> None:
        functional.difficulty_entropy(shares, 10)
        functional.answer_entropy(answers)
        functional.topic_entropy(answers)
        skeleton_entropy(solved)
        distinct_skeletons(solved)
        prequential(questions, 0)

    benchmark.pedantic(run, rounds=1)


SEMANTIC: dict[str, Callable[[list[NDArray[np.float32]]], Any]] = {
    "vendi": lambda e: semantic.vendi_score(e[-1]),
    "vendi-score package": lambda e: vendi.score_dual(e[-1].astype(np.float64)),
    "vendi_cumulative": lambda e: [u.add(x) for u in [semantic.CumulativeVendi()] for x in e],
    "novelty_rate": lambda e: semantic.novelty_rate(e[-1], e[:-1]),
    "log_det": lambda e: semantic.log_det_volume(e[-1]),
}


@pytest.mark.parametrize("metric", SEMANTIC)
def test_semantic(benchmark: Any, metric: str, embeddings: list[NDArray[np.float32]]) -> None:
    benchmark.pedantic(SEMANTIC[metric], (embeddings,), rounds=1)
