"""Pieces that several charts are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from harness.report import charts_frames as frames
from harness.report.charts_style import (
    HEADS,
    IN_COLOUR,
    IS_SHOWN,
    Marks,
    Size,
)
from harness.report.data import ReportData

STATUSES = {
    "completed": "circle",
    "curriculum_exhausted": "triangle-down",
    "diverged": "square",
    "failed": "cross",
}
"""A run's dot, where it stands in the row of its method."""
RUN, MEAN = 0.35, 1.0
"""Opacity of what belongs to one run, and of a mean."""


def layered(*charts: alt.Chart) -> alt.LayerChart:
    """Charts over one another, the first at the bottom."""
    return alt.LayerChart(layer=list(charts))


class Tables:
    """The tables of one chart, each once, however many marks are drawn from it."""

    def __init__(self) -> None:
        self._values: dict[str, frames.Records] = {}

    def of_methods(self, name: str, frame: pd.DataFrame, always: str = "") -> alt.Chart:
        """A chart of a frame with the columns method, order and head, of the methods shown.

        Those in colour come last, on top of the others.

        Args:
            always: expression for rows that are shown whatever methods are.
        """
        ordered = frame.sort_values(["head", "order"], ascending=[True, False], kind="stable")
        return self.of(name, frames.records(ordered)).transform_filter(
            f"{always} || {IS_SHOWN}" if always else IS_SHOWN
        )

    def of(self, name: str, rows: frames.Records) -> alt.Chart:
        """A chart of some rows, whatever methods are shown."""
        self._values[name] = rows
        return alt.Chart(alt.NamedData(name=name))

    def finish(
        self,
        chart: alt.LayerChart | alt.ConcatChart | alt.HConcatChart | alt.VConcatChart,
        description: str,
        pointed_at: Sequence[str] = (),
    ) -> alt.TopLevelMixin:
        """The chart with its tables and parameters.

        ``shown`` has the names of the methods to show, null for all; ``hovered`` is the method
        pointed at in one of the named views.
        """
        chart = chart.properties(description=description, datasets=self._values)
        parameters: list[alt.VariableParameter | alt.TopLevelSelectionParameter] = [
            alt.VariableParameter(name="shown", value=None)
        ]
        if pointed_at:
            select = alt.PointSelectionConfig(
                type="point", fields=["method"], on="pointerover", clear="pointerout"
            )
            parameters.append(
                alt.TopLevelSelectionParameter(
                    name="hovered", select=select, views=list(pointed_at)
                )
            )
        chart.params = parameters
        return chart


def rows(axis: alt.Axis | None) -> alt.Y:
    """A row per method, the best first: by a field, so that no name becomes an expression."""
    order = alt.EncodingSortField(field="order", op="min")
    return alt.Y("method:N", sort=order, title=None, axis=axis)


def emphasis(opacity: float) -> alt.OpacityValue:
    """An opacity; weaker for methods that aren't in colour."""
    weaker = {"test": f"!({IN_COLOUR})", "value": round(0.4 * opacity, 3)}
    return alt.OpacityValue(opacity, condition=weaker)


def run_status(runs: pd.DataFrame, size: Size) -> alt.Shape:
    """How a run ended as the shape of its dot; a legend only where one didn't end well."""
    there = [status for status in STATUSES if (runs["status"] == status).any()]
    legend = alt.Legend(
        title="run ended",
        orient="bottom",
        values=there,
        columns=2 if size.narrow else 4,
        labelExpr="datum.label == 'curriculum_exhausted' ? 'exhausted' : datum.label",
    )
    return alt.Shape(
        "status:N",
        scale=alt.Scale(domain=list(STATUSES), range=list(STATUSES.values())),
        legend=None if there == ["completed"] else legend,
    )


def run_tooltip(fields: dict[str, str]) -> list[alt.Tooltip]:
    """A run's tooltip: which run, how it ended, and its values by field and title."""
    about = [
        alt.Tooltip("method:N"),
        alt.Tooltip("seed:Q", format="d"),
        alt.Tooltip("status:N", title="ended"),
    ]
    about.append(alt.Tooltip("iteration:Q", format="d"))
    return about + [alt.Tooltip(f"{f}:Q", title=t, format=".4~g") for f, t in fields.items()]


