"""Figures and tables for papers: every chart as SVG and PDF, the tables as LaTeX.

Charts are drawn twice, for both columns of a page (6.75 inches) and for one (3.25 inches), on
white, at the size in which they are printed; no text is smaller than 7 points.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import vl_convert

from harness.errors import HarnessError
from harness.leaderboard import BASE
from harness.report import charts_frames as frames
from harness.report import latex
from harness.report.charts import CHARTS, DOUBLE, SINGLE, Chart, Size, config
from harness.report.charts_curves import proposer
from harness.report.data import ReportData
from harness.store import write_bytes

FIGURES = (
    *CHARTS,
    Chart(
        "proposer",
        "What the proposer asks",
        "Functional diversity, the share of well-posed questions and the share of correct "
        "pseudo-labels over the iterations. A thin line is a run, a thick one a method's mean.",
        proposer,
    ),
)
"""The page's charts, and one that is for papers only."""
_EXTENT = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
_NUMBERED = re.compile(r'(\bid="|url\(#|href="#)((?:gradient_|clip)\d+)')
_SMALLEST = 7.0
"""Points: smaller text isn't readable in print."""
_SIZES = {"": DOUBLE, "-column": SINGLE}
"""What a file's name ends in."""


def write_figures(
    data: ReportData, directory: Path, methods: Sequence[str] | None = None
) -> list[Path]:
    """Write every chart and table that has something to show, and a ``README.txt``.

    Nothing is written unless all of it could be made; each file is replaced atomically. A chart
    that one column can't hold is made for both only. Equal data and fonts give equal SVGs.

    Args:
        data: what is shown.
        directory: made if it isn't there; other files in it stay.
        methods: draw these only, whatever others were compared; None for all. Differences remain
            those from the baseline, p-values and ranks those among all methods.

    Returns:
        The files written, sorted by name.

    Raises:
        HarnessError: an unknown method, or the folder can't be written.
    """
    if methods is not None:
        data = only(data, methods)
    files: dict[str, bytes] = {}
    drawn = []
    for figure in FIGURES:
        names = []
        for ending, size in _SIZES.items():
            specification = _specification(figure, data, size)
            if specification is None:
                continue
            picture, scale = _fitted(specification, size)
            if scale < _SMALLEST / config("print", size.font)["axis"]["labelFontSize"]:
                continue  # more columns than it can hold
            name = figure.name + ending
            # In a PDF a length without a unit is a point, in a browser a 96th of an inch.
            files[f"{name}.pdf"] = vl_convert.svg_to_pdf(picture)
            files[f"{name}.svg"] = _EXTENT.sub(r'width="\1pt" height="\2pt"', picture, 1).encode()
            names.append(name)
        if names:
            drawn.append((figure, names))
    tables = latex.tables(data)
    files |= {f"{name}.tex": text.encode() for name, text in tables.items()}
    files["README.txt"] = _readme(data, drawn, sorted(tables)).encode()
    written = [directory / name for name in sorted(files)]
    for path in written:
        write_bytes(path, files[path.name])
    return written


def only(data: ReportData, methods: Sequence[str]) -> ReportData:
    """The data of some methods, and of the base model.

    Raises:
        HarnessError: a method isn't in the table.
    """
    known = frames.standing(data)["method"].tolist()
    for method in methods:
        if method not in known:
            near = difflib.get_close_matches(method, known, n=1, cutoff=0.0)
            raise HarnessError(
                f"--methods: no run of {method!r} in {data.title}; nearest: {', '.join(near)}"
            )
    kept = [*methods, BASE]
    return replace(
        data,
        **{
            name: frame[frame["method"].isin(kept)]
            for name in ("board", "runs", "matched", "trajectory", "missing")
            for frame in [getattr(data, name)]
        },
    )


def _specification(figure: Chart, data: ReportData, size: Size) -> dict[str, Any] | None:
    chart = figure.draw(data, size)
    if chart is None:
        return None
    specification: dict[str, Any] = chart.to_dict()
    return {**specification, "config": config("print", size.font)}


def _fitted(specification: dict[str, Any], size: Size) -> tuple[str, float]:
    """The SVG, made smaller where it is wider than its column, and by how much.

    Widths of names are known only when they are drawn.
    """
    picture = _renumbered(vl_convert.vegalite_to_svg(specification))
    found = _EXTENT.search(picture)
    if found is None:
        raise RuntimeError("vl-convert wrote an SVG without width and height")
    width, height = float(found[1]), float(found[2])
    scale = min(1.0, size.width / width)
    extent = f'width="{scale * width:.6g}" height="{scale * height:.6g}"'
    return _EXTENT.sub(extent, picture, 1), scale


def _renumbered(picture: str) -> str:
    """Ids counted within the picture: Vega goes on counting from one picture to the next."""
    new: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        return found[1] + new.setdefault(found[2], f"part{len(new)}")

    return _NUMBERED.sub(name, picture)


def _readme(
    data: ReportData, drawn: Sequence[tuple[Chart, Sequence[str]]], tables: Sequence[str]
) -> str:
    """What each file shows, and what it was made from."""
    parts = [f"Figures and tables: {data.title}", ""]
    for figure, names in drawn:
        parts += [", ".join(f"{name}.svg, {name}.pdf" for name in names)]
        parts += [f"  {figure.title}. {figure.caption}", ""]
    if tables:
        parts += [", ".join(f"{name}.tex" for name in tables)]
        parts += ["  LaTeX tables; need \\usepackage{booktabs}. Shares in percent.", ""]
    parts += [
        "NAME is as wide as both columns of a page (6.75 in), NAME-column as one (3.25 in).",
        "",
        "Provenance",
        *(f"  {name}: {value}" for name, value in _provenance(data).items()),
    ]
    return "\n".join(parts) + "\n"


def _provenance(data: ReportData) -> dict[str, str]:
    board = data.board[data.board["method"] != BASE]
    last = board[board["iteration"] == frames.FINAL]
    runs = [f"{row['method']} ({row['status']})" for row in _once(last)]
    hashes = ("config_hash", "base_model_hash", "data_hash", "prompt_hash", "engine")
    return {
        "suite": data.suite,
        "profile": data.profile,
        **({"part": data.split} if data.split else {}),
        "base model": data.base_model,
        "baseline": data.baseline or "none",
        "intervals": f"{100 * data.level:g} %",
        "runs": "; ".join(runs),
        **{name: ", ".join(sorted({str(v) for v in board[name]})) for name in hashes},
    }


def _once(last: Any) -> list[dict[str, Any]]:
    """A row per method, by name."""
    rows: list[dict[str, Any]] = last.drop_duplicates("method").to_dict("records")
    return sorted(rows, key=lambda row: str(row["method"]))
