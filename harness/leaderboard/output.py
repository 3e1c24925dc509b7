"""Tables as CSV files, and a leaderboard as a table on the terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from harness.leaderboard import cells
from harness.leaderboard.cells import FINAL, GREEDY, SAMPLED, TOPIC, VENDI, Rows
from harness.store import write_bytes


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as CSV; equal frames give equal bytes (LF, UTF-8, 6 significant digits)."""
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame atomically, as `csv_bytes` gives it.

    Raises:
        HarnessError: no permission, or the disk is full; an older file is then left as it was.
    """
    write_bytes(path, csv_bytes(frame))


def terminal_table(frame: pd.DataFrame) -> RichTable:
    """The headline numbers of `build`'s frame, one row per method, a section per table.

    Under an accuracy and its interval stand the interval of its rank and the letters of its tie
    group: methods that share a letter are not ordered.
    """
    parts = list(cells.by_group(frame))
    metrics = [cells.diversity_metric(part) for part in parts]
    kinds = {TOPIC: "topic entropy (nats)", VENDI: "Vendi score"}
    diversity = ", else ".join(kinds[m] for m in kinds if m in metrics)
    named = [b for b in dict.fromkeys(frame["baseline"]) if b]
    against = f"; differences from {', '.join(map(escape, named))}" if named else ""
    titles = ", ".join(dict.fromkeys(escape(_title(part)) for part in parts))
    ranked = "rank_low" in frame.columns and frame["rank_low"].notna().any()
    rank = "; 1-3 ab: interval of the rank, methods that share a letter are not ordered"
    table = RichTable(
        title=f"{titles}: mean [95 % t interval]{against}{_on(frame)}",
        caption=f"p: Welch, Holm-adjusted{rank if ranked else ''}; {diversity}: first > last "
        "iteration; left: questions in the difficulty window",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    column = "diversity" if VENDI in metrics else "topic\nentropy"
    headers = ("method", "sampled", "greedy", "diff\nsampled", "diff\ngreedy")
    for header in (*headers, column, "well-\nposed", "label\nacc.", "left", "runs"):
        table.add_column(header, overflow="fold")  # narrow terminals lose no number
    for part, metric in zip(parts, metrics, strict=True):
        for method, rows in cells.by_method(part):
            table.add_row(*(Text(cell) for cell in _cells(method, rows, metric)))
        table.add_section()
    return table


def _title(part: pd.DataFrame) -> str:
    """The profile, and the part of it where a table is split."""
    first = part.iloc[0]
    split = first.get("split", "")
    return f"{first['profile']} ({split})" if isinstance(split, str) and split else first["profile"]


def _on(frame: pd.DataFrame) -> str:
    """The base models, by name; a warm start is part of the name. Older tables name none."""
    named = frame.get("base_model", pd.Series(dtype=str)).dropna()
    names = [escape(name) for name in dict.fromkeys(named) if name]
    # A line of its own for each warm start: titles wrap at the width of the table.
    return "".join("\nbase model: " + name.replace(" + warm", "\n+ warm") for name in names)


def _cells(method: str, rows: Rows, diversity: str) -> list[str]:
    return [
        method,
        _ranked(rows, SAMPLED),
        _ranked(rows, GREEDY),
        cells.difference(rows, SAMPLED, "\n"),
        cells.difference(rows, GREEDY, "\n"),
        cells.first_to_last(rows, diversity),
        cells.mean(rows, "proposer/well_posed", FINAL, 2),
        cells.mean(rows, "curriculum/label_accuracy", FINAL, 2),
        cells.mean(rows, "curriculum/survivors", FINAL, 0),
        cells.statuses(rows, "\n"),
    ]


def _ranked(rows: Rows, metric: str) -> str:
    """Mean, interval and rank, one a line: the difference beside them takes as many."""
    lines = [cells.interval(rows, metric, "\n"), cells.rank(rows, metric)]
    return "\n".join(line for line in lines if line)
