"""Charts with a row per method: the leaderboard, and the accuracy on every task."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import pandas as pd

from harness.leaderboard import BASE
from harness.report import charts_frames as frames
from harness.report.charts_parts import Tables, layered, reference, rows, run_status, run_tooltip
from harness.report.charts_style import PAGE, Marks, Size
from harness.report.data import ReportData

_BAR, _TICK = 0.62, 0.8
"""Shares of a row's height: an interval, a mean."""
_KNOWN = "isValid(datum.{0})"
_SUMMARY = (
    ("n_seeds", "runs averaged", "d"),
    ("mean", "mean", ".4f"),
    ("ci_low", "interval from", ".4f"),
    ("ci_high", "interval to", ".4f"),
    ("rank", "rank", ".1f"),
    ("rank_low", "rank from", "d"),
    ("rank_high", "rank to", "d"),
)
_COMPARED = (
    ("diff", "difference", "+.4f"),
    ("diff_ci_low", "interval from", "+.4f"),
    ("diff_ci_high", "interval to", "+.4f"),
    ("p_holm", "p (Holm)", ".3g"),
)


@dataclass(frozen=True)
class _Rows:
    """What the panels of a leaderboard share."""

    tables: Tables
    data: ReportData
    standing: pd.DataFrame
    marks: Marks
    size: Size

    @property
    def height(self) -> float:
        return self.size.row(len(self.standing))


def leaderboard(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """Accuracy after training, a row per method, with its difference from the baseline beside it.

    None where no solver was evaluated.
    """
    if not data.headline:
        return None
    standing = frames.standing(data)
    board = _Rows(Tables(), data, standing, frames.marks(data), size)
    labels = size.labels(list(standing["method"]))
    texts = [*_ties(board), *_ended(board)]
    taken = [labels + 2 * size.font, *(width + size.font for _, width in texts)]
    while texts and size.width - sum(taken) < 8 * size.font:
        del texts[0], taken[1]
    room = size.width - sum(taken)
    if bool(standing["diff"].notna().any()) and room > 20 * size.font:
        charts = [(_accuracy(board, 0.58 * room, labels), 0.58 * room)]
        charts.append((_difference(board, 0.42 * room), 0.42 * room))
    else:
        charts = [(_accuracy(board, room, labels), room)]
    step = alt.Step(board.height)
    sized = [chart.properties(width=width, height=step) for chart, width in [*charts, *texts]]
    chart = alt.hconcat(*sized, spacing=size.font).resolve_scale(y="shared")
    text = "Accuracy after training by method: means, intervals, every run."
    return board.tables.finish(chart, text)


def _tooltip(fields: tuple[tuple[str, str, str], ...]) -> list[alt.Tooltip]:
    numbers = [alt.Tooltip(f"{f}:Q", title=title, format=form) for f, title, form in fields]
    texts = [("tie_group", "tie groups"), ("status", "runs ended")]
    return [
        alt.Tooltip("method:N"),
        *numbers,
        *(alt.Tooltip(f"{f}:N", title=title) for f, title in texts),
    ]


def _accuracy(board: _Rows, width: float, labels: float) -> alt.LayerChart:
    """Interval, mean and a dot per run."""
    data, size, marks = board.data, board.size, board.marks
    title = frames.unit(data.headline)
    y = rows(alt.Axis(labelLimit=labels, domain=False, ticks=False, title=None))
    ticks = alt.Axis(format="~g", tickCount=3 if size.narrow else 6, titleLimit=1.2 * width)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=False), axis=ticks)

    methods = board.tables.of_methods("methods", board.standing)
    methods = methods.encode(y=y, color=marks.colours(), tooltip=_tooltip(_SUMMARY))
    runs = frames.in_colour(frames.final_values(data, [data.headline]), data)
    dots = (
        board.tables.of_methods("runs", runs)
        .mark_point(filled=True, size=size.dot, opacity=0.8)
        .encode(
            x=x("m0"),
            y=y,
            color=marks.colours(),
            shape=run_status(runs, size),
            tooltip=run_tooltip({"m0": title}),
        )
        .properties(name="runs_0")
    )
    interval = _interval(board, methods).encode(x=x("ci_low"), x2="ci_high:Q")
    layers = [
        interval.transform_filter(_KNOWN.format("ci_low")),
        dots,
        _mean(board, methods).encode(x=x("mean")),
    ]
    base = frames.base_value(data, data.headline)
    if base is not None:
        layers = [*reference(board.tables, base, "x"), *layers]
    return layered(*layers)


