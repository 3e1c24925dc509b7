"""Charts as specifications and as drawn: what is in them, what isn't, and hostile names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import vl_convert

from benchmarks.synthetic import Size as Runs
from benchmarks.synthetic import write_runs
from harness.leaderboard import collect
from harness.report import charts_frames as frames
from harness.report.charts import CHARTS, PAGE, config
from harness.report.charts_curves import proposer
from harness.report.charts_style import COLOURS, DASHES, Marks
from harness.report.data import ReportData, report_data

HOSTILE = "'];alert(1)//\"}</script><b>${x}\\"
NAMES = ("rzero", HOSTILE, "third", "fourth")
DRAW = {chart.name: chart.draw for chart in CHARTS}
EXPRESSIONS = {"filter", "calculate", "test", "expr", "labelExpr", "update", "signal"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Four methods with three seeds: one run failed early, one exhausted, one diverged."""
    runs = Runs(methods=4, seeds=3, iterations=3, questions=2, items=0.02, named=NAMES)
    return report_data(collect(write_runs(tmp_path_factory.mktemp("runs"), runs)), "rzero")


def specification(data: ReportData, name: str) -> dict[str, Any]:
    chart = DRAW[name](data)
    assert chart is not None
    spec: dict[str, Any] = chart.to_dict()
    return spec


def svg(spec: dict[str, Any], theme: Any = "print") -> ElementTree.Element:
    return ElementTree.fromstring(vl_convert.vegalite_to_svg({**spec, "config": config(theme)}))


def texts(picture: ElementTree.Element) -> list[str]:
    return ["".join(e.itertext()) for e in picture.iter("{http://www.w3.org/2000/svg}text")]


def items(picture: ElementTree.Element, mark: str) -> int:
    """How many items the mark group of this name has."""
    groups = [g for g in picture.iter() if mark in g.get("class", "").split()]
    assert len(groups) == 1, mark
    return len(list(groups[0]))


def walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    yield key, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, key)


@pytest.mark.parametrize("name", DRAW)
def test_a_specification_stands_alone(data: ReportData, name: str) -> None:
    spec = specification(data, name)
    assert {"name": "shown", "value": None} in spec["params"]
    assert not [v for key, v in walk(spec) if key == "url"]
    named = {v["name"] for key, v in walk(spec) if key == "data" and isinstance(v, dict) and v}
    assert named <= set(spec["datasets"])
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    assert "config" not in spec or spec["config"].keys() <= {"view"}


@pytest.mark.parametrize("name", DRAW)
def test_names_are_data_and_never_part_of_an_expression(data: ReportData, name: str) -> None:
    spec = specification(data, name)
    drawn = {k: v for k, v in spec.items() if k != "datasets"}
    found = [v for key, v in walk(drawn) if key in EXPRESSIONS and isinstance(v, str)]
    assert found
    assert not [v for v in found if "alert" in v or "third" in v]
    assert HOSTILE in texts(svg(spec))


@pytest.mark.parametrize("name", DRAW)
def test_only_methods_shown_are_drawn(data: ReportData, name: str) -> None:
    spec = specification(data, name)
    shown = next(p for p in spec["params"] if p["name"] == "shown")
    shown["value"] = ["third", HOSTILE]
    there = set(texts(svg(spec)))
    assert {"third", HOSTILE} <= there
    assert not {"fourth", "rzero"} & there


@pytest.mark.parametrize("name", DRAW)
def test_what_a_mark_shows_is_in_its_tooltip(data: ReportData, name: str) -> None:
    spec = specification(data, name)
    layers = [v for _, v in walk(spec) if isinstance(v, dict) and "mark" in v]
    for layer in layers:
        mark, encoding = layer["mark"], layer["encoding"]
        legend = encoding.get("y", {}).get("field") == "row"
        if legend or mark["type"] == "text" or mark.get("style") == "zero":
            continue
        shown = {t["field"] for t in _listed(encoding["tooltip"])}
        for channel in ("x", "y", "x2", "y2", "color", "shape"):
            field = encoding.get(channel, {}).get("field")
            if field is not None and mark["type"] != "line":
                assert field in shown | {"column", "order"}, (mark, channel)


def _listed(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]


def test_every_run_is_a_dot_and_every_method_a_row(data: ReportData) -> None:
    picture = svg(specification(data, "leaderboard"))
    assert items(picture, "runs_0_marks") == 11  # twelve runs, one of which measured nothing
    written = texts(picture)
    assert set(NAMES) <= set(written)
    assert "base model" in written
    assert "2 + 1 failed" in written
    assert "1 + 2 others" in written
    assert {"completed", "exhausted", "diverged"} <= set(written)


