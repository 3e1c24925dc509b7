"""A report's numbers as JSON for the page: no NaN, few digits, safe inside a ``<script>``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable
from typing import Any

import pandas as pd

from harness.leaderboard import BASE, describe
from harness.leaderboard.cells import FINAL, FIRST, diversity_metric
from harness.report import charts_frames
from harness.report.charts_style import Marks
from harness.report.data import HEADLINES, ReportData
from harness.report.manifests import distinct

_CELLS = (
    "mean",
    "ci_low",
    "ci_high",
    "diff",
    "diff_ci_low",
    "diff_ci_high",
    "new_ci_low",
    "new_ci_high",
    "diff_new_ci_low",
    "diff_new_ci_high",
    "p_holm",
    "rank",
    "rank_low",
    "rank_high",
    "tie_group",
    "p_improvement",
    "n_seeds",
)
"""What the page is told of a method's metric, in this order."""
_UNSAFE = re.compile("[<>&\u2028\u2029\x7f-\x9f\ud800-\udfff]")
_GROUPS = (
    ("solver/macro/", "Accuracy, mean over tasks"),
    ("solver/", "Accuracy by task"),
    ("diversity/", "Diversity of valid questions"),
    ("diversity_wellposed/", "Diversity of well-posed questions"),
    ("", "Proposer and curriculum"),
)
_SIDE = ("proposer/well_posed", "curriculum/label_accuracy")
"""Shown beside every diversity metric: noise is diverse, too."""
_SYMBOLS = {
    "circle": "M-5,0A5,5,0,1,0,5,0A5,5,0,1,0,-5,0Z",
    "square": "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "triangle-up": "M0,-5L5.5,4.5H-5.5Z",
    "diamond": "M0,-6L6,0L0,6L-6,0Z",
    "triangle-down": "M0,5L5.5,-4.5H-5.5Z",
    "cross": "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "triangle-right": "M5,0L-4.5,5.5V-5.5Z",
}
_COMPUTE = {"tokens": "generated tokens", "flops": "FLOPs", "seconds": "seconds of training"}
_LEFT_OUT = ("truncated", "no_answer", "timeout", "fallback")


def to_json(value: Any) -> str:
    """JSON that ends no script element and starts no comment, whatever texts it holds."""
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    """The same in what JSON knows: numbers with 6 digits, None for what is no finite number."""
    if value is None or value is pd.NA or isinstance(value, str | bool):
        return None if value is pd.NA else value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):  # numpy's scalars
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if isinstance(value, int | bool) else str(value)


def board(data: ReportData) -> dict[str, Any]:
    """The leaderboard by metric and method.

    Returns:
        ``methods`` (the base model last), ``metrics`` (name, label, group, unit, better, primary,
        and `cells`, `seeds` and `first`: for each method the values named in ``columns``, the
        runs' values, and the mean after iteration 1), ``status`` by method, and which metrics the
        page puts beside the chosen one.
    """
    methods = [*data.methods]
    final = data.board[data.board["iteration"] == FINAL]
    first = data.board[data.board["iteration"] == FIRST]
    if (final["method"] == BASE).any() and BASE not in methods:
        methods.append(BASE)
    cells = {key: _cells(row) for key, row in _by_metric(final).items()}
    starts = {key: row["mean"] for key, row in _by_metric(first).items()}
    seeds = _last_values(data.runs)
    marks = charts_frames.marks(data)
    metrics = []
    for name in _shown(final["metric"]):
        metrics.append(
            {
                **_described(name),
                "cells": [cells.get((name, m)) for m in methods],
                "seeds": [seeds.get((name, m), []) for m in methods],
                "first": [starts.get((name, m)) for m in methods],
            }
        )
    return {
        "methods": methods,
        "baseline": data.baseline,
        "base": BASE if BASE in methods else None,
        "level": data.level,
        "columns": list(_CELLS),
        "metrics": metrics,
        "headline": data.headline or diversity_metric(data.board),
        "diversity": diversity_metric(data.board),
        "side": [name for name in _SIDE if (final["metric"] == name).any()],
        "status": _statuses(data),
        "looks": {m: _look(marks, m) for m in data.methods},
    }


