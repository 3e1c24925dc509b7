"""R-Zero's BLEU-cluster shares: this harness beside the published double loop over NLTK."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering

from benchmarks.memory import peak_mb
from harness.repetition import bleu_cluster_share, plain_bleu_distances
from tasks.ladder.heldout import items


def texts(n: int) -> list[str]:
    """Ladder problems, which repeat each other as a proposer's do."""
    per_topic = n // 20 + 1
    found = [str(item["question"]) for item in items(seed=7, per_topic=per_topic)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order[:n]]


def nltk_loop(questions: list[str]) -> list[float]:
    distance = plain_bleu_distances(questions)
    clustering = AgglomerativeClustering(
        n_clusters=None, distance_threshold=0.5, metric="precomputed", linkage="average"
    )
    labels = clustering.fit_predict(distance)
    return [float(np.mean(labels == label)) for label in labels]


def prepared(n: int) -> Any:
    asked = texts(n)
    bleu_cluster_share(asked[:8])
    return lambda: bleu_cluster_share(asked)


@pytest.mark.parametrize("n", [512, 2048, 8192])
def test_harness(benchmark: Any, n: int) -> None:
    benchmark.extra_info["peak_mb"] = round(peak_mb(prepared, n))
    benchmark.pedantic(prepared(n), rounds=3 if n < 8192 else 1)


@pytest.mark.parametrize("n", [512])
def test_nltk(benchmark: Any, n: int) -> None:
    asked = texts(n)
    shares = benchmark.pedantic(nltk_loop, (asked,), rounds=1)
    assert np.allclose(shares, bleu_cluster_share(asked))