def _difference(board: _Rows, width: float) -> alt.LayerChart:
    """Difference from the baseline with its interval, around a line at zero."""
    title = [f"difference from {board.data.baseline}", "(share)"]
    ticks = alt.Axis(format="+~g", tickCount=4, titleLimit=width)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=True), axis=ticks)

    methods = board.tables.of_methods("methods", board.standing)
    methods = methods.encode(y=rows(None), color=board.marks.colours(), tooltip=_tooltip(_COMPARED))
    zero = board.tables.of("zero", [{"diff": 0}]).mark_rule(style="zero").encode(x="diff:Q")
    first = board.standing["method"] == board.data.baseline
    named = board.standing.loc[first, ["method", "order", "head"]].assign(diff=0)
    baseline = board.tables.of_methods("baseline", named).mark_text(
        style="soft", align="left", baseline="middle", dx=board.size.font / 2, text="baseline"
    )
    interval = _interval(board, methods).encode(x=x("diff_ci_low"), x2="diff_ci_high:Q")
    return layered(
        zero,
        interval.transform_filter(_KNOWN.format("diff_ci_low")),
        _mean(board, methods).encode(x=x("diff")),
        baseline.encode(y=rows(None), x=x("diff"), tooltip="method:N"),
    )


def _interval(board: _Rows, methods: alt.Chart) -> alt.Chart:
    bar: alt.Chart = methods.mark_bar(height=_BAR * board.height, opacity=0.25, cornerRadius=2)
    return bar


def _mean(board: _Rows, methods: alt.Chart) -> alt.Chart:
    thickness, height = 1.5 * board.size.line, _TICK * board.height
    tick: alt.Chart = methods.mark_tick(thickness=thickness, height=height, opacity=1)
    return tick


def _ties(board: _Rows) -> list[tuple[alt.Chart, float]]:
    """A column per letter, with its width: methods with a letter in common are not ordered."""
    letters = sorted({x for group in board.standing["tie_group"] for x in group}, key=_order)
    if not letters:
        return []
    each = [
        {**row, "letter": x, "place": letters.index(x)}
        for row in board.standing[["method", "order", "head", "tie_group"]].to_dict("records")
        for x in row["tie_group"]
    ]
    place = alt.Scale(domain=[-0.5, len(letters) - 0.5], nice=False, zero=False)
    ties = board.tables.of_methods("ties", pd.DataFrame(each))
    chart = ties.mark_text(style="soft", baseline="middle").encode(
        x=alt.X("place:Q", scale=place, axis=_heading("ties")),
        y=rows(None),
        text="letter:N",
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("tie_group:N", title="tie groups")],
    )
    return [(chart, max(0.62 * len(letters), 2) * board.size.font)]


def _order(letter: str) -> tuple[bool, bool, str]:
    return (not letter.isascii(), letter.isupper(), letter)


def _ended(board: _Rows) -> list[tuple[alt.Chart, float]]:
    """How the runs ended, with the column's width."""
    counts = [frames.ended(text) for text in board.standing["status"]]
    if board.size.narrow and all(text.isdecimal() for text in counts):
        return []
    ended = board.standing[["method", "order", "head", "status"]].assign(runs=counts, place=0)
    place = alt.Scale(domain=[0, 1], nice=False)
    runs = board.tables.of_methods("ended", ended)
    chart = runs.mark_text(style="soft", align="left", baseline="middle").encode(
        x=alt.X("place:Q", scale=place, axis=_heading("runs")),
        y=rows(None),
        text="runs:N",
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("status:N", title="runs ended")],
    )
    return [(chart, max(0.55 * max(map(len, counts)), 2.5) * board.size.font)]


def _heading(title: str) -> alt.Axis:
    return alt.Axis(
        title=title, titleAnchor="start", labels=False, ticks=False, grid=False, domain=False
    )


