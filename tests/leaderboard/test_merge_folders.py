"""Merging: copies count once, contradictions are refused, what was joined is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_run
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import GREEDY, VENDI, evaluation, write_run

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard import collect, compact, find_runs
from harness.leaderboard.merge import merge
from harness.store import Status

CONFIG = {"evaluation": {"tasks": ["ladder"]}, "baseline": "rzero", "iterations": 2}


def machine(root: Path, *runs: tuple[str, int], **manifest: Any) -> Path:
    for method, seed in runs:
        write_run(root, method, seed, {GREEDY: 0.1 * seed}, config=CONFIG, **manifest)
    return root


def two_machines(tmp_path: Path) -> tuple[Path, Path]:
    """Seed 1 of rzero ran on both, with the same results at another cost."""
    versions = {"versions": {"torch": "2.5", "numpy": "2.0"}, "harness": "1.0"}
    first = machine(tmp_path / "first", ("rzero", 0), ("rzero", 1), **versions)
    versions = {"versions": {"torch": "2.6", "numpy": "2.0"}, "harness": "1.1"}
    second = machine(
        tmp_path / "second", ("rzero", 1), ("dropout", 1), hardware={"cpus": 64}, **versions
    )
    cost = second / "rzero-ladder-s1-abc" / "cost.json"
    cost.write_text(json.dumps({"wall_seconds": 1.0}))
    return first, second


def test_the_same_results_count_once_and_are_named(tmp_path: Path) -> None:
    merged = merge(two_machines(tmp_path))
    assert [(r.manifest.method, r.manifest.seed) for r in merged.table.runs] == [
        ("dropout", 1),
        ("rzero", 0),
        ("rzero", 1),
    ]
    assert len(merged.copies) == 1
    assert "second/rzero-ladder-s1-abc: the same results as" in merged.copies[0]
    assert merged.table.versions == {"harness": {"1.0": 2, "1.1": 1}, "torch": {"2.5": 2, "2.6": 1}}
    assert [str(gap) for gap in merged.table.missing] == ["ladder: dropout, seed 0: no such run"]


def contradict(run: Path, kind: str) -> None:
    metrics = run / "iterations" / "02" / "metrics.json"
    if kind == "metric":
        metrics.write_text(json.dumps({GREEDY: 0.1000001}))
    elif kind == "more metrics":
        metrics.write_text(json.dumps({GREEDY: 0.1, VENDI: 2.0}))
    elif kind == "status":
        done = json.loads((run / "done.json").read_text())
        (run / "done.json").write_text(json.dumps({**done, "status": "diverged"}))
    elif kind == "item":
        evaluation([0, 1, 1, 0]).to_parquet(run / "eval" / "02.parquet")
    elif kind == "base":
        evaluation([0, 1, 0, 0]).to_parquet(run / "eval" / "00.parquet")
    elif kind == "iterations":
        done = json.loads((run / "done.json").read_text())
        (run / "done.json").write_text(json.dumps({**done, "iterations": 1}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("metric", "iteration 2, solver/macro/greedy: 0.1 and 0.1000001"),
        ("more metrics", "iteration 2, diversity/semantic/vendi: absent and 2.0"),
        ("status", "status: completed and diverged"),
        ("item", "eval/02.parquet: other scores"),
        ("base", "eval/00.parquet: other scores"),
        ("iterations", "iterations: 2 and 1"),
    ],
)
def test_other_results_of_the_same_run_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    first, second = two_machines(tmp_path)
    contradict(second / "rzero-ladder-s1-abc", kind)
    with pytest.raises(HarnessError, match=message) as caught:
        merge([first, second])
    for place in (first, second):
        assert str(place / "rzero-ladder-s1-abc") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_finished_run_is_preferred(tmp_path: Path) -> None:
    first, second = two_machines(tmp_path)
    (first / "rzero-ladder-s1-abc" / "done.json").unlink()
    merged = merge([first, second])
    kept = next(r for r in merged.table.runs if r.key[2:4] == ("rzero", 1))
    assert kept.status is Status.COMPLETED
    assert kept.folder.parent == second
    assert "incomplete" in merged.copies[0]


@pytest.mark.parametrize(
    ("by", "manifest"),
    [
        ("config", {"config_hash": "zzz"}),
        ("base", {"base_model_hash": "b1"}),
        ("data", {"data_hashes": {"ladder": "d1"}}),
        ("engine", {"engine": {"name": "vllm"}}),
        ("prompt", {"prompt_hash": {"ladder": "p1"}}),
    ],
)
def test_mixed_runs_are_refused_unless_split(
    tmp_path: Path, by: str, manifest: dict[str, Any]
) -> None:
    first = machine(tmp_path / "a", ("rzero", 0))
    second = machine(tmp_path / "b", ("rzero", 0), **manifest)
    with pytest.raises(HarnessError, match=f"mixed .* --split-by {by}"):
        merge([first, second])
    merged = merge([first, second], [by])
    assert len(merged.table.groups) == 2
    assert merged.copies == ()  # on another engine it isn't the same run


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("merge")
    names = ["rzero", "dropout", "static"]
    return [
        machine(root / str(i), *[(names[(i + j) % 3], s) for j in range(2) for s in range(2)])
        for i in range(3)
    ]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(3)))
def test_the_order_of_places_changes_nothing(places: list[Path], order: list[int]) -> None:
    one, two = merge(places), merge([places[i] for i in order])
    assert [r.folder for r in one.table.runs] == [r.folder for r in two.table.runs]
    assert one.copies == two.copies
    assert one.table.notes == two.table.notes
    assert len(one.table.runs) == 6
    assert len(one.copies) == 6


def test_a_whole_run_and_its_compact_form_are_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run = tiny_run.finished("rzero").path
    shutil.copytree(run, whole / run.name)
    compact(run, tmp_path / "small")
    merged = merge([tmp_path / "small", whole])
    assert [r.folder.parent for r in merged.table.runs] == [whole]
    assert len(merged.copies) == 1


def test_compact_runs_are_copied_as_they_are(tmp_path: Path) -> None:
    run = tiny_run.finished("rzero").path
    small = compact(run, tmp_path / "small")
    again = compact(small, tmp_path / "again")
    files = [p.relative_to(small) for p in sorted(small.rglob("*")) if p.is_file()]
    assert files == [p.relative_to(again) for p in sorted(again.rglob("*")) if p.is_file()]
    assert all((small / p).read_bytes() == (again / p).read_bytes() for p in files)


def test_merge_writes_results_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, entry in (("one", "rzero"), ("two", "vocab_dropout")):
        run = tiny_run.finished(entry).path
        shutil.copytree(run, tmp_path / name / run.name)
    shutil.copytree(tiny_run.finished("rzero").path, tmp_path / "two" / "again")
    results, out = tmp_path / "results", tmp_path / "out"
    given_ = [str(tmp_path / "one"), str(tmp_path / "two"), "--results", str(results)]
    assert main(["leaderboard", "merge", *given_, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "two/again: the same results as" in said
    assert "ladder: 2 runs of 2 methods" in said
    assert {f.name for f in find_runs(results)} == {
        tiny_run.finished(entry).path.name for entry in ("rzero", "vocab_dropout")
    }
    board = pd.read_csv(out / "ladder-ladder.csv")
    assert {"rzero", "vocab_dropout", "base"} == set(board["method"])
    before = (out / "ladder-ladder.csv").read_bytes()

    # What was joined joins again, and adds nothing.
    assert main(["leaderboard", "merge", *given_, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"] == []
    assert len(told["runs"]) == 2
    assert len(told["copies"]) == 3
    assert (out / "ladder-ladder.csv").read_bytes() == before


def test_without_a_target_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_machines(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["leaderboard", "merge", str(first), str(second)]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    out = capsys.readouterr().out
    assert "made with different versions of torch: 2.5 (2 runs), 2.6 (1 run)" in out


def test_split_runs_of_one_name_both_lie_in_the_results(tmp_path: Path) -> None:
    first = machine(tmp_path / "a", ("rzero", 0))
    second = machine(tmp_path / "b", ("rzero", 0), engine={"name": "vllm"})
    given_ = ["--results", str(tmp_path / "r"), "--out", str(tmp_path / "o")]
    split = ["--split-by", "engine", "--baseline", "rzero"]
    assert main(["leaderboard", "merge", str(first), str(second), *given_, *split]) == 0
    runs = find_runs(tmp_path / "r")
    assert len(runs) == 2
    assert {r.split for r in collect(runs, ["engine"]).runs} == {
        "engine=torch dtype=float32",
        "engine=vllm",
    }
    assert len(list((tmp_path / "o").glob("ladder-ladder-engine=*.runs.csv"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: no run folders here"),
        (["runs", "--split-by", "colour"], "'colour': unknown"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    machine(tmp_path / "runs", ("rzero", 0))
    assert main(["leaderboard", "merge", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
