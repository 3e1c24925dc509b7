"""Compact runs: a board recomputed from them, and a sweep that goes on from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_run

from harness.cli import main
from harness.diversity.embedders import HashingEmbedder
from harness.errors import HarnessError
from harness.leaderboard import build, collect, compact, find_runs, per_run
from harness.leaderboard.compact import QUESTIONS
from harness.methods import entries

METHODS = ("rzero", "vocab_dropout")
SMALL = [*tiny_run.settings(), "--seeds", "1"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two finished tiny runs in compact form."""
    for method in METHODS:
        compact(tiny_run.finished(method).path, tmp_path / "results")
    return tmp_path / "results"


def originals() -> list[Path]:
    return [tiny_run.finished(method).path for method in METHODS]


def test_the_board_is_the_same(results: Path) -> None:
    whole, small = collect(originals()), collect(find_runs(results))
    for make in (per_run, lambda table: build(table, "rzero")):
        pd.testing.assert_frame_equal(make(whole), make(small))


def test_it_is_small_and_holds_no_weights(results: Path) -> None:
    for run in find_runs(results):
        files = [p for p in run.rglob("*") if p.is_file()]
        assert {p.suffix for p in files} == {".json", ".parquet"}
        assert sum(p.stat().st_size for p in files) < 150_000
        assert not list(run.rglob("votes.parquet"))
        scores = pd.read_parquet(run / "eval" / "00.parquet")
        assert "response" not in scores.columns


def test_questions_come_with_what_the_checker_read(results: Path) -> None:
    run = tiny_run.finished("rzero")
    kept = pd.read_parquet(results / run.path.name / "iterations" / "01" / "questions.parquet")
    asked = pd.read_parquet(run.iteration(1) / "questions.parquet").set_index("question_id")
    assert len(kept) == min(QUESTIONS, len(asked))
    assert kept["question_id"].is_unique
    assert kept["question"].tolist() == asked.loc[kept["question_id"], "question"].tolist()
    assert {"topic", "well_posed", "true_answer"} <= set(kept.columns)


def test_the_nearest_earlier_question_is_among_all_valid_ones(results: Path) -> None:
    run = tiny_run.finished("rzero")
    embed = HashingEmbedder()
    earlier = pd.read_parquet(run.iteration(1) / "questions.parquet")
    texts = earlier.loc[earlier["valid"], "question"].tolist()
    folder = results / run.path.name / "iterations"
    assert pd.read_parquet(folder / "01" / "questions.parquet")["nearest_question"].isna().all()
    kept = pd.read_parquet(folder / "02" / "questions.parquet")
    assert kept["nearest_question"].notna().tolist() == kept["valid"].tolist()
    valid = kept[kept["valid"]]
    cosine = embed(valid["question"].tolist()) @ embed(texts).T
    assert valid["nearest_similarity"].tolist() == pytest.approx(cosine.max(axis=1).tolist())
    assert valid["nearest_question"].tolist() == [texts[i] for i in cosine.argmax(axis=1)]
    assert set(valid["nearest_iteration"]) == {1}


def test_without_the_embedder_the_nearest_question_is_empty(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "x"
    shutil.copytree(tiny_run.finished("rzero").path, run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["diversity"]["embedder"] = "./no/such/model"
    (run / "manifest.json").write_text(json.dumps(manifest))
    small = compact(run, tmp_path / "small")
    kept = pd.read_parquet(small / "iterations" / "02" / "questions.parquet")
    assert kept["nearest_similarity"].isna().all()


def test_a_run_keeps_its_result_schema_version(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "old"
    shutil.copytree(tiny_run.finished("rzero").path, run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "schema": 1}))
    for path in (run / "eval").glob("*.parquet"):
        pd.read_parquet(path).drop(columns="cluster").to_parquet(path, index=False)
    small = compact(run, tmp_path / "small")
    assert (small / "manifest.json").read_bytes() == (run / "manifest.json").read_bytes()
    kept = pd.read_parquet(small / "iterations" / "02" / "questions.parquet")
    assert "nearest_question" not in kept.columns
    assert "cluster" not in pd.read_parquet(small / "eval" / "00.parquet").columns


def test_the_same_run_gives_the_same_bytes(results: Path, tmp_path: Path) -> None:
    run = tiny_run.finished("rzero").path
    again = compact(run, tmp_path / "again")
    assert tiny_run.results(again) == tiny_run.results(results / run.name)


def test_what_is_not_finished_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "half"
    shutil.copytree(tiny_run.finished("rzero").path, run)
    (run / "done.json").unlink()
    with pytest.raises(HarnessError, match="half: not finished"):
        compact(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_runs_are_not_compacted_in_place(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "whole"
    shutil.copytree(tiny_run.finished("rzero").path, run)
    before = tiny_run.results(run)
    with pytest.raises(HarnessError, match="holds the runs themselves"):
        compact(run, tmp_path / "runs")
    assert tiny_run.results(run) == before


def test_a_finished_copy_is_preferred(results: Path, tmp_path: Path) -> None:
    name = tiny_run.finished("rzero").path.name
    shutil.copytree(results / name, tmp_path / "runs" / name)
    assert find_runs(tmp_path / "runs", results)[0].parent == tmp_path / "runs"
    (tmp_path / "runs" / name / "done.json").unlink()
    assert {f.parent for f in find_runs(tmp_path / "runs", results)} == {results}


def test_a_sweep_goes_on_from_them(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is run again, and the table is the one of the runs."""
    runs, out = tmp_path / "runs", tmp_path / "out"
    given = ["--runs", str(runs), "--results", str(results), "--out", str(out), "--json"]
    assert main(["sweep", "--methods", "vocab_dropout", *SMALL, *given]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["method"] for r in rows} == {"base", *METHODS}
    assert list(runs.iterdir()) == []
    frame = pd.read_csv(out / "ladder-ladder.csv")
    assert frame.loc[frame["method"] == "vocab_dropout", "n_seeds"].max() == 1


def test_leaderboard_adds_the_finished_runs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for run in originals():
        shutil.copytree(run, runs / run.name)
    given = ["--runs", str(runs), "--results", str(tmp_path / "r"), "--out", str(tmp_path / "o")]
    assert main(["leaderboard", "collect", *given]) == 0
    assert {f.name for f in find_runs(tmp_path / "r")} == {run.name for run in originals()}
    shutil.rmtree(runs)
    before = (tmp_path / "o" / "ladder-ladder.csv").read_bytes()
    assert main(["leaderboard", "collect", *given]) == 0
    assert (tmp_path / "o" / "ladder-ladder.csv").read_bytes() == before


def test_all_stands_for_every_entry(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--runs", str(tmp_path / "runs"), "--results", str(results), "--dry-run", "--json"]
    assert main(["sweep", "--methods", "all", *SMALL, *given]) == 0
    plan = json.loads(capsys.readouterr().out)
    states = {row["method"]: row["state"] for row in plan["runs"]}
    assert set(states) == {e.name for e in entries()}
    assert {m for m, state in states.items() if state == "completed"} == set(METHODS)
    assert plan["seconds_per_run"] > 0


def test_all_leaves_out_what_the_profile_cannot_carry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--runs", str(tmp_path / "runs"), "--set", "checker=null", "--dry-run", "--json"]
    assert main(["sweep", "--methods", "all", *SMALL, *given]) == 0
    out = capsys.readouterr()
    assert "well_posed_guard" not in {r["method"] for r in json.loads(out.out)["runs"]}
    assert out.err.startswith("left out: ")
    assert "well_posed_guard" in out.err
    assert main(["sweep", "--methods", "well_posed_guard", *SMALL, *given]) == 2
