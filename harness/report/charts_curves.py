"""Charts with a line or a point per run: diversity, and what accuracy stands against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from harness.report import charts_frames as frames
from harness.report.charts_parts import (
    MEAN,
    RUN,
    Tables,
    emphasis,
    layered,
    panels,
    reference,
    run_tooltip,
)
from harness.report.charts_style import PAGE, Marks, Size
from harness.report.data import ReportData

_COMPUTE = {
    "tokens": "generated text (tokens)",
    "flops": "training compute (FLOP)",
    "seconds": "training time (s)",
}
_TIGHT = alt.Scale(zero=False, nice=False)
_SHARES = (frames.WELL_POSED, frames.LABELS)


def diversity(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """Diversity over iterations, a panel per family, and what it is read beside.

    None where nothing of it was measured.
    """
    return over_iterations(data, [*frames.families(data), *frames.guards(data)], size)


def proposer(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """The functional diversity alone with the well-posed share and label accuracy."""
    return over_iterations(data, [*frames.families(data)[-1:], *frames.guards(data)], size)


def over_iterations(
    data: ReportData, metrics: Sequence[str], size: Size
) -> alt.TopLevelMixin | None:
    """A panel per metric: every run a thin line, every method's mean a thick one."""
    if not metrics:
        return None
    marks, tables = frames.marks(data), Tables()
    every = frames.over_iterations(data, metrics)
    lines = frames.broken(frames.in_colour(every.drop(columns="status"), data))
    runs = tables.of_methods("runs", lines)
    mean = frames.means(every, ["method", "iteration"])
    means = tables.of_methods("means", frames.in_colour(mean, data))
    last = int(every["iteration"].max())
    ticks = alt.Axis(values=list(range(1, last + 1, math.ceil(last / 10))), format="d", grid=False)
    x = alt.X("iteration:Q", title="iteration", axis=ticks, scale=_TIGHT)
    charts = [_lines(runs, means, i, x, metric, marks, size) for i, metric in enumerate(metrics)]
    text = "Over the iterations, by method and run: " + ", ".join(map(frames.unit, metrics)) + "."
    return panels(tables, charts, 3, size, text, (data, marks))


def _lines(
    runs: alt.Chart,
    means: alt.Chart,
    i: int,
    x: alt.X,
    metric: str,
    marks: Marks,
    size: Size,
) -> alt.LayerChart:
    title = frames.unit(metric)
    # Zero is where diversity is gone; self-BLEU says so with one.
    scale = alt.Scale(zero=metric != frames.SELF_BLEU)
    if metric in _SHARES:
        scale = alt.Scale(domain=[0, 1])
    field = f"m{i}:Q"
    y = alt.Y(field, title=title, scale=scale)
    one = runs.encode(x=x, y=y, color=marks.colours(), order="place:Q")
    mean = means.encode(x=x, y=y, color=marks.colours())
    about = [
        alt.Tooltip("method:N"),
        alt.Tooltip("iteration:Q", format="d"),
        alt.Tooltip(field, title=f"mean {title}", format=".4~g"),
        alt.Tooltip(f"n{i}:Q", title="runs", format="d"),
    ]
    thin = one.mark_line(strokeWidth=size.line / 2.5, strokeCap="round", aria=False).encode(
        opacity=emphasis(RUN), tooltip=["method:N"]
    )
    thick = mean.mark_line(strokeWidth=size.line).encode(
        strokeDash=marks.dashes(), opacity=emphasis(MEAN), tooltip=["method:N"]
    )
    points = mean.mark_point(filled=True, size=1.6 * size.dot).encode(
        shape=marks.shapes(), opacity=emphasis(MEAN), tooltip=about
    )
    return layered(thin, thick, points, _pointed_at(thick, marks, 2 * size.line))


def _pointed_at(chart: alt.Chart, marks: Marks, width: float) -> alt.Chart:
    """The line of the method under the pointer once more, thick and in its colour."""
    line: alt.Chart = (
        chart.transform_filter({"param": "hovered", "empty": False})
        .mark_line(strokeWidth=width, aria=False)
        .encode(color=marks.own_colours(), opacity=alt.value(1))
    )
    return line


