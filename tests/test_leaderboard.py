"""Leaderboards from small run folders on disk: numbers by hand, and every bad input's message."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from run_folders import CHECKED, GREEDY, TOPIC, VENDI, evaluation, write_run

from harness.errors import HarnessError
from harness.leaderboard import (
    COLUMNS,
    build,
    collect,
    cost,
    describe,
    find_runs,
    per_run,
    terminal_table,
    write_csv,
)
from harness.statistics import t_interval, welch


def three_methods(root: Path) -> list[Path]:
    values = {
        "rzero": [0.40, 0.42, 0.44],
        "vocab_dropout": [0.50, 0.53, 0.53],
        "static_proposer": [0.41, 0.45, 0.40],
    }
    return [
        write_run(
            root,
            method,
            seed,
            {GREEDY: value, TOPIC: 1.0 + seed / 10, CHECKED: 0.5, "curriculum/survivors": 100.0},
            first={GREEDY: 0.3, TOPIC: 2.0 + seed / 10, "curriculum/survivors": 120.0},
        )
        for method, list_ in values.items()
        for seed, value in enumerate(list_)
    ]


def row(frame: pd.DataFrame, method: str, metric: str, moment: str = "final") -> pd.Series:
    chosen = frame[
        (frame["method"] == method) & (frame["metric"] == metric) & (frame["iteration"] == moment)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_means_intervals_and_differences(tmp_path: Path) -> None:
    frame = build(collect(three_methods(tmp_path)), "rzero")
    assert tuple(frame.columns) == COLUMNS
    got = row(frame, "vocab_dropout", GREEDY)
    interval = t_interval([0.50, 0.53, 0.53])
    difference = welch([0.50, 0.53, 0.53], [0.40, 0.42, 0.44])
    assert got["mean"] == pytest.approx(0.52)
    assert (got["ci_low"], got["ci_high"]) == pytest.approx((interval.low, interval.high))
    assert got["diff"] == pytest.approx(0.10)
    assert (got["diff_ci_low"], got["diff_ci_high"]) == pytest.approx(
        (difference.low, difference.high)
    )
    assert got["p_welch"] == pytest.approx(difference.p)
    # Two comparisons in the family, and this is the smaller p.
    assert got["p_holm"] == pytest.approx(2 * (difference.p or 0))
    assert row(frame, "static_proposer", GREEDY)["p_holm"] >= got["p_holm"]
    assert (got["n_seeds"], got["seeds"]) == (3, "0;1;2")
    assert (got["unit"], got["better"], got["baseline"]) == ("share", "higher", "rzero")
    assert got["status"] == "completed:3"
    assert got["engine"] == "torch dtype=float32"
    baseline = row(frame, "rzero", GREEDY)
    assert math.isnan(baseline["diff"])
    assert math.isnan(baseline["p_holm"])


def test_first_and_final_iterations(tmp_path: Path) -> None:
    frame = build(collect(three_methods(tmp_path)), "rzero")
    assert row(frame, "rzero", TOPIC, "first")["mean"] == pytest.approx(2.1)
    assert row(frame, "rzero", TOPIC)["mean"] == pytest.approx(1.1)
    moments = frame[frame["metric"] == GREEDY]["iteration"]
    assert set(moments) == {"final"}


def test_only_primary_metrics_are_tested(tmp_path: Path) -> None:
    frame = build(collect(three_methods(tmp_path)), "rzero")
    got = row(frame, "vocab_dropout", "curriculum/survivors")
    assert got["diff"] == 0
    assert math.isnan(got["p_welch"])
    first = frame[frame["iteration"] == "first"]
    assert first["p_welch"].isna().all()


def test_base_rows_average_over_different_evaluations_only(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "rzero", 0, {GREEDY: 0.5}, base=[1, 0, 0, 0]),
        write_run(tmp_path, "rzero", 1, {GREEDY: 0.5}, base=[1, 0, 0, 0]),
        write_run(tmp_path, "static", 0, {GREEDY: 0.5}, base=[1, 0, 0, 0]),
    ]
    got = row(build(collect(folders), "rzero"), "base", GREEDY)
    assert (got["mean"], got["n_seeds"], got["seeds"]) == (0.25, 1, "0")
    assert math.isnan(got["ci_low"])
    folders.append(write_run(tmp_path, "static", 1, {GREEDY: 0.5}, base=[1, 1, 1, 0]))
    frame = build(collect(folders), "rzero")
    assert row(frame, "base", GREEDY)["n_seeds"] == 2
    assert row(frame, "base", GREEDY)["mean"] == 0.5
    assert math.isnan(row(frame, "base", GREEDY)["ci_low"])  # trained once, whatever was sampled
    assert row(frame, "base", "solver/ladder/1/greedy")["mean"] == 0.75


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}),
        write_run(tmp_path, "vocab_dropout", 0, {GREEDY: 0.5}),
    ]
    path = tmp_path / "out.csv"
    write_csv(build(collect(folders), "rzero"), path)
    got = row(pd.read_csv(path), "vocab_dropout", GREEDY)
    assert got["diff"] == pytest.approx(0.1)
    assert got[["ci_low", "ci_high", "diff_ci_low", "p_welch", "p_holm"]].isna().all()


def test_every_status_stays_in_the_table(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}),
        write_run(tmp_path, "rzero", 1, {GREEDY: 0.6}, status="curriculum_exhausted"),
        write_run(tmp_path, "rzero", 2, None, status="failed"),
        write_run(tmp_path, "rzero", 3, {GREEDY: 0.9}, status=None),  # still running
        write_run(tmp_path, "rzero", 4, {GREEDY: 0.5}, status="diverged"),
        write_run(tmp_path, "broken", 0, None, status="failed"),
    ]
    frame = build(collect(folders), "rzero")
    got = row(frame, "rzero", GREEDY)
    assert got["status"] == "completed:1;curriculum_exhausted:1;diverged:1;failed:1;incomplete:1"
    assert (got["mean"], got["n_seeds"], got["seeds"]) == (pytest.approx(0.5), 3, "0;1;4")
    nothing = row(frame, "broken", GREEDY)
    assert (nothing["n_seeds"], nothing["seeds"], nothing["status"]) == (0, "", "failed:1")
    assert math.isnan(nothing["mean"])
    assert math.isnan(nothing["diff"])


def test_a_metric_without_a_value_is_not_averaged(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "rzero", 0, {TOPIC: 1.0}),
        write_run(tmp_path, "rzero", 1, {TOPIC: None}, first={TOPIC: 2.0}),
    ]
    got = row(build(collect(folders), "rzero"), "rzero", TOPIC)
    assert (got["mean"], got["n_seeds"]) == (1.0, 1)


def test_the_order_of_folders_changes_no_byte(tmp_path: Path) -> None:
    folders = three_methods(tmp_path / "runs")
    texts = set()
    for seed in range(4):
        random.Random(seed).shuffle(folders)
        table = collect(folders)
        for i, frame in enumerate([build(table, "rzero"), per_run(table), cost(table)]):
            path = tmp_path / f"{seed}-{i}.csv"
            write_csv(frame, path)
            texts.add((i, path.read_bytes()))
    assert len(texts) == 3
    for _, text in texts:
        assert b"\r" not in text
        assert text.endswith(b"\n")


def test_csv_reads_back_in_one_line(tmp_path: Path) -> None:
    frame = build(collect(three_methods(tmp_path / "runs")), "rzero")
    path = tmp_path / "ladder.csv"
    write_csv(frame, path)
    back = pd.read_csv(path)
    assert tuple(back.columns) == COLUMNS
    np.testing.assert_allclose(back["mean"], frame["mean"], rtol=1e-5)
    assert not list(tmp_path.glob("*.partial"))


def test_per_run_and_cost(tmp_path: Path) -> None:
    table = collect(three_methods(tmp_path))
    runs = per_run(table)
    chosen = runs.query("method == 'rzero' and seed == 1 and metric == @TOPIC")
    assert chosen["iteration"].tolist() == [1, 2]
    assert chosen["value"].tolist() == [2.1, 1.1]
    base = runs.query("iteration == 0 and metric == @GREEDY and method == 'rzero'")
    assert base["value"].tolist() == [0.25] * 3
    costs = cost(table).query("method == 'rzero' and seed == 0").set_index("cost")["value"]
    assert costs.to_dict() == {"cpu": 9, "wall": 5, "phase/solve": 2.5}


def test_profiles_stay_apart(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}),
        write_run(
            tmp_path, "rzero", 0, {GREEDY: 0.8}, name="other", profile="big", config_hash="x"
        ),
    ]
    frame = build(collect(folders), "rzero")
    means = frame[(frame["metric"] == GREEDY) & (frame["method"] == "rzero")]
    assert dict(zip(means["profile"], means["mean"], strict=True)) == {"big": 0.8, "ladder": 0.4}
    assert find_runs(tmp_path, profile="big") == [tmp_path / "other"]
    assert find_runs(tmp_path, config_hash="abc") == [folders[0]]
    assert len(find_runs(tmp_path)) == 2


def test_parts_of_a_table(tmp_path: Path) -> None:
    config = {"baseline": "rzero"}
    write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}, config=config)
    write_run(tmp_path, "static", 0, {GREEDY: 0.4}, config=config)
    write_run(tmp_path, "static", 0, {GREEDY: 0.4}, config=config, name="o", profile="other")
    table = collect(find_runs(tmp_path))
    assert table.profiles == ("ladder", "other")
    assert table.only("ladder").baseline == "rzero"
    assert table.only("other").baseline is None  # named, but never run
    assert [r.manifest.method for r in table.only("other").runs] == ["static"]


def test_terminal_table(tmp_path: Path) -> None:
    folders = three_methods(tmp_path)
    folders.append(write_run(tmp_path, "[red]bad[/red]", 0, None, status="failed"))
    stream = io.StringIO()
    Console(file=stream, width=220).print(terminal_table(build(collect(folders), "rzero")))
    text = stream.getvalue()
    assert "0.520" in text
    assert "[.477, .563]" in text
    assert "[+.057, +.143]" in text
    assert "2.10 > 1.10" in text
    assert "1 failed" in text
    assert "[red]bad[/red]" in text  # markup in a name is text
    assert "base" in text


def test_guessed_topics_are_no_headline(tmp_path: Path) -> None:
    metrics = {GREEDY: 0.4, TOPIC: 1.9, VENDI: 31.5}
    folders = [write_run(tmp_path, "rzero", 0, metrics)]
    for checked in (False, True):
        if checked:
            folders = [write_run(tmp_path / "checked", "rzero", 0, {**metrics, CHECKED: 0.5})]
        stream = io.StringIO()
        Console(file=stream, width=220).print(terminal_table(build(collect(folders), None)))
        text = stream.getvalue()
        assert ("1.90 > 1.90" in text) == ("topic entropy (nats)" in text) == checked
        assert ("31.50 > 31.50" in text) == ("Vendi score" in text) == (not checked)


def test_no_baseline(tmp_path: Path) -> None:
    table = collect([write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})])
    assert row(build(table, None), "rzero", GREEDY)["mean"] == 0.4
    with pytest.raises(HarnessError, match="no run of the baseline 'other'"):
        build(table, "other")


def test_describe() -> None:
    assert describe("solver/ladder/3/sampled").unit == "share"
    assert describe("diversity_wellposed/lexical/self_bleu").better == "lower"
    assert describe("diversity_wellposed/semantic/vendi").primary
    assert describe("compute/solver/votes/tokens").unit == "tokens"
    assert describe("something/new").unit == ""


def damage(folder: Path, kind: str) -> None:
    metrics = folder / "iterations" / "02" / "metrics.json"
    parquet = folder / "eval" / "02.parquet"
    if kind == "truncated json":
        metrics.write_text(metrics.read_text()[:10])
    elif kind == "NaN":
        metrics.write_text('{"a": NaN}')
    elif kind == "infinite":
        metrics.write_text('{"a": 1e999}')
    elif kind == "text":
        metrics.write_text('{"a": "high"}')
    elif kind == "missing metrics":
        metrics.unlink()
    elif kind == "truncated parquet":
        parquet.write_bytes(parquet.read_bytes()[:-20])
    elif kind == "truncated questions":
        path = folder / "iterations" / "01" / "questions.parquet"
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "NaN score":
        evaluation([1, math.nan, 0, 0]).to_parquet(parquet)
    elif kind == "score above 1":
        evaluation([1, 7, 0, 0]).to_parquet(parquet)
    elif kind == "no column":
        evaluation([1, 1, 0, 0]).drop(columns="score").to_parquet(parquet)
    elif kind == "twice":
        pd.concat([evaluation([1, 0])] * 2).to_parquet(parquet)
    elif kind == "other items":
        evaluation([1, 1]).to_parquet(parquet)
    elif kind == "no base":
        (folder / "eval" / "00.parquet").unlink()
    elif kind == "no rows":
        evaluation([1, 0]).iloc[:0].to_parquet(parquet)
    elif kind == "other schema":
        done = json.loads((folder / "done.json").read_text())
        (folder / "done.json").write_text(json.dumps({**done, "schema": 9}))
    elif kind == "unknown status":
        done = json.loads((folder / "done.json").read_text())
        (folder / "done.json").write_text(json.dumps({**done, "status": "fine"}))
    elif kind == "no manifest":
        (folder / "manifest.json").unlink()
    elif kind == "negative cost":
        (folder / "cost.json").write_text('{"cpu_seconds": -1}')


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated json", r"metrics\.json: Invalid JSON"),
        ("NaN", r"metrics\.json: a.* finite"),
        ("infinite", r"metrics\.json: a.* finite"),
        ("text", r"metrics\.json: a.* valid number"),
        ("missing metrics", r"metrics\.json: missing"),
        ("truncated parquet", r"02\.parquet: corrupt"),
        ("truncated questions", r"questions\.parquet: truncated or corrupt"),
        ("NaN score", r"02\.parquet: .*score"),
        ("score above 1", r"02\.parquet: a score is NaN or outside"),
        ("no column", r"02\.parquet: no column score"),
        ("twice", r"02\.parquet: an item's sample is scored twice"),
        ("other items", r"02\.parquet: other items"),
        ("no base", r"00\.parquet: missing"),
        ("no rows", r"02\.parquet: no rows"),
        ("other schema", r"done\.json: schema"),
        ("unknown status", r"done\.json: status"),
        ("no manifest", "no manifest"),
        ("negative cost", r"cost\.json: cpu_seconds"),
    ],
)
def test_bad_folders_are_named_in_one_line(tmp_path: Path, kind: str, message: str) -> None:
    good = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    bad = write_run(tmp_path, "rzero", 1, {GREEDY: 0.4})
    damage(bad, kind)
    with pytest.raises(HarnessError, match=message) as caught:
        collect([good, bad])
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config_hash", "zzz"),
        ("base_model_hash", "b1"),
        ("data_hashes", {"ladder": "d1"}),
        ("suite", "other"),
        ("prompt_hash", {"ladder": "p1"}),
        ("engine", {"name": "vllm"}),
    ],
)
def test_mixed_runs_are_refused(tmp_path: Path, field: str, value: object) -> None:
    folders = [write_run(tmp_path, "rzero", seed, {GREEDY: 0.4}) for seed in range(2)]
    odd = write_run(tmp_path, "rzero", 2, {GREEDY: 0.4}, **{field: value})
    with pytest.raises(HarnessError, match=f"mixed {field} in profile ladder") as caught:
        collect([odd, *folders])
    assert "\n" not in str(caught.value)
    assert str(odd) in str(caught.value)


def test_methods_evaluated_on_other_items_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    second = write_run(tmp_path, "static", 0, None)
    evaluation([1, 0]).to_parquet(second / "eval" / "00.parquet")
    with pytest.raises(HarnessError, match="mixed evaluated items"):
        collect([first, second])


def test_a_run_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    copy = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}, name="rzero-copy")
    with pytest.raises(HarnessError, match="the same run as"):
        collect([one, copy])
    assert len(collect([one, one]).runs) == 1


def test_nothing_to_collect(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no run folders"):
        collect([])
    with pytest.raises(HarnessError, match="no such folder"):
        find_runs(tmp_path / "missing")