def test_runs_and_means_of_the_curves(data: ReportData) -> None:
    spec = specification(data, "diversity")
    runs = pd.DataFrame(spec["datasets"]["runs"])
    assert runs.groupby("method")["seed"].nunique().to_dict() == {
        **dict.fromkeys(NAMES, 3),
        "third": 2,
    }
    means = pd.DataFrame(spec["datasets"]["means"]).set_index(["method", "iteration"])
    expected = runs[(runs["method"] == "rzero") & (runs["iteration"] == 2)]["m0"].mean()
    assert means.loc[("rzero", 2), "m0"] == pytest.approx(expected, rel=1e-4)
    assert means.loc[("rzero", 2), "n0"] == 3
    assert means.loc[("fourth", 3), "n0"] == 2  # one diverged after two iterations
    assert {
        tuple(v["axis"]["values"]) for key, v in walk(spec) if key == "x" and v.get("axis")
    } == {(1, 2, 3)}
    titles = {v["title"] for key, v in walk(spec) if key == "y" and v.get("title")}
    assert titles == {
        "self-BLEU (lower: more diverse)",
        "Vendi score (texts)",
        "topic entropy (nats)",
        "well-posed questions (share)",
        "correct pseudo-labels (share)",
    }


def test_what_is_unknown_is_a_gap_and_not_zero(data: ReportData) -> None:
    gone = (data.runs["metric"] == frames.SELF_BLEU) & (data.runs["iteration"] == 2)
    runs = data.runs.assign(value=data.runs["value"].mask(gone))
    spec = specification(replace(data, runs=runs), "diversity")
    for table in ("runs", "means"):
        rows = pd.DataFrame(spec["datasets"][table]).astype({"m0": float})
        assert rows.loc[rows["iteration"] == 2, "m0"].isna().all()
        assert rows.loc[rows["iteration"] == 3, "m0"].notna().all()
    lines = [
        p for g in svg(spec).iter() if "panel_0_marks" in str(g.get("class")) for p in g.iter()
    ]
    paths = [p.get("d", "") for p in lines if p.tag.endswith("path") and p.get("d")]
    assert paths
    assert not [d for d in paths if "L" in d]  # 1 and 3 aren't joined over the gap at 2
    whole = ElementTree.tostring(svg(specification(data, "diversity"))).decode()
    assert re.search(r'panel_0_marks".*?d="M[^"]*L', whole, re.DOTALL)


def test_no_interval_with_one_seed(data: ReportData) -> None:
    columns = ["ci_low", "ci_high", "diff_ci_low", "diff_ci_high"]
    board = data.board.assign(**dict.fromkeys(columns, np.nan))
    spec = specification(replace(data, board=board), "leaderboard")
    rows = spec["datasets"]["methods"]
    assert [row["ci_low"] for row in rows] == [None] * 4
    assert all(row["mean"] is not None for row in rows)
    whole, without = svg(specification(data, "leaderboard")), svg(spec)
    # An interval and a tick for each accuracy, and for each difference but the baseline's own.
    assert sum(_rectangles(whole)) == sum(_rectangles(without)) + 4 + 3


def _rectangles(picture: ElementTree.Element) -> list[int]:
    groups = [g for g in picture.iter() if g.get("class", "").startswith("mark-rect role-mark")]
    return [len(list(g)) for g in groups]


def test_a_chart_of_nothing_is_none(data: ReportData) -> None:
    def without(prefix: str) -> ReportData:
        return replace(
            data,
            board=data.board[~data.board["metric"].str.startswith(prefix)],
            runs=data.runs[~data.runs["metric"].str.startswith(prefix)],
            trajectory=data.trajectory.drop(
                columns=["solver/macro/sampled", "solver/macro/greedy"]
            ),
        )

    solver = without("solver/")
    drawn = {name: draw(solver) is not None for name, draw in DRAW.items()}
    assert drawn == {**dict.fromkeys(DRAW, False), "diversity": True}
    asked = replace(without("diversity/"), trajectory=data.trajectory)
    assert DRAW["accuracy_vs_diversity"](asked) is None
    assert DRAW["leaderboard"](asked) is not None
    nothing = replace(data, runs=data.runs.iloc[:0])
    assert DRAW["diversity"](nothing) is None
    assert proposer(nothing) is None


