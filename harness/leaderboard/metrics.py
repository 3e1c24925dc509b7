"""What each metric is measured in, which way is better, and which ones are tested."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache


@dataclass(frozen=True)
class Metric:
    """One line of the table below.

    Attributes:
        pattern: metric names, with ``*`` as a wildcard; the first line that fits counts.
        unit: "share" is in 0..1.
        better: "higher", "lower", or "" where neither direction is good in itself.
        primary: compared by a test, Holm-adjusted over the methods of a table. The others get
            intervals only: with a hundred metrics some p-value is always small.
    """

    pattern: str
    unit: str
    better: str = ""
    primary: bool = False


METRICS = (
    Metric("solver/macro/greedy", "share", "higher", primary=True),
    Metric("solver/macro/sampled", "share", "higher", primary=True),
    Metric("solver/*/truncated", "share", "lower"),
    Metric("solver/*/no_answer", "share", "lower"),
    Metric("solver/*/timeout", "share", "lower"),
    Metric("solver/*/fallback", "share", "lower"),
    Metric("solver/*/greedy", "share", "higher"),
    Metric("solver/*/sampled", "share", "higher"),
    Metric("solver/*/pass@*", "share", "higher"),
    Metric("solver/*/maj@*", "share", "higher"),
    Metric("solver/*/best_of_majority@*", "share", "higher"),
    Metric("diversity/functional/topic_entropy", "nats", "higher", primary=True),
    Metric("diversity_wellposed/functional/topic_entropy", "nats", "higher", primary=True),
    Metric("diversity/semantic/vendi", "texts", "higher", primary=True),
    Metric("diversity_wellposed/semantic/vendi", "texts", "higher", primary=True),
    Metric("diversity*/lexical/self_bleu", "BLEU", "lower"),
    Metric("diversity*/lexical/compression_ratio", "ratio", "lower"),
    Metric("diversity*/lexical/distinct_*", "share", "higher"),
    Metric("diversity*/semantic/vendi*", "texts", "higher"),
    Metric("diversity*/semantic/novelty_rate", "share", "higher"),
    Metric("diversity*/semantic/log_det", "nats per text", "higher"),
    Metric("diversity*/functional/skeleton_distinct", "share", "higher"),
    Metric("diversity*/functional/code_length", "bits per byte"),
    Metric("diversity*/functional/epiplexity", "bits per text"),
    Metric("diversity*/functional/*", "nats", "higher"),
    Metric("proposer/valid", "share", "higher"),
    Metric("proposer/well_posed", "share", "higher", primary=True),
    Metric("proposer/truncated", "share", "lower"),
    Metric("proposer/tokens", "tokens"),
    Metric("proposer/tier_*", "share"),
    Metric("curriculum/well_posed", "share", "higher"),
    Metric("curriculum/label_accuracy", "share", "higher", primary=True),
    Metric("curriculum/survivors", "questions"),
    Metric("curriculum/survivor_share", "share"),
    Metric("curriculum/questions", "questions"),
    Metric("curriculum/rounds", "rounds"),
    Metric("compute/*/tokens", "tokens"),
    Metric("compute/flops", "FLOP"),
)


@cache
def describe(name: str) -> Metric:
    """The entry of a metric; one without unit or direction for a name that isn't listed."""
    for metric in METRICS:
        if fnmatchcase(name, metric.pattern):
            return metric
    return Metric(name, "")
