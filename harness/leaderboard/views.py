"""The leaderboard in other shapes: a row per method for spreadsheets, Markdown for a README."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from harness.leaderboard import cells
from harness.leaderboard.cells import FINAL, GREEDY, SAMPLED, VENDI, Rows
from harness.leaderboard.metrics import METRICS

_SHARED = ("suite", "profile", "split", "base_model", "method", "baseline")
_PER_METRIC = {
    "n": "n_seeds",
    "mean": "mean",
    "low": "ci_low",
    "high": "ci_high",
    "diff": "diff",
    "diff low": "diff_ci_low",
    "diff high": "diff_ci_high",
    "p": "p_holm",
    "rank": "rank",
    "rank low": "rank_low",
    "rank high": "rank_high",
    "group": "tie_group",
}
"""Columns of the wide table for each primary metric, after its name, and where they come from."""
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula; the last four are the same in full width."""
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=+/() \[\]-]+\Z")
_PUNCTUATION = re.compile(r"([!#$&()*+\-./:<=>?@\[\\\]^_`{|}~])")
"""What Markdown may take for markup, in the middle of a line or at its start."""


class Gap(Protocol):
    """A (method, seed) that is not there or not complete, and why."""

    @property
    def method(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def why(self) -> str: ...


def wide(board: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard with one row per method, for spreadsheets.

    Columns: what identifies the row, then for each primary metric that the table has `n`, `mean`,
    `low`, `high`, `diff`, `diff low`, `diff high`, `p` (Holm), `rank`, `rank low`, `rank high` and
    `group`, each after the metric's name and a blank; the status last. Values after the last
    iteration. Text that a spreadsheet would take for a formula gets an apostrophe in front, and
    control characters become blanks; the long table has every name exactly.
    """
    final = board[board["iteration"] == FINAL]
    present = set(final["metric"])
    metrics = [m.pattern for m in METRICS if m.primary and m.pattern in present]
    names = [f"{metric} {name}" for metric in metrics for name in _PER_METRIC]
    records = []
    for part in cells.by_group(board):
        for _, rows in cells.by_method(part):
            first = next(iter(rows.values()))
            record = {name: first[name] for name in _SHARED}
            for metric in metrics:
                row = rows.get((metric, FINAL), {})
                record |= {f"{metric} {n}": row.get(c) for n, c in _PER_METRIC.items()}
            records.append({**record, "status": first["status"]})
    frame = pd.DataFrame(records, columns=[*_SHARED, *names, "status"])
    for name in names:
        if not name.endswith(" group"):
            frame[name] = frame[name].astype("float64")
    texts = [*_SHARED, "status", *(n for n in names if n.endswith(" group"))]
    return frame.assign(**{name: frame[name].map(_inert) for name in texts})


def markdown(board: pd.DataFrame, missing: Sequence[Gap] = ()) -> str:
    """The headline numbers of each table as Markdown, the most accurate method first.

    Args:
        board: `build`'s frame.
        missing: runs that are not there or not complete; listed below the table.
    """
    parts = [_table(part) for part in cells.by_group(board)]
    if missing:
        parts.append("Incomplete or missing, and never averaged:\n\n" + "\n".join(_gaps(missing)))
    return "\n\n".join(parts) + "\n"


def _gaps(missing: Sequence[Gap]) -> list[str]:
    """A line for each reason and set of seeds, with all methods that it holds for."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for gap in missing:
        seeds.setdefault((gap.why, gap.method), []).append(str(gap.seed))
    methods: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (why, method), those in seeds.items():
        methods.setdefault((why, tuple(those)), []).append(escaped(method))
    return [
        f"- {', '.join(named)}, seed{'s' * (len(those) > 1)} {', '.join(those)}: {_text(why)}"
        for (why, those), named in methods.items()
    ]


def _table(part: pd.DataFrame) -> str:
    diversity = cells.diversity_metric(part)
    label = "Vendi score" if diversity == VENDI else "topic entropy, nats"
    modes = [m for m in (SAMPLED, GREEDY) if (part["metric"] == m).any()]
    head = ["method"]
    for mode in modes:
        name = mode.rsplit("/", 1)[1]
        head += [f"{name} accuracy", f"{name}: difference", f"{name}: rank, group"]
    head += [f"{label}: first > last", "well-posed", "correct labels", "runs"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method, rows in sorted(cells.by_method(part), key=_order):
        row = [escaped(method)]
        for mode in modes:
            row += [cells.interval(rows, mode, " "), cells.difference(rows, mode, ", ")]
            row.append(cells.rank(rows, mode) or "-")
        row.append(cells.first_to_last(rows, diversity).replace(">", "\\>"))
        row.append(cells.mean(rows, "proposer/well_posed", FINAL, 2))
        row.append(cells.mean(rows, "curriculum/label_accuracy", FINAL, 2))
        row.append(_text(cells.statuses(rows, ", ")) or "-")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join([_caption(part), "", *lines])


def _order(item: tuple[str, Rows]) -> tuple[bool, float, str]:
    """The base model, then by sampled (else greedy) accuracy, those without one last."""
    method, rows = item
    metric = SAMPLED if (SAMPLED, FINAL) in rows else GREEDY
    value = cells.number(rows, metric, FINAL, "mean")
    return (method != "base", math.inf if math.isnan(value) else -value, method)


def _caption(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    named = [str(first[name]) for name in cells.GROUP if isinstance(first[name], str)]
    bases = ", ".join(escaped(name) for name in dict.fromkeys(part["base_model"]) if name)
    against = f", differences from {escaped(first['baseline'])}" if first["baseline"] else ""
    return (
        f"**{', '.join(_text(name) for name in dict.fromkeys(named) if name)}**"
        f"{f' (base model: {bases})' if bases else ''}: mean [95 % t interval]{against} "
        "[Welch], p Holm-adjusted; rank with its interval, and methods that share a letter are "
        "not ordered."
    )


def escaped(name: str) -> str:
    """A method's name in Markdown: as code where it is an ordinary one, else inert text."""
    return f"`{name}`" if _PLAIN.match(name) else _text(name)


def _text(value: object) -> str:
    """Text of unknown origin, on one line, with every character that means something escaped."""
    return _PUNCTUATION.sub(r"\\\1", _printable(str(value)))


def _inert(value: object) -> object:
    """Text that no spreadsheet takes for a formula or for two cells; anything else as it is."""
    if not isinstance(value, str):
        return value
    line = _printable(value)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