def tasks(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """Mean accuracy of every method on every task, coloured by the difference from the baseline.

    None where no task was evaluated.
    """
    columns = frames.tasks(data)
    if not columns:
        return None
    tables, cells = Tables(), _cells(data, columns)
    names = list(dict.fromkeys(cells["method"]))
    labels = size.labels(names)
    leaning = 4.5 * size.font  # names of the last columns reach beyond them
    room = (size.width - labels - leaning) / len(columns)
    room = max(2.8, min(room / size.font, 8)) * size.font  # wide enough for its number
    most = float(cells["diff"].abs().max()) if cells["diff"].notna().any() else 0.0
    order = alt.EncodingSortField(field="column", op="min")
    heads = alt.Axis(orient="top", labelAngle=-35, title=None, domain=False, ticks=False)
    axis = alt.Axis(labelLimit=labels, domain=False, ticks=False)
    base = tables.of_methods("cells", cells, "datum.base").encode(
        x=alt.X("task:N", sort=order, axis=heads), y=rows(axis), tooltip=_cell_tooltip()
    )
    layers = [base.mark_rect(opacity=0)]
    if most > 0:
        layers.append(_coloured(base, most, data, size))
    dark = f"isValid(datum.diff) && abs(datum.diff) > {0.65 * most:.6g}"
    layers.append(
        base.mark_text(style="ink", baseline="middle").encode(
            text=alt.Text("mean:Q", format=".3f"),
            color=alt.Color(
                condition=[
                    {"test": dark, "value": "#FFFFFF"},
                    {"test": "isValid(datum.diff)", "value": "#000000"},
                ]
            ),
        )
    )
    height = alt.Step(size.row(len(names)))
    chart = layered(*layers).properties(width=alt.Step(room), height=height)
    return tables.finish(chart, "Mean accuracy by method and task.")


def _cells(data: ReportData, columns: list[tuple[str, str]]) -> pd.DataFrame:
    """A row per method and task, the base model's last."""
    labels = {metric: label for label, metric in columns}
    places = {metric: i for i, (_, metric) in enumerate(columns)}
    board = data.board[data.board["iteration"] == frames.FINAL]
    board = board[board["metric"].isin(list(labels))]
    keep = ["method", "mean", "ci_low", "ci_high", "diff", "diff_ci_low", "diff_ci_high", "n_seeds"]
    cells = board[keep].assign(task=board["metric"].map(labels), column=board["metric"].map(places))
    cells = frames.in_colour(cells, data)
    base = cells["method"] == BASE
    cells["order"] = cells["order"].fillna(len(cells))
    cells["head"] = cells["head"].eq(True)
    return cells.assign(base=base, method=cells["method"].mask(base, frames.UNTRAINED))


def _cell_tooltip() -> list[alt.Tooltip]:
    mean = [("mean", ".4f"), ("ci_low", ".4f"), ("ci_high", ".4f")]
    diff = [("diff", "+.4f"), ("diff_ci_low", "+.4f"), ("diff_ci_high", "+.4f")]
    titles = {"ci_low": "from", "ci_high": "to", "diff_ci_low": "from", "diff_ci_high": "to"}
    numbers = [
        alt.Tooltip(f"{f}:Q", title=f"{f[:4] if f in titles else f}".strip("_"), format=form)
        for f, form in [*mean, *diff]
    ]
    return [
        alt.Tooltip("method:N"),
        alt.Tooltip("task:N"),
        *numbers,
        alt.Tooltip("n_seeds:Q", title="runs", format="d"),
    ]


def _coloured(base: alt.Chart, most: float, data: ReportData, size: Size) -> alt.Chart:
    legend = alt.Legend(
        title=f"difference from {data.baseline} (share)",
        orient="bottom",
        gradientLength=16 * size.font,
        titleLimit=30 * size.font,
        format="+.2~f",
    )
    scale = alt.Scale(scheme="blueorange", domain=[-most, most], reverse=True, nice=False)
    cells: alt.Chart = (
        base.transform_filter(_KNOWN.format("diff"))
        .mark_rect()
        .encode(color=alt.Color("diff:Q", scale=scale, legend=legend))
    )
    return cells
