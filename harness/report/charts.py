"""The charts of a report, in the order of its page, as Vega-Lite specifications.

Every specification works alone: data are in it, nothing is loaded, and names of methods are data
values, never part of an expression. It has a parameter ``shown``, which a page may set: null shows
all methods, a list of names these. Backgrounds are transparent; `config` gives colours of text and
axes for a light or dark page, or for print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import altair as alt

from harness.report.charts_board import leaderboard, tasks
from harness.report.charts_curves import accuracy_vs_compute, accuracy_vs_diversity, diversity
from harness.report.charts_style import DOUBLE, PAGE, SINGLE, Size, Theme, config
from harness.report.data import ReportData

__all__ = ["CHARTS", "DOUBLE", "PAGE", "SINGLE", "Chart", "Draw", "Size", "Theme", "config"]


class Draw(Protocol):
    """Draws a chart; None where nothing that it shows was measured."""

    def __call__(self, data: ReportData, size: Size = PAGE) -> alt.TopLevelMixin | None: ...


@dataclass(frozen=True)
class Chart:
    """A chart and its words.

    Attributes:
        name: of its files and of its place on the page.
        title: what it shows.
        caption: how to read it.
        draw: makes it of a table's data.
    """

    name: str
    title: str
    caption: str
    draw: Draw


CHARTS = (
    Chart(
        "leaderboard",
        "Leaderboard",
        "Accuracy after training, macro mean over tasks, best mean first. A dot is a run, the tick "
        "the mean over runs, the bar its t interval; dashed: the untrained base model. Beside it "
        "the difference from the baseline with Welch's interval. Methods that share a letter are "
        "not ordered: the interval of their difference contains zero.",
        leaderboard,
    ),
    Chart(
        "diversity",
        "Diversity over iterations",
        "One metric a family (lexical, semantic, functional), each on a fixed number of questions, "
        "with the share of well-posed questions and of correct pseudo-labels beside it, since "
        "noise is diverse too. A thin line is a run, a thick one a method's mean; a gap is a "
        "metric without a value. Of more than eight methods the baseline and the best are in "
        "colour.",
        diversity,
    ),
    Chart(
        "accuracy_vs_diversity",
        "Accuracy against diversity",
        "After the last iteration. A small dot is a run, a large one a method's mean with the t "
        "intervals of both means; dashed: the untrained base model.",
        accuracy_vs_diversity,
    ),
    Chart(
        "accuracy_vs_compute",
        "Accuracy against compute",
        "Compute spent in training until an evaluation. A line is a run, from the untrained base "
        "model on; the open symbols on the dashed line are means at the largest compute that all "
        "runs reach, read off straight lines between evaluations. Their intervals are in the table "
        "of accuracy at equal compute.",
        accuracy_vs_compute,
    ),
    Chart(
        "tasks",
        "Accuracy by task",
        "Mean accuracy over runs (share). Colour is the difference from the baseline: blue is "
        "better, orange worse. Differences of single tasks are not corrected for how many there "
        "are.",
        tasks,
    ),
)
