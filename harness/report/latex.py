"""Tables for papers: LaTeX with booktabs, every text of unknown origin escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.leaderboard import BASE
from harness.report import charts_frames as frames
from harness.report.data import HEADLINES, ReportData

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "'": r"\char39{}",
    "`": r"\char96{}",
    "-": r"{-}",
}
"""What LaTeX reads as something else, or sets as another character; '--' would be a dash."""
NOTHING = "--"
"""A cell without a value."""
_COMPUTE = {"tokens": " tokens", "flops": "FLOP", "seconds": "s"}


def escape(text: str) -> str:
    """Text as LaTeX prints it, on one line.

    Control characters become blanks; characters that pdfLaTeX's fonts lack become U+ numbers.
    """
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else " "
    if "À" <= character <= "ÿ" and character not in "×÷ÐðÞþ":
        return character
    return f"U+{ord(character):04X}"


def table(frame: pd.DataFrame, caption: str, label: str, columns: str, wide: bool = False) -> str:
    r"""A frame of texts, escaped already, as a floating table; needs ``\usepackage{booktabs}``.

    Args:
        columns: alignment of each column, as in ``lrr``.
        wide: over both columns of a two-column page.
    """
    text: str = frame.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=columns,
        caption=caption,
        label=label,
        position="t",
        position_float="centering",
        environment="table*" if wide else "table",
    )
    return text


def tables(data: ReportData) -> dict[str, str]:
    """All tables by file name without suffix; those without a number are left out."""
    found: dict[str, str] = {}
    for metric in HEADLINES:
        if (data.board["metric"] == metric).any():
            mode = metric.rsplit("/", 1)[1]
            found[f"table_{mode}"] = _leaderboard(data, metric)
    matched = _matched(data)
    if matched is not None:
        found["table_matched"] = matched
    if columns := frames.tasks(data):
        found["table_tasks"] = _tasks(data, columns)
    return found


def _leaderboard(data: ReportData, metric: str) -> str:
    """Accuracy, difference from the baseline, rank and tie groups, best method first."""
    board = data.board
    board = board[(board["metric"] == metric) & (board["iteration"] == frames.FINAL)]
    board = board.sort_values("mean", ascending=False, kind="stable")
    rows = []
    for row in board.to_dict("records"):
        base = row["method"] == BASE
        rows.append(
            {
                "Method": escape(frames.UNTRAINED if base else str(row["method"])),
                "Runs": NOTHING if base else escape(frames.ended(str(row["status"]))),
                r"Accuracy (\%)": _interval(row, "mean", "ci_low", "ci_high"),
                "Difference": _interval(row, "diff", "diff_ci_low", "diff_ci_high", "+"),
                "On new items": _bounds(row, "diff_new_ci_low", "diff_new_ci_high", "+"),
                "$p$": _p(row["p_holm"]),
                "Rank": _rank(row),
                "Ties": escape(row["tie_group"]) if isinstance(row["tie_group"], str) else "",
            }
        )
    mode = metric.rsplit("/", 1)[1]
    caption = (
        f"{mode.capitalize()} accuracy after training on {escape(data.title)}, macro mean over "
        f"tasks: mean over runs with its {_level(data)} $t$ interval{_against(data)}. 'On new "
        "items' is that difference's interval if items were drawn anew as well. $p$ is Welch's, "
        "Holm-adjusted over methods. Methods that share a letter are not ordered."
    )
    label = f"tab:{_slug(data.stem)}-{mode}"
    return table(pd.DataFrame(rows), caption, label, "llllllll", wide=True)


def _matched(data: ReportData) -> str | None:
    """Accuracy at the largest compute that all runs reach, by tokens, FLOPs and seconds."""
    rows = data.matched
    rows = rows[(rows["metric"] == data.headline) & (rows["at"] == "common")]
    if rows["mean"].notna().sum() == 0:
        return None
    columns: dict[str, dict[str, str]] = {}
    for by in (name for name in _COMPUTE if (rows["by"] == name).any()):
        part = rows[rows["by"] == by]
        budget = _si(float(part["budget"].iloc[0])) + _COMPUTE[by]
        cells = {str(r["method"]): dict(r) for r in part.to_dict("records")}
        columns[f"At {budget}"] = {
            m: _interval(r, "mean", "ci_low", "ci_high") for m, r in cells.items()
        }
        columns[f"Difference ({by})"] = {
            m: _interval(r, "diff", "diff_ci_low", "diff_ci_high", "+") for m, r in cells.items()
        }
    names = list(frames.standing(data)["method"])
    frame = pd.DataFrame(columns).reindex(names).fillna(NOTHING)
    frame.insert(0, "Method", [escape(name) for name in names])
    estimated = bool((rows["estimated"] > 0).any())
    caption = (
        f"Accuracy (\\%) on {escape(data.title)} at equal compute: the largest that all runs "
        "reach, read off straight lines between evaluations; mean over runs with its "
        f"{_level(data)} $t$ interval{_against(data)}."
        + (" Seconds up to an evaluation are partly spread by FLOPs." if estimated else "")
    )
    label = f"tab:{_slug(data.stem)}-matched"
    return table(frame, caption, label, "l" * len(frame.columns), wide=True)


def _tasks(data: ReportData, columns: list[tuple[str, str]]) -> str:
    """Mean accuracy of every method on every task."""
    board = data.board[data.board["iteration"] == frames.FINAL]
    names = [*frames.standing(data)["method"], BASE]
    frame = pd.DataFrame({"Method": [escape(n) for n in names[:-1]] + [frames.UNTRAINED]})
    for label, metric in columns:
        means = board[board["metric"] == metric].set_index("method")["mean"]
        frame[escape(label)] = [_percent(means.get(name, math.nan)) for name in names]
    caption = f"Mean accuracy over runs (\\%) by task on {escape(data.title)}."
    label = f"tab:{_slug(data.stem)}-tasks"
    return table(frame, caption, label, "l" + "r" * len(columns), wide=len(columns) > 4)


def _level(data: ReportData) -> str:
    return f"{100 * data.level:g}\\,\\%"


def _against(data: ReportData) -> str:
    if not data.baseline:
        return ""
    return f", and its difference from {escape(data.baseline)} with Welch's interval"


def _slug(stem: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in stem)


def _interval(row: dict[Any, Any], mean: str, low: str, high: str, sign: str = "") -> str:
    middle = _percent(row[mean], sign)
    if middle == NOTHING or _percent(row[low]) == NOTHING:
        return middle
    return f"{middle} {_bounds(row, low, high, sign)}"


def _bounds(row: dict[Any, Any], low: str, high: str, sign: str = "") -> str:
    ends = [_percent(row[name], sign) for name in (low, high)]
    return NOTHING if NOTHING in ends else f"[{ends[0]}, {ends[1]}]"


def _percent(value: Any, sign: str = "") -> str:
    """A share in percent with one decimal; a difference with its sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{100 * value:{sign}.1f}"
    return f"${text}$" if text[0] in "+-" else text


def _p(value: Any) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    return "$<$.001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def _rank(row: dict[Any, Any]) -> str:
    if row["rank"] is None or not math.isfinite(row["rank"]):
        return NOTHING
    return f"{row['rank']:g} [{row['rank_low']:.0f}, {row['rank_high']:.0f}]"


_PREFIXES: Sequence[tuple[float, str]] = (
    (1e18, "E"),
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
)


def _si(value: float) -> str:
    """Three digits with an SI prefix, which joins the unit that follows."""
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{value / size:.3g}\\,{prefix}"
    return f"{value:.3g}\\,"
