"""Diversity of a proposer's questions: lexical, semantic and functional, each at a fixed n."""

from harness.diversity.embedders import Embedder, load_embedder
from harness.diversity.report import Snapshot, diversity_table, measure, metric_names, snapshot
from harness.diversity.topics import TopicModel, load_topics

__all__ = [
    "Embedder",
    "Snapshot",
    "TopicModel",
    "diversity_table",
    "load_embedder",
    "load_topics",
    "measure",
    "metric_names",
    "snapshot",
]
