"""Diversity of a proposer's questions: lexical, semantic and functional, each at a fixed n."""

from harness.diversity.embedders import Embedder, load_embedder
from harness.diversity.report import Snapshot, diversity_table, measure, metric_names, snapshot

__all__ = [
    "Embedder",
    "Snapshot",
    "diversity_table",
    "load_embedder",
    "measure",
    "metric_names",
    "snapshot",
]