def reference(tables: Tables, value: float, along: str) -> list[alt.Chart]:
    """The base model's value as a dashed line; `along` is the axis that the value lies on."""
    chart = tables.of("reference", [{"value": value, "is": "base model"}]).encode(
        tooltip=[
            alt.Tooltip("is:N", title="line"),
            alt.Tooltip("value:Q", title="accuracy (share)", format=".4f"),
        ]
    )
    rule = chart.mark_rule(style="reference")
    label = chart.mark_text(style="soft", align="left", baseline="bottom", dx=3, dy=-2)
    if along == "x":
        rule, label = rule.encode(x="value:Q"), label.encode(x="value:Q", y=alt.value(0))
    else:
        rule, label = rule.encode(y="value:Q"), label.encode(y="value:Q", x=alt.value(0))
    return [rule, label.encode(text="is:N")]


def legend(
    tables: Tables,
    key: tuple[ReportData, Marks],
    size: Size,
    room: tuple[float, float],
    columns: int = 1,
) -> alt.LayerChart:
    """Colour, dashes and symbol of the methods that are in colour now: a panel of its own.

    A legend that Vega makes would go on listing methods that a page doesn't show.
    """
    (data, marks), (width, height) = key, room
    standing = frames.standing(data)[["method", "order", "head"]]
    rows = math.ceil(min(len(standing), HEADS) / columns)
    others = len(standing) - HEADS
    step = min(1.7 * size.font, height / (rows + (others > 0)))
    column = alt.Scale(domain=[0, columns], nice=False)
    row = alt.Scale(domain=[-0.5, height / step - 0.5], reverse=True, nice=False, zero=False)
    x, y = alt.X("column:Q", scale=column, axis=None), alt.Y("row:Q", scale=row, axis=None)
    wide = 2.6 * size.font
    entries = (
        tables.of_methods("methods", standing)
        .transform_filter(IN_COLOUR)
        .transform_window(line="row_number()", sort=[alt.SortField("order")])
        .transform_filter(f"datum.line <= {HEADS}")
        .transform_calculate(
            column=f"(datum.line - 1) % {columns}", row=f"floor((datum.line - 1) / {columns})"
        )
        .transform_calculate(
            middle=f"datum.column + {wide / 2 / width * columns:.6g}",
            end=f"datum.column + {wide / width * columns:.6g}",
        )
    )
    coloured = entries.encode(y=y, color=marks.colours())
    limit = width / columns + 2 * size.font - wide
    layers = [
        coloured.mark_rule(strokeWidth=size.line).encode(x=x, x2="end", strokeDash=marks.dashes()),
        coloured.mark_point(filled=True, size=2 * size.dot, opacity=1).encode(
            x=alt.X("middle:Q", scale=column, axis=None), shape=marks.shapes()
        ),
        entries.mark_text(
            style="ink", align="left", baseline="middle", dx=size.font / 2, limit=limit
        ).encode(x=alt.X("end:Q", scale=column, axis=None), y=y, text="method:N"),
    ]
    if others > 0:
        note = tables.of("note", [{"row": rows, "column": 0}])
        said = alt.ExprRef(f"isArray(shown) ? '' : 'grey: {others} other methods'")
        layers.append(
            note.mark_text(style="ink", align="left", baseline="middle", text=said).encode(x=x, y=y)
        )
    return layered(*layers).properties(width=width, height=height)


def panels(
    tables: Tables,
    charts: Sequence[alt.LayerChart],
    columns: int,
    size: Size,
    description: str,
    key: tuple[ReportData, Marks],
) -> alt.TopLevelMixin:
    """Small panels of equal size in `columns`, any of which can be pointed at, and a legend."""
    columns = min(columns, size.columns)
    width = size.panel(columns)
    # Altair numbers the names of joined views; these are as it would make them.
    names = [f"panel_{i}" for i in range(len(charts))]
    sized = []
    for name, chart in zip(names, charts, strict=True):
        part = chart.properties(width=width, height=size.height)
        part.layer[0].name = name
        sized.append(part)
    longest = max(len(name) for name in key[1].methods)
    needed = (0.5 * longest + 3.1) * size.font
    if needed <= width + 2.5 * size.font and (len(charts) % columns or columns == 1):
        listed = legend(tables, key, size, (width, size.height))  # a place is left for it
        joined = alt.concat(*sized, listed, columns=columns, spacing=size.font)
        return tables.finish(joined, description, names)
    room = size.width - 6 * size.font
    across = max(1, min(HEADS, int(room / needed)))
    lines = math.ceil(min(len(key[1].methods), HEADS) / across)
    lines += len(key[1].methods) > HEADS
    listed = legend(tables, key, size, (room, 1.7 * size.font * lines), across)
    above = alt.concat(*sized, columns=columns, spacing=size.font)
    return tables.finish(alt.vconcat(above, listed, spacing=size.font), description, names)
