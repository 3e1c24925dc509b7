"""A leaderboard as a CSV file and as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from harness.leaderboard.build import FINAL, FIRST
from harness.store import write_bytes

SAMPLED, GREEDY = "solver/macro/sampled", "solver/macro/greedy"
TOPIC, VENDI = "diversity/functional/topic_entropy", "diversity/semantic/vendi"
CHECKED = "proposer/well_posed"
"""Only a world with a checker has it: topics are then known, and what isn't parsed is 'other'."""

Rows = dict[tuple[str, str], dict[Hashable, Any]]
"""A method's rows by metric and moment."""


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame atomically; equal frames give equal bytes (LF, UTF-8, 6 significant digits).

    Raises:
        HarnessError: no permission, or the disk is full; an older file is then left as it was.
    """
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def terminal_table(frame: pd.DataFrame) -> RichTable:
    """The headline numbers of `build`'s frame, one row per method, a section per profile.

    Diversity is topic entropy where a checker knows the topics, else the Vendi score: on real text
    the entropy of guessed topics ranks noise above problems (docs/diversity.md).
    """
    profiles = list(dict.fromkeys(frame["profile"]))
    named = [b for b in dict.fromkeys(frame["baseline"]) if b]
    against = f"; differences from {', '.join(named)}" if named else ""
    checked = set(frame.loc[frame["metric"] == CHECKED, "profile"])
    kinds = {"topic entropy (nats)": checked, "Vendi score": set(profiles) - checked}
    diversity = ", else ".join(kind for kind, having in kinds.items() if having)
    table = RichTable(
        title=f"{', '.join(profiles)}: mean [95 % t interval]{against}{_on(frame)}",
        caption=f"p: Welch, Holm-adjusted; {diversity}: first > last iteration; "
        "left: questions in the difficulty window",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    column = "diversity" if len(checked) < len(profiles) else "topic\nentropy"
    headers = ("method", "sampled", "greedy", "diff\nsampled", "diff\ngreedy")
    for header in (*headers, column, "well-\nposed", "label\nacc.", "left", "runs"):
        table.add_column(header, overflow="fold")  # narrow terminals lose no number
    for profile in profiles:
        part = frame[frame["profile"] == profile]
        for method in dict.fromkeys(part["method"]):
            records = part[part["method"] == method].to_dict("records")
            mine: Rows = {(str(r["metric"]), str(r["iteration"])): dict(r) for r in records}
            metric = TOPIC if profile in checked else VENDI
            table.add_row(*(Text(cell) for cell in _cells(str(method), mine, metric)))
        table.add_section()
    return table


def _on(frame: pd.DataFrame) -> str:
    """The base models, by name; a warm start is part of the name. Older tables name none."""
    named = frame.get("base_model", pd.Series(dtype=str)).dropna()
    names = [escape(name) for name in dict.fromkeys(named) if name]
    # A line of its own for each warm start: titles wrap at the width of the table.
    return "".join("\nbase model: " + name.replace(" + warm", "\n+ warm") for name in names)


def _cells(method: str, rows: Rows, diversity: str) -> list[str]:
    first, last = (_mean(rows, diversity, moment, 2) for moment in (FIRST, FINAL))
    return [
        method,
        _interval(rows, SAMPLED),
        _interval(rows, GREEDY),
        _difference(rows, SAMPLED),
        _difference(rows, GREEDY),
        f"{first} > {last}".replace("- > -", "-"),
        _mean(rows, "proposer/well_posed", FINAL, 2),
        _mean(rows, "curriculum/label_accuracy", FINAL, 2),
        _mean(rows, "curriculum/survivors", FINAL, 0),
        _runs(str(next(iter(rows.values()))["status"])),
    ]


def _number(rows: Rows, metric: str, moment: str, column: str) -> float:
    return float(rows.get((metric, moment), {}).get(column, math.nan))


def _mean(rows: Rows, metric: str, moment: str, digits: int) -> str:
    value = _number(rows, metric, moment, "mean")
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(rows: Rows, metric: str) -> str:
    mean, low, high = (_number(rows, metric, FINAL, c) for c in ("mean", "ci_low", "ci_high"))
    if math.isnan(mean):
        return "-"
    return f"{mean:.3f}" + ("" if math.isnan(low) else f"\n[{_bound(low)}, {_bound(high)}]")


def _difference(rows: Rows, metric: str) -> str:
    names = ("diff", "diff_ci_low", "diff_ci_high", "p_holm")
    diff, low, high, p = (_number(rows, metric, FINAL, c) for c in names)
    if math.isnan(diff):
        return "-"
    bounds = "" if math.isnan(low) else f"\n[{_bound(low, '+')}, {_bound(high, '+')}]"
    return f"{diff:+.3f}{bounds}" + ("" if math.isnan(p) else f"\np = {p:.3f}")


def _bound(value: float, sign: str = "") -> str:
    """Three digits without the leading zero, which leaves room for another column."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"


def _runs(status: str) -> str:
    """Statuses, one a line; just the number where all runs were completed."""
    counts = [part.split(":") for part in status.split(";") if part]
    if len(counts) == 1 and counts[0][0] == "completed":
        return counts[0][1]
    return "\n".join(f"{n} {name}" for name, n in counts)
