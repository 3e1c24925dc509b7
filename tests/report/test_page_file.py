"""The page as a file: its data, its policy, its size, and the command that writes it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_folders import write_run

from harness import leaderboard as boards
from harness.cli import main
from harness.leaderboard import BASE
from harness.report import ReportData, page_bytes, payload, report_data
from harness.report.charts import CHARTS
from harness.report.manifests import command, distinct
from harness.report.page import VIEWS
from harness.report.summary import finding, sampling, summary

SAMPLED, GREEDY = "solver/macro/sampled", "solver/macro/greedy"


def block(page: str, name: str) -> Any:
    """The data of one of the page's JSON blocks."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def small(root: Path, values: dict[str, list[float]], baseline: str | None = "rzero") -> ReportData:
    """A report of runs with the given sampled accuracies, by method."""
    for method, runs in values.items():
        for seed, value in enumerate(runs):
            metrics = {SAMPLED: value, "solver/ladder/sampled": value}
            write_run(root, method, seed, {**metrics, "diversity/semantic/vendi": 5.0 + seed})
    return report_data(boards.collect(boards.find_runs(root)), baseline)


@pytest.fixture(scope="module")
def page(published: ReportData) -> str:
    return page_bytes(published).decode()


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "]]>&amp;",
        "\u2028\u2029\x00\x7f\x85",
        "\ud800 alone",
        "\"quotes\" \\ and 'more'",
        "汉字 ∑ 𝔸",
    ],
)
def test_json_ends_no_element_and_comes_back(text: str) -> None:
    written = payload.to_json({text: [text]})
    assert not set(written) & set("<>&\u2028\u2029\x7f\x85")
    written.encode()  # no lone surrogate is left
    assert json.loads(written) == {text: [text]}


def test_json_knows_no_nan_and_rounds_to_six_digits() -> None:
    values = [math.nan, math.inf, None, pd.NA, 1 / 3, np.float64(2e-9), np.int64(3), np.True_, 7]
    assert json.loads(payload.to_json(values)) == [
        *(None, None, None, None, 0.333333, 2e-9, 3, True, 7)
    ]