def test_answers_stand_for_topics_where_nobody_checks(data: ReportData) -> None:
    assert frames.families(data)[-1] == frames.TOPICS
    unchecked = replace(data, runs=data.runs[data.runs["metric"] != frames.WELL_POSED])
    assert frames.families(unchecked)[-1] == frames.ANSWERS
    assert frames.guards(unchecked) == (frames.LABELS,)


def test_a_method_has_one_colour_in_all_charts(data: ReportData) -> None:
    scales = []
    for name in DRAW:
        spec = specification(data, name)
        colours = [v for key, v in walk(spec) if key == "color" and isinstance(v, dict)]
        scales += [v["scale"] for v in colours if v.get("field") == "method"]
    assert len(scales) > 10
    assert all(scale == scales[0] for scale in scales)
    assert dict(zip(scales[0]["domain"], scales[0]["range"], strict=True))["rzero"] not in COLOURS


@pytest.mark.parametrize("n", [2, 8, 65])
def test_marks_tell_methods_apart(n: int) -> None:
    names = tuple(f"m{i}" for i in range(n))
    marks = Marks(names, "m0")
    looks = {(marks.colour(m), marks.shape(m), marks.dash(m)) for m in names}
    assert len(looks) == n
    assert len({(marks.colour(m), marks.dash(m)) for m in names[: len(COLOURS) * len(DASHES)]}) >= (
        min(n, len(COLOURS) * len(DASHES))
    )
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {marks.colour(m) for m in names[1:]} <= okabe_ito


def test_with_many_methods_some_are_in_colour(data: ReportData) -> None:
    extra = [data.board[data.board["method"] == "third"].assign(method=f"x{i}") for i in range(9)]
    worst = data.board["method"] == "rzero"
    board = data.board.assign(mean=data.board["mean"].mask(worst, 0.0))
    many = replace(data, board=pd.concat([board, *extra], ignore_index=True))
    standing = frames.standing(many)
    assert standing["head"].sum() == 8
    assert standing.set_index("method").loc["rzero", "head"]  # last, and the baseline
    assert standing["mean"].is_monotonic_decreasing
    assert "grey: 5 other methods" in texts(svg(specification(many, "diversity")))


def test_colour_of_a_cell_is_the_difference(data: ReportData) -> None:
    spec = specification(data, "tasks")
    cells = pd.DataFrame(spec["datasets"]["cells"])
    assert set(cells["method"]) == {*NAMES, "base model"}
    assert cells["task"].nunique() == 8
    known = cells[cells["method"].isin([HOSTILE, "third"])]
    row = known[(known["method"] == HOSTILE) & (known["task"] == "amc23 (sampled)")].iloc[0]
    board = data.board[(data.board["metric"] == "solver/amc23/sampled")].set_index("method")
    assert row["mean"] == pytest.approx(board.loc[HOSTILE, "mean"], rel=1e-4)
    assert row["diff"] == pytest.approx(board.loc[HOSTILE, "diff"], rel=1e-3)
    assert cells.loc[cells["method"] == "rzero", "diff"].isna().all()
    scale = next(v for key, v in walk(spec) if key == "scale" and "scheme" in v)
    assert scale["domain"][0] == -scale["domain"][1] < 0  # no difference is the middle colour


def test_compute_is_drawn_up_to_each_evaluation(data: ReportData) -> None:
    spec = specification(data, "accuracy_vs_compute")
    runs = pd.DataFrame(spec["datasets"]["runs"])
    assert set(runs["iteration"].dropna()) == {0, 2, 3}
    ends = runs["iteration"].isna()  # a row after each run, so that no line joins two of them
    assert ends.sum() == 12
    assert runs.loc[ends, ["tokens", "accuracy"]].isna().all(axis=None)
    assert (runs.loc[runs["iteration"] == 0, ["tokens", "flops"]] == 0).all(axis=None)
    matched = pd.DataFrame(spec["datasets"]["matched_tokens"])
    ends = runs[runs["iteration"] > 0]["tokens"]
    assert matched["budget"].unique() == pytest.approx([ends.min()], rel=1e-4)
    everybody = replace(data, matched=data.matched.iloc[:0])
    assert "matched_tokens" not in specification(everybody, "accuracy_vs_compute")["datasets"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes(data: ReportData, theme: Any) -> None:
    picture = svg(specification(data, "leaderboard"), theme)
    fills = {e.get("fill") for e in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert ("#E6EDF3" in fills) == (theme == "dark")
    assert config(theme)["background"] == "transparent"


def test_sizes_of_a_page(data: ReportData, tmp_path: Path) -> None:
    for name in DRAW:
        assert float(svg(specification(data, name)).get("width", "inf")) <= PAGE.width
