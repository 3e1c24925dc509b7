"""Statistics over training runs and over samples: pure functions."""

from harness.statistics.descriptions import (
    iqm,
    performance_profile,
    probability_of_improvement,
)
from harness.statistics.intervals import (
    Difference,
    Interval,
    holm,
    item_interval,
    t_interval,
    welch,
)
from harness.statistics.matched import at_budget, common_budget
from harness.statistics.newitems import new_items_difference, new_items_interval
from harness.statistics.power import (
    MOST_SEEDS,
    NoiseFloor,
    Spread,
    noise_floor,
    pooled_sd,
    power_welch,
    sd_interval,
    seeds_needed,
    smallest_effect,
)
from harness.statistics.ranks import Rank, rank_intervals, tie_groups
from harness.statistics.samples import (
    best_of_majority,
    check_samples,
    maj_at_k,
    pass_at_k,
)

__all__ = [
    "MOST_SEEDS",
    "Difference",
    "Interval",
    "NoiseFloor",
    "Rank",
    "Spread",
    "at_budget",
    "best_of_majority",
    "check_samples",
    "common_budget",
    "holm",
    "iqm",
    "item_interval",
    "maj_at_k",
    "new_items_difference",
    "new_items_interval",
    "noise_floor",
    "pass_at_k",
    "performance_profile",
    "pooled_sd",
    "power_welch",
    "probability_of_improvement",
    "rank_intervals",
    "sd_interval",
    "seeds_needed",
    "smallest_effect",
    "t_interval",
    "tie_groups",
    "welch",
]