def _look(marks: Marks, method: str) -> dict[str, str]:
    """Colour and shape of a method's symbol in the charts, as an SVG path around 0."""
    return {"colour": marks.colour(method), "path": _SYMBOLS[marks.shape(method)]}


def _by_metric(frame: pd.DataFrame) -> dict[tuple[str, str], dict[Hashable, Any]]:
    return {(str(r["metric"]), str(r["method"])): r for r in frame.to_dict("records")}


def _cells(row: dict[Hashable, Any]) -> list[Any]:
    return [value if (value := row.get(name)) != "" else None for name in _CELLS]


def _shown(names: Iterable[str]) -> list[str]:
    """The metrics to choose from: those with a direction, without groups within tasks."""
    kept = []
    for name in dict.fromkeys(names):
        parts = name.split("/")
        left_out = parts[-1] in _LEFT_OUT or (parts[0] == "solver" and len(parts) != 3)
        if not left_out and describe(name).better:
            kept.append(name)
    return sorted(kept, key=lambda n: (_place(n), not describe(n).primary, _order(n)))


def _place(name: str) -> int:
    return next(i for i, (prefix, _) in enumerate(_GROUPS) if name.startswith(prefix))


def _order(name: str) -> tuple[int, str]:
    return (HEADLINES.index(name) if name in HEADLINES else len(HEADLINES), name)


def _described(name: str) -> dict[str, Any]:
    metric = describe(name)
    return {
        "name": name,
        "label": label(name),
        "group": _GROUPS[_place(name)][1],
        "unit": metric.unit,
        "better": metric.better,
        "primary": metric.primary,
    }


def label(name: str) -> str:
    """A metric's name for people."""
    parts = name.split("/")
    if name.startswith("solver/macro/"):
        return f"{parts[-1]} accuracy"
    if parts[0] == "solver":
        return f"{'/'.join(parts[1:-1])}, {parts[-1]}"
    words = " ".join(parts[1:]).replace("_", " ")
    if parts[0] in ("diversity", "diversity_wellposed") and len(parts) > 2:
        return f"{words.split(' ', 1)[1]} ({parts[1]})"
    return f"{parts[0]}: {words}"


def _last_values(runs: pd.DataFrame) -> dict[tuple[str, str], list[float]]:
    """Every run's last value of each metric, by metric and method, in the order of the seeds."""
    trained = runs[runs["iteration"] > 0]
    last = trained.groupby(["method", "seed"])["iteration"].transform("max")
    ends = trained[trained["iteration"] == last].dropna(subset=["value"])
    ends = ends[ends["metric"].isin(_shown(ends["metric"].unique()))].sort_values("seed")
    grouped = ends.groupby(["metric", "method"], sort=False)["value"]
    return {(str(k[0]), str(k[1])): [float(v) for v in g] for k, g in grouped}


def _statuses(data: ReportData) -> dict[str, str]:
    frame = data.board.drop_duplicates("method")
    return dict(zip(frame["method"], frame["status"], strict=True))


def numbers(data: ReportData) -> dict[str, Any]:
    """The tables under the charts: each a list of parts to choose from.

    A part has a label, columns, and rows of a method's name and its cells: a number, a list of
    mean and interval, or None.
    """
    return {
        "diversity": _diversity_parts(data),
        "matched": _matched_parts(data),
        "tasks": _task_parts(data),
    }


def _diversity_parts(data: ReportData) -> list[dict[str, Any]]:
    trained = data.runs[data.runs["iteration"] > 0]
    names = [n for n in _shown(trained["metric"].unique()) if not n.startswith("solver/")]
    means = trained.groupby(["metric", "method", "iteration"])["value"].mean()
    iterations = sorted(trained["iteration"].unique())
    return [
        {
            "label": label(name),
            "group": _GROUPS[_place(name)][1],
            "columns": [f"iteration {t}" for t in iterations],
            "rows": [[m, *(means.get((name, m, t)) for t in iterations)] for m in data.methods],
        }
        for name in names
    ]