def accuracy_vs_diversity(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """Accuracy against each family's diversity after training, a dot per run.

    None where either wasn't measured.
    """
    metrics = frames.families(data)
    if not (data.headline and metrics):
        return None
    marks, tables = frames.marks(data), Tables()
    chosen = [data.headline, *metrics]
    final, mean = frames.final_values(data, chosen), frames.intervals(data, chosen)
    runs = tables.of_methods("runs", frames.in_colour(final, data))
    means = tables.of_methods("means", frames.in_colour(mean, data))
    base = frames.base_value(data, data.headline)
    below = [] if base is None else reference(tables, base, "y")
    charts = []
    for i, metric in enumerate(metrics, 1):
        names = (frames.unit(metric), frames.unit(data.headline))
        charts.append(layered(*_scatter(runs, means, i, names, marks, size), *below))
    text = "Accuracy against diversity after the last iteration, by method and run."
    return panels(tables, charts, 2, size, text, (data, marks))


def _scatter(
    runs: alt.Chart, means: alt.Chart, i: int, names: tuple[str, str], marks: Marks, size: Size
) -> list[alt.Chart]:
    """Dots, then means with both intervals; `names` are the axes' titles."""
    across, up = names
    short = alt.Axis(format=".3~g")
    x = alt.X(f"m{i}:Q", title=across, scale=alt.Scale(zero=False), axis=short)
    y = alt.Y("m0:Q", title=up, scale=alt.Scale(zero=False), axis=short)
    fields = {f"m{i}": across, "m0": up}
    dots = runs.mark_point(filled=True, size=size.dot).encode(
        x=x,
        y=y,
        color=marks.colours(),
        shape=marks.shapes(),
        opacity=emphasis(0.6),
        tooltip=run_tooltip(fields),
    )
    about = _mean_tooltip(
        {
            "m0": up,
            "low0": "interval from",
            "high0": "interval to",
            f"m{i}": across,
            f"low{i}": "interval from",
            f"high{i}": "interval to",
            f"n{i}": "runs",
        }
    )
    mean = means.encode(color=marks.colours(), tooltip=about)
    rules = [
        mean.transform_filter(f"isValid(datum.low{i}) && isValid(datum.m0)")
        .mark_rule(strokeWidth=size.line / 2)
        .encode(
            x=alt.X(f"low{i}:Q", title=across), x2=f"high{i}:Q", y=y, opacity=emphasis(MEAN * 0.7)
        ),
        mean.transform_filter(f"isValid(datum.low0) && isValid(datum.m{i})")
        .mark_rule(strokeWidth=size.line / 2)
        .encode(x=x, y=alt.Y("low0:Q", title=up), y2="high0:Q", opacity=emphasis(MEAN * 0.7)),
    ]
    points = mean.mark_point(filled=True, size=4 * size.dot).encode(
        x=x, y=y, shape=marks.shapes(), opacity=emphasis(MEAN)
    )
    return [dots, *rules, points]


def _mean_tooltip(fields: dict[str, str]) -> list[alt.Tooltip]:
    numbers = [alt.Tooltip(f"{f}:Q", title=t, format=".4~g") for f, t in fields.items()]
    return [alt.Tooltip("method:N"), *numbers]


def accuracy_vs_compute(data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None:
    """Accuracy against the compute spent until then, with the budget that all runs reach.

    None where no run has both.
    """
    if data.headline not in data.trajectory.columns:
        return None
    known = [by for by in _COMPUTE if (data.trajectory[by] > 0).any()]
    if not known:
        return None
    marks, tables = frames.marks(data), Tables()
    keep = ["method", "seed", "iteration", *known, data.headline]
    path = data.trajectory[keep].rename(columns={data.headline: "accuracy"})
    runs = tables.of_methods("runs", frames.broken(frames.in_colour(path, data)))
    charts = [
        layered(
            *_spent(runs, by, frames.unit(data.headline), marks, size),
            *_at_budget(tables, data, by, marks, size),
        )
        for by in known
    ]
    text = "Accuracy against generated tokens, model FLOPs and seconds, by method and run."
    return panels(tables, charts, 2, size, text, (data, marks))


def _spent(runs: alt.Chart, by: str, up: str, marks: Marks, size: Size) -> list[alt.Chart]:
    """A line per run from the base model on, a dot at every evaluation."""
    # Vega's own SI labels would share one prefix, and call zero 0T.
    axis = alt.Axis(labelExpr="format(datum.value, '~s')", tickCount=5)
    x = alt.X(f"{by}:Q", title=_COMPUTE[by], axis=axis, scale=alt.Scale(nice=False))
    y = alt.Y("accuracy:Q", title=up, scale=alt.Scale(zero=False), axis=alt.Axis(format=".3~g"))
    path = runs.encode(x=x, y=y, color=marks.colours())
    about = [
        alt.Tooltip("method:N"),
        alt.Tooltip("seed:Q", format="d"),
        alt.Tooltip("iteration:Q", format="d"),
        alt.Tooltip(f"{by}:Q", title=_COMPUTE[by], format=".4~s"),
        alt.Tooltip("accuracy:Q", title=up, format=".4f"),
    ]
    return [
        path.mark_line(strokeWidth=size.line / 2.5, aria=False).encode(
            order="place:Q", opacity=emphasis(RUN), tooltip=["method:N"]
        ),
        path.transform_filter("datum.iteration > 0")
        .mark_point(filled=True, size=size.dot)
        .encode(shape=marks.shapes(), opacity=emphasis(0.8), tooltip=about),
    ]


def _at_budget(
    tables: Tables, data: ReportData, by: str, marks: Marks, size: Size
) -> list[alt.Chart]:
    """Means at the largest compute that all runs reach, on a line at it."""
    rows = data.matched
    rows = rows[(rows["by"] == by) & (rows["metric"] == data.headline) & (rows["at"] == "common")]
    if rows.empty:
        return []
    keep = ["method", "budget", "mean", "ci_low", "ci_high", "diff", "p_holm", "n_seeds"]
    budget = [{"budget": float(rows["budget"].iloc[0]), "line": "compute that all runs reach"}]
    about = [alt.Tooltip("line:N"), alt.Tooltip("budget:Q", title=_COMPUTE[by], format=".4~s")]
    means = tables.of_methods(f"matched_{by}", frames.in_colour(rows[keep], data))
    fields = {
        "budget": (_COMPUTE[by], ".4~s"),
        "mean": ("mean accuracy there", ".4f"),
        "ci_low": ("interval from", ".4f"),
        "ci_high": ("interval to", ".4f"),
        "diff": ("difference from the baseline", "+.4f"),
        "p_holm": ("p (Holm)", ".3g"),
        "n_seeds": ("runs", "d"),
    }
    tooltip = [alt.Tooltip("method:N")]
    tooltip += [alt.Tooltip(f"{f}:Q", title=t, format=form) for f, (t, form) in fields.items()]
    return [
        tables.of(f"budget_{by}", budget)
        .mark_rule(style="reference")
        .encode(x="budget:Q", tooltip=about),
        means.mark_point(size=5 * size.dot, strokeWidth=size.line * 0.7).encode(
            x="budget:Q",
            y="mean:Q",
            color=marks.colours(),
            shape=marks.shapes(),
            opacity=emphasis(MEAN),
            tooltip=tooltip,
        ),
    ]