def test_the_policy_allows_its_own_scripts_and_style_alone(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(r.strip().split(" ", 1) for r in policy[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    for texts, rule in ((scripts, "script-src"), (styles, "style-src")):
        hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert rules[rule].split() == [f"'sha256-{h}'" for h in hashes]
    assert len(scripts) == 2
    assert page.count("<script") == len(re.findall(r"</script>", page))


def test_nothing_refers_to_the_outside(page: str) -> None:
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', markup) == []
    assert re.search(r"\son\w+=|\sstyle=", markup) is None


def test_every_chart_has_its_place(page: str) -> None:
    assert {name for view in VIEWS for name in view.charts} == {chart.name for chart in CHARTS}
    for chart in CHARTS:
        assert block(page, f"chart-{chart.name}")["$schema"].startswith("https://vega.github.io/")
        assert page.count(f'data-chart="{chart.name}"') == 1


def test_the_same_runs_give_the_same_bytes(page: str, published: ReportData) -> None:
    assert page_bytes(published).decode() == page


def test_the_board_of_the_page_is_the_board(page: str, published: ReportData) -> None:
    board = block(page, "data-board")
    assert board["methods"] == [*published.methods, BASE]
    frame = published.board[published.board["iteration"] == "final"]
    known = {(r["metric"], r["method"]): r for r in frame.to_dict("records")}
    names = [m["name"] for m in board["metrics"]]
    assert names[:2] == [SAMPLED, GREEDY]
    assert "solver/ladder/truncated" not in names
    assert len(names) == len(set(names)) > 20
    for metric in board["metrics"]:
        for method, cells in zip(board["methods"], metric["cells"], strict=True):
            row = known.get((metric["name"], method))
            assert (cells is None) == (row is None)
            for name, value in zip(board["columns"], cells or [], strict=bool(cells)):
                expected = row[name] if row is not None else None
                if isinstance(expected, float):
                    assert value == (
                        None if math.isnan(expected) else pytest.approx(expected, 1e-5)
                    )
                else:
                    assert value == expected


def test_every_manifest_is_put_together_again(page: str, published: ReportData) -> None:
    stated = block(page, "data-manifests")
    assert len(stated["runs"]) == len(published.manifests)
    for i, original in enumerate(published.manifests):
        fields = {
            name: field["values"][field["where"][i]] for name, field in stated["fields"].items()
        }
        assert {k: v for k, v in fields.items() if v != stated["absent"]} == original["manifest"]
    assert len(stated["fields"]["config"]["values"]) == 1


def test_distinct_tells_values_from_their_look_alikes() -> None:
    found, where = distinct([1, True, "1", 1, {"b": 1, "a": 2}, {"a": 2, "b": 1}, None])
    assert [type(v) for v in found] == [int, bool, str, dict, type(None)]
    assert where == [0, 1, 2, 0, 3, 3, 4]


def test_the_command_that_repeats_a_run() -> None:
    manifest = {
        "method": "window:low=0.3,high=0.7; rm -rf /",
        "profile": "ladder-smoke",
        "seed": 7,
        "plugin_hash": "ab",
        "passed": ["solver.lr", "model.path"],
        "config": {"solver": {"lr": 1e-4}, "model": {"path": "a b"}},
    }
    assert command(manifest) == (
        "python -m harness run --method 'window:low=0.3,high=0.7; rm -rf /' --profile ladder "
        "--smoke --seeds 7, --plugin FILE.py --set solver.lr=0.0001 --set 'model.path=\"a b\"'"
    )


def test_the_finding_claims_no_more_than_the_tests(tmp_path: Path) -> None:
    same = small(tmp_path / "a", {"rzero": [0.5, 0.52, 0.54], "other": [0.51, 0.53, 0.55]})
    assert "by other (95 % interval over runs: 0." in finding(same)
    assert "Of 1 methods compared with rzero, none differs at p < 0.05" in finding(same)
    better = small(tmp_path / "b", {"rzero": [0.5, 0.51, 0.52], "other": [0.9, 0.91, 0.92]})
    assert "1 did better and 0 worse" in finding(better)
    single = small(tmp_path / "c", {"rzero": [0.5], "other": [0.6]})
    assert finding(single).endswith("No difference was tested.")
    assert "interval" not in finding(single)
    alone = small(tmp_path / "d", {"rzero": [0.5]}, baseline=None)
    assert summary(alone)["sentence"].startswith("The highest mean sampled accuracy is 0.500")


def test_the_sample_says_how_many_of_how_many(published: ReportData) -> None:
    sample = published.questions
    text = sampling(sample)
    assert text.startswith(f"{len(sample.frame):,} of {sample.generated:,} generated questions")
    assert "hashing embedder, which ignores numbers" in text


def test_hostile_names_are_escaped_in_the_markup(tmp_path: Path) -> None:
    name = "<b>{{7*7}}</b>"
    write_run(tmp_path, "rzero", 0, {SAMPLED: 0.5}, base_model="<i>x</i>")
    write_run(tmp_path, name, 0, {SAMPLED: 0.9}, name="x", base_model="<i>x</i>")
    write_run(tmp_path, name, 1, None, name="y", status=None, base_model="<i>x</i>")
    data = report_data(boards.collect(boards.find_runs(tmp_path)), "rzero")
    page = page_bytes(data).decode()
    assert "<b>{{" not in page
    assert "<i>" not in page
    assert page.count("&lt;b&gt;{{7*7}}&lt;/b&gt;") >= 2  # the finding and the missing run
    assert name in block(page, "data-board")["methods"]


@pytest.fixture
def two_profiles(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    for profile in ("ladder", "other"):
        for seed in (0, 1):
            folder = f"{profile}{seed}"
            write_run(runs, "rzero", seed, {SAMPLED: 0.5}, name=folder, profile=profile)
    return runs


def test_the_command_writes_a_page_for_each_table(
    two_profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["report", "--runs", str(two_profiles), "--out", str(out), "--baseline", "rzero"]
    assert main(arguments) == 0
    written = sorted(p.name for p in out.iterdir())
    assert written == ["ladder-ladder.html", "ladder-other.html"]
    assert capsys.readouterr().out.count("written:") == 2
    assert main([*arguments[:4], str(tmp_path / "one.html"), "--baseline", "rzero"]) == 2
    assert "these runs make 2 pages (ladder-ladder, ladder-other); give a folder" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "one.html").exists()


def test_an_unreadable_run_leaves_older_pages_as_they_were(
    two_profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ladder-ladder.html").write_text("older")
    bad = two_profiles / "other1" / "iterations" / "01" / "questions.parquet"
    bad.write_bytes(b"PAR1")
    assert main(["report", "--runs", str(two_profiles), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert str(bad) in message
    assert message.count("\n") == 1
    assert [p.read_text() for p in out.iterdir()] == ["older"]


def test_no_runs_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--runs", str(tmp_path / "none")]) == 2
    message = capsys.readouterr().err
    assert "no run folders here; give --runs DIR or --results DIR" in message
    assert message.count("\n") == 1