def _task_parts(data: ReportData) -> list[dict[str, Any]]:
    final = _by_metric(data.board[data.board["iteration"] == FINAL])
    names = {m for m, _ in final if m.startswith("solver/") and m in set(_shown([m]))}
    methods = dict.fromkeys([*data.methods, *(m for _, m in final)])
    parts = []
    for mode in dict.fromkeys(n.rsplit("/", 1)[1] for n in sorted(names, key=_order)):
        tasks = sorted(n for n in names if n.endswith(f"/{mode}") and "/macro/" not in n)
        rows = []
        for method in methods:
            found = [final.get((task, method), {}) for task in tasks]
            rows.append([method, *([r.get(c) for c in _CELLS[:3]] if r else None for r in found)])
        parts.append({"label": mode, "columns": [t.split("/")[1] for t in tasks], "rows": rows})
    return parts


def _matched_parts(data: ReportData) -> list[dict[str, Any]]:
    """Accuracy at equal compute: a part for each kind of compute, budget and metric."""
    parts = []
    found = data.matched.groupby(["metric", "by", "at", "budget"], sort=False)
    for key, part in sorted(found, key=lambda item: _order(str(item[0][0]))):
        metric, by, at, budget = map(str, key)
        rows = [
            [
                r["method"],
                [r["mean"], r["ci_low"], r["ci_high"]],
                [r["diff"], r["diff_ci_low"], r["diff_ci_high"]],
                r["p_holm"],
                f"{r['n_seeds']}" + (" *" if r["interpolated"] else ""),
            ]
            for r in part.to_dict("records")
        ]
        name = _COMPUTE[by]
        amount = "the most that every run reaches" if at == "common" else at
        parts.append(
            {
                "label": f"{_amount(float(budget))} {name} ({amount})",
                "group": f"{label(metric)}, at equal {name}",
                "columns": ["accuracy", "difference", "p (Holm)", "runs"],
                "rows": rows,
                "note": _matched_note(part),
            }
        )
    return parts


def _amount(value: float) -> str:
    """Three digits, for people."""
    for size, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:.3g}{name}"
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _matched_note(part: pd.DataFrame) -> str:
    """What the numbers at a budget rest on."""
    notes = []
    span = int(part["span"].max()) if len(part) else 0
    if part["interpolated"].any():
        between = f"{span} iterations apart" if span > 1 else "an iteration apart"
        notes.append(f"* Read off a straight line between two evaluations up to {between}.")
    if span > 1:
        notes.append("Over such a distance no difference has an interval or a test.")
    if part["beyond"].any():
        notes.append("A method of which a run ended before has no number here.")
    if part["estimated"].any():
        notes.append("Seconds were recorded for whole runs and spread by FLOPs.")
    return " ".join(notes)


def questions(data: ReportData) -> dict[str, Any]:
    """The sampled questions by column; methods and the other repeated texts are named once."""
    frame = data.questions.frame
    columns: dict[str, Any] = {name: list(frame[name]) for name in frame.columns}
    texts, where = distinct([*columns["question"], *columns["nearest"]])
    columns["question"], columns["nearest"] = where[: len(frame)], where[len(frame) :]
    named, columns["method"] = distinct(columns["method"])
    return {
        "columns": columns,
        "texts": texts,
        "methods": named,
        "rows": len(frame),
        "kept": data.questions.kept,
        "generated": data.questions.generated,
    }


def manifests(data: ReportData) -> dict[str, Any]:
    """Every run's records, each different value of a manifest's field stated once."""
    fields: dict[str, Any] = {}
    names = dict.fromkeys(name for m in data.manifests for name in m["manifest"])
    for name in names:
        values, where = distinct([m["manifest"].get(name, _ABSENT) for m in data.manifests])
        fields[name] = {"values": values, "where": where}
    runs = [{k: v for k, v in m.items() if k != "manifest"} for m in data.manifests]
    return {"fields": fields, "runs": runs, "absent": _ABSENT}


_ABSENT = "\x00absent"
"""Stands for a field that a run's manifest hasn't got."""
