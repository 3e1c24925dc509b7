"""The report as one HTML file that loads nothing: tables, charts, questions, manifests."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.leaderboard import Board
from harness.report import payload
from harness.report.charts import CHARTS
from harness.report.charts_style import config
from harness.report.data import ReportData, board_data
from harness.report.summary import provenance, summary
from harness.store import write_bytes

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("dom.js", "board.js", "charts.js", "questions.js", "page.js")
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""All of the charts' library that the page's own script calls."""


@dataclass(frozen=True)
class View:
    """A section of the page.

    Attributes:
        id: of its element, and of the link to it.
        short: its name in the navigation.
        title: its heading.
        lead: a sentence below the heading.
        charts: names of its charts.
        numbers: which table of `payload.numbers` lies below; "" for none.
        numbers_title: what opens that table.
    """

    id: str
    short: str
    title: str
    lead: str
    charts: tuple[str, ...] = ()
    numbers: str = ""
    numbers_title: str = ""


VIEWS = (
    View(
        "leaderboard",
        "Leaderboard",
        "Leaderboard",
        "How well the solvers do after training. Sort by any column.",
        ("leaderboard",),
    ),
    View(
        "diversity",
        "Diversity",
        "Diversity over iterations",
        "How different the generated questions are, in words, in meaning and in what it takes to "
        "solve them, and beside it whether they are still sound.",
        ("diversity",),
        "diversity",
        "Any diversity metric as a table",
    ),
    View(
        "tradeoffs",
        "Trade-offs",
        "Accuracy against diversity and compute",
        "Whether diversity pays, and what it costs.",
        ("accuracy_vs_diversity", "accuracy_vs_compute"),
        "matched",
        "Accuracy at equal compute",
    ),
    View(
        "tasks",
        "Tasks",
        "Task by task",
        "The mean over tasks hides where a method gains and where it loses.",
        ("tasks",),
        "tasks",
        "Every task's accuracy as a table",
    ),
    View(
        "questions",
        "Questions",
        "Generated questions",
        "What the proposers asked. The label is the solvers' majority answer, on which they are "
        "trained; the true answer is known where a checker can read the question.",
    ),
    View("runs", "Runs", "Every run's manifest", "What was run, with what, and how to repeat it."),
)


def write_page(board: Board, path: Path, level: float = 0.95) -> None:
    """Write a table's report as an HTML file; the same runs give the same bytes.

    Args:
        board: one of `harness.leaderboard.prepare`.
        path: the file to write.
        level: confidence level of all intervals, as in the board.

    Raises:
        HarnessError: a file can't be read or written.
    """
    write_bytes(path, page_bytes(board_data(board, level)))


def page_bytes(data: ReportData) -> bytes:
    """The page as UTF-8."""
    # A lone surrogate in a name has no place in UTF-8.
    return render(data).encode("utf-8", "backslashreplace")


def render(data: ReportData) -> str:
    """The page as text."""
    themes, colours = _themes()
    style = (_ASSETS / "page.css").read_text(encoding="utf-8") + colours
    own = "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    scripts = [_library(), f'(() => {{\n"use strict";\n{own}}})();\n']
    specs = _specifications(data)
    blocks = {
        "data-board": payload.board(data),
        "data-numbers": payload.numbers(data),
        "data-theme": themes,
        "data-questions": payload.questions(data),
        "data-manifests": payload.manifests(data),
        **{f"chart-{name}": spec for name, spec in specs.items()},
    }
    titles = {c.name: {"name": c.name, "title": c.title, "caption": c.caption} for c in CHARTS}
    views = [
        {**vars(view), "charts": [titles[name] for name in view.charts if name in specs]}
        for view in VIEWS
    ]
    missing = data.missing.to_dict("records")
    percent = f"{100 * data.level:g} %"
    return str(
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=data.title,
            policy=policy(scripts, style),
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            blocks=[{"id": k, "json": Markup(payload.to_json(v))} for k, v in blocks.items()],
            views=views,
            missing=missing,
            summary=summary(data),
            provenance=provenance(data),
            baseline=data.baseline,
            percent=percent,
            alpha=f"{1 - data.level:.3g}",
            alpha_percent=f"{100 * (1 - data.level):.3g} %",
        )
    )


def policy(scripts: list[str], style: str) -> str:
    """The content-security policy: these scripts and this style alone, and nothing from outside.

    Texts in the page can't become scripts, and what runs can't fetch, embed or submit anything.
    """
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, in a scope of their own."""
    import vl_convert  # here, since it takes a second to load

    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")
    return f"(() => {{\n{bundle}\n}})();\n"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _themes() -> tuple[dict[str, Any], str]:
    """The charts' configuration with a CSS variable for each colour that a theme changes.

    A chart then follows the theme, and the paper, without being drawn again.
    """
    colours: dict[tuple[str, str], str] = {}

    def joined(light: Any, dark: Any) -> Any:
        if isinstance(light, dict):
            return {key: joined(value, dark[key]) for key, value in light.items()}
        if light == dark:
            return light
        name = colours.setdefault((light, dark), f"--chart-{len(colours)}")
        return f"var({name})"

    themed = joined(config("light"), config("dark"))

    def rule(which: int) -> str:
        values = "".join(f"{name}:{pair[which]};" for pair, name in colours.items())
        return f":root{{{values}}}"

    dark = f"@media screen and (prefers-color-scheme:dark){{{rule(1)}}}"
    return themed, f"{rule(0)}\n{dark}\n"


def _specifications(data: ReportData) -> dict[str, dict[str, Any]]:
    """The charts that have something to show, by name."""
    made = {}
    for chart in CHARTS:
        drawn = chart.draw(data)
        if drawn is not None:
            made[chart.name] = drawn.to_dict()
    return made
