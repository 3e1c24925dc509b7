"""Columns that compare all methods of a table: adjusted p-values, ranks, tie groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.leaderboard.metrics import describe
from harness.statistics import holm, probability_of_improvement, rank_intervals, tie_groups

Row = dict[str, Any]


def adjust(rows: Sequence[Row], family: Sequence[str]) -> None:
    """Set each row's ``p_holm`` from its ``p_welch``, within the rows that agree in `family`."""
    families: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        families.setdefault(tuple(row[name] for name in family), []).append(row)
    for members in families.values():
        for row, adjusted in zip(members, holm([r["p_welch"] for r in members]), strict=True):
            row["p_holm"] = adjusted


def ranked(
    metric: str,
    values: Mapping[str, Sequence[float]],
    baseline: str | None,
    level: float,
) -> dict[str, Row]:
    """Each method's rank with its interval, tie group and probability of improvement.

    Args:
        metric: says which way is better; one without a direction is ranked as if higher were.
        values: a number for each run, by method; methods without one have no rank.
    """
    known = {method: list(v) for method, v in values.items() if len(v)}
    if not known:
        return {}
    higher = describe(metric).better != "lower"
    ranks = rank_intervals(known, higher=higher, level=level)
    groups = tie_groups(known, higher=higher, level=level)
    found: dict[str, Row] = {}
    for method, ours in known.items():
        rank = ranks[method]
        found[method] = {
            "rank": rank.rank,
            "rank_low": rank.low,
            "rank_high": rank.high,
            "tie_group": groups[method],
        }
        if baseline is not None and baseline != method and baseline in known:
            better = probability_of_improvement(ours, known[baseline], higher=higher)
            found[method]["p_improvement"] = better
    return found
