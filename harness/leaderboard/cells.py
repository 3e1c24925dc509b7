"""What a person reads of a leaderboard: its headline numbers as short text, one method a row."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

FINAL, FIRST = "final", "first"
SAMPLED, GREEDY = "solver/macro/sampled", "solver/macro/greedy"
TOPIC, VENDI = "diversity/functional/topic_entropy", "diversity/semantic/vendi"
CHECKED = "proposer/well_posed"
"""Only a world with a checker has it: topics are then known, and what isn't parsed is 'other'."""

Rows = dict[tuple[str, str], dict[Hashable, Any]]
"""A method's rows by metric and moment."""
GROUP = ("suite", "profile", "split")
"""Columns that tell one table from another; tables that were published earlier lack the last."""


def by_group(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of each table in a frame, in their order."""
    columns = [name for name in GROUP if name in frame.columns]
    for _, part in frame.groupby(columns, sort=False, dropna=False):
        yield part


def by_method(part: pd.DataFrame) -> Iterator[tuple[str, Rows]]:
    """A table's methods in their order, each with its rows."""
    found: dict[str, Rows] = {}
    for record in part.to_dict("records"):
        rows = found.setdefault(str(record["method"]), {})
        rows[str(record["metric"]), str(record["iteration"])] = dict(record)
    yield from found.items()


def diversity_metric(part: pd.DataFrame) -> str:
    """Topic entropy where a checker knows the topics, else the Vendi score.

    On real text the entropy of guessed topics ranks noise above problems (docs/diversity.md).
    """
    return TOPIC if (part["metric"] == CHECKED).any() else VENDI


def number(rows: Rows, metric: str, moment: str, column: str) -> float:
    """A cell of the leaderboard; NaN where there is none."""
    value = rows.get((metric, moment), {}).get(column, math.nan)
    return math.nan if value is None or value == "" else float(value)


def mean(rows: Rows, metric: str, moment: str, digits: int) -> str:
    """A mean, or '-'; followed by the number of runs, as in ``0.41 (2)``, if others have none."""
    value, runs = (number(rows, metric, moment, c) for c in ("mean", "n_seeds"))
    if math.isnan(value):
        return "-"
    of = max(number(rows, *place, "n_seeds") for place in rows)
    return f"{value:.{digits}f}" + (f" ({runs:.0f})" if runs < of else "")


def interval(rows: Rows, metric: str, between: str) -> str:
    """Mean and interval, joined by `between`."""
    value, low, high = (number(rows, metric, FINAL, c) for c in ("mean", "ci_low", "ci_high"))
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" + ("" if math.isnan(low) else f"{between}[{_bound(low)}, {_bound(high)}]")


def difference(rows: Rows, metric: str, between: str) -> str:
    """Difference from the baseline with interval and adjusted p, joined by `between`."""
    names = ("diff", "diff_ci_low", "diff_ci_high", "p_holm")
    diff, low, high, p = (number(rows, metric, FINAL, c) for c in names)
    if math.isnan(diff):
        return "-"
    bounds = "" if math.isnan(low) else f"{between}[{_bound(low, '+')}, {_bound(high, '+')}]"
    shown = "" if math.isnan(p) else "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"
    return f"{diff:+.3f}{bounds}" + (f"{between}{shown}" if shown else "")


def rank(rows: Rows, metric: str) -> str:
    """Interval of the rank and the tie group, as in ``2-5 ab``; '' where there is none."""
    place, low, high = (number(rows, metric, FINAL, c) for c in ("rank", "rank_low", "rank_high"))
    if math.isnan(place):
        return ""
    letters = rows[metric, FINAL].get("tie_group")
    span = f"{place:g}" if math.isnan(low) or low == high else f"{low:.0f}-{high:.0f}"
    return f"{span} {letters}" if isinstance(letters, str) else span


def first_to_last(rows: Rows, metric: str) -> str:
    """A mean after the first and after the last iteration."""
    first, last = (mean(rows, metric, moment, 2) for moment in (FIRST, FINAL))
    return f"{first} > {last}".replace("- > -", "-")


def statuses(rows: Rows, between: str) -> str:
    """How the runs ended; just their number where all were completed."""
    status = next(iter(rows.values()))["status"]
    counts = [part.split(":") for part in str(status).split(";") if part and status == status]
    if len(counts) == 1 and counts[0][0] == "completed":
        return counts[0][1]
    return between.join(f"{n} {name}" for name, n in counts)


def _bound(value: float, sign: str = "") -> str:
    """Three digits without the leading zero, which leaves room for another column."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"
