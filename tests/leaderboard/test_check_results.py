"""Checking submitted results: what was tampered with is found and named, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_run

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard import compact
from harness.leaderboard.check import Report, check_folder

METHOD = "rzero"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a finished run, without its checkpoints."""
    source = tiny_run.finished(METHOD).path
    skipped = shutil.ignore_patterns("proposer", "solver", "lock")
    return Path(shutil.copytree(source, tmp_path / "submitted" / source.name, ignore=skipped))


def change(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Edit a table in place."""
    frame = pd.read_parquet(path)
    changed = edit(frame)
    (frame if changed is None else changed).to_parquet(path, index=False)


def put(row: int, **values: Any) -> Callable[[pd.DataFrame], None]:
    def edit(frame: pd.DataFrame) -> None:
        for name, value in values.items():
            frame.loc[row, name] = value

    return edit


def lines(report: Report) -> list[str]:
    return [str(d) for d in report.differences]


def test_an_honest_run_has_nothing_that_differs(run: Path) -> None:
    report = check_folder(run)
    assert lines(report) == []
    assert report.unchecked == []
    assert report.counts["responses rescored"] == 48
    assert report.counts["data and prompt hashes"] == 4
    assert report.counts["votes"] > 0
    metrics = report.counts["metrics"]
    (run / "iterations" / "02" / "metrics.json").write_text("{}")
    assert check_folder(run).counts["metrics"] < metrics


def test_a_raised_score_is_named_with_all_its_keys(run: Path) -> None:
    path = run / "eval" / "02.parquet"
    rows = pd.read_parquet(path)
    wrong = int(rows.index[rows["score"] == 0][0])
    change(path, put(wrong, score=1.0, verdict="correct"))
    report = check_folder(run)
    (score,) = [d for d in report.differences if d.what == "score"]
    row = rows.loc[wrong]
    assert (score.run, score.file) == (run.name, "eval/02.parquet")
    assert (score.recorded, score.recomputed) == ("correct 1", f"{row['verdict']} 0")
    assert score.where["doc_id"] == row["doc_id"]
    assert score.where["mode"] == row["mode"]
    assert score.where["sample"] == row["sample"]
    assert score.where["answer"] == row["answer"]
    assert score.where["gold"]
    # The metrics are those of the scores before.
    named = {d.where["metric"] for d in report.differences if d.what == "metric"}
    assert f"solver/macro/{row['mode']}" in named
    assert {d.file for d in report.differences} == {
        "eval/02.parquet",
        "iterations/02/metrics.json",
    }


TAMPERED: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame | None], str]] = {
    "response": (
        "eval/00.parquet",
        put(0, response=r"\boxed{123456}"),
        "00.parquet: answer, task 'ladder', mode 'greedy', doc_id 0, sample 0, gold '11': "
        "recorded '11', recomputed '123456'",
    ),
    "answer": ("eval/00.parquet", put(0, answer="99"), "recorded '99', recomputed '11'"),
    "found": ("eval/00.parquet", put(0, found="stated"), "found, .*recorded 'stated'"),
    "cluster": ("eval/00.parquet", put(0, cluster=3), "cluster, .*recorded 3, recomputed 0"),
    "group": ("eval/00.parquet", put(0, group="4"), "group, .*recorded '4', recomputed '1'"),
    "item missing": (
        "eval/00.parquet",
        lambda f: f[f["doc_id"] != 5],
        "a sample is missing, task 'ladder', mode 'greedy', doc_id 5, sample 0",
    ),
    "item too many": (
        "eval/00.parquet",
        lambda f: pd.concat([f, f.tail(1).assign(doc_id=999_999)]),
        "a sample that no task asks for, task 'ladder', mode 'sampled', doc_id 999999",
    ),
    "prompt": ("eval/00.parquet", put(0, prompt_hash="0" * 64), "prompt_hash, task 'ladder'"),
    "vote": (
        "iterations/01/votes.parquet",
        lambda f: f.assign(answer="12345"),
        "questions.parquet: label, question_id",
    ),
    "votes lost": (
        "iterations/01/votes.parquet",
        lambda f: f[f["question_id"] != f["question_id"].iloc[0]],
        "question, question_id .*: recorded 'valid', recomputed 'has no votes'",
    ),
    "clusters": (
        "iterations/01/votes.parquet",
        lambda f: f.assign(cluster=f["cluster"].where(f.index > 0, 2)),
        "votes.parquet: clusters, question_id",
    ),
    "curriculum": (
        "iterations/01/curriculum.parquet",
        lambda f: f.assign(label="7"),
        "curriculum.parquet: label, question_id",
    ),
    "row of a curriculum": (
        "iterations/01/curriculum.parquet",
        lambda f: f.iloc[1:],
        "recorded 'not in the curriculum', recomputed 'selected'",
    ),
    "question": (
        "iterations/01/questions.parquet",
        lambda f: f.assign(
            question=f["question"]
            .where(f["valid"], None)
            .replace(to_replace=r".+", value="what is 1 + 1?", regex=True)
        ),
        "metric, metric 'diversity/lexical/distinct_1'",
    ),
    "question twice": (
        "iterations/01/questions.parquet",
        lambda f: pd.concat([f, f.head(1)]),
        "question, question_id 0: recorded 'there twice'",
    ),
    "posedness": (
        "iterations/01/checks.parquet",
        lambda f: f.assign(well_posed=True),
        "metric, metric 'proposer/well_posed'",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_tampered_with_is_named(run: Path, name: str) -> None:
    file, edit, message = TAMPERED[name]
    change(run / file, edit)
    report = check_folder(run)
    assert any(pd.Series(lines(report)).str.contains(message)), lines(report)[:5]
    assert all(line.isprintable() and len(line) < 800 for line in lines(report))


def test_recorded_metrics_are_those_of_the_samples(run: Path) -> None:
    path = run / "iterations" / "02" / "metrics.json"
    stated = json.loads(path.read_text())
    stated["solver/macro/greedy"] += 0.125
    stated["diversity/semantic/vendi"] += 1e-3
    stated["solver/ladder/9/greedy"] = 1.0
    path.write_text(json.dumps(stated))
    assert {d.where["metric"] for d in check_folder(run).differences} == {
        "solver/macro/greedy",
        "diversity/semantic/vendi",
        "solver/ladder/9/greedy",
    }


def test_a_metric_that_was_left_out_is_said_to_be(run: Path) -> None:
    path = run / "iterations" / "01" / "metrics.json"
    stated = json.loads(path.read_text())
    del stated["proposer/well_posed"]
    path.write_text(json.dumps(stated))
    report = check_folder(run)
    assert lines(report) == []
    assert report.unchecked == [f"{run.name}: proposer/well_posed: not recorded"]


def test_other_data_and_prompts_are_named(run: Path) -> None:
    path = run / "manifest.json"
    stated = json.loads(path.read_text())
    stated["data_hashes"]["ladder"] = "0" * 64
    stated["prompt_hash"]["ladder_sampled"] = "1" * 64
    path.write_text(json.dumps(stated))
    found = [(d.what, d.where["task"]) for d in check_folder(run).differences]
    assert found == [("data_hashes", "ladder"), ("prompt_hash", "ladder_sampled")]


def test_compact_runs_are_checked_as_far_as_they_go(run: Path, tmp_path: Path) -> None:
    small = compact(run, tmp_path / "small")
    report = check_folder(small)
    assert lines(report) == []
    assert any("responses of compact runs" in line for line in report.unchecked)
    assert report.counts["item scores"] == 48
    assert report.counts["responses rescored"] == 0
    change(small / "eval" / "02.parquet", put(0, score=0.0))
    what = {d.what for d in check_folder(small).differences}
    assert what == {"score", "metric"}


def test_a_method_with_labels_of_its_own_is_told_apart(tmp_path: Path) -> None:
    run = tiny_run.finished("rzero_code").path
    report = check_folder(run)
    assert lines(report) == []
    assert any("labels of rzero_code" in line for line in report.unchecked)


def test_an_unknown_method_is_checked_without_it(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text().replace('"rzero"', '"somebodys_own"'))
    report = check_folder(run)
    assert any("somebodys_own: the method isn't known here" in line for line in report.unchecked)


def test_nothing_of_a_submission_is_run_or_fetched(run: Path, tmp_path: Path) -> None:
    """Its task folder, checker and embedder are names in somebody's manifest."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "ladder.yaml").write_text("task: ladder\ncustom_dataset: !function evil.load\n")
    (evil / "evil.py").write_text("import pathlib\npathlib.Path('/tmp/owned').touch()\n")
    path = run / "manifest.json"
    stated = json.loads(path.read_text())
    stated["config"]["evaluation"]["include_path"] = str(evil)
    stated["config"]["checker"] = "os:abort"
    stated["config"]["diversity"]["embedder"] = "somebody/model"
    path.write_text(json.dumps(stated))
    report = check_folder(run)
    assert lines(report) == []
    assert report.unchecked == ["semantic diversity: the embedder 'somebody/model' isn't built in"]


def test_hostile_responses_end_in_a_verdict(run: Path) -> None:
    hostile = [
        r"\boxed{10^{10^{10^{10}}}}",
        r"\boxed{" * 3000,
        "\x1b[2J\x00 \u202e \\boxed{=cmd()}",
        r"\boxed{" + "9" * 100_000 + "}",
    ]
    for i, text in enumerate(hostile):
        change(run / "eval" / "00.parquet", put(i, response=text))
    report = check_folder(run)
    assert len([d for d in report.differences if d.what == "score"]) >= 3
    assert all(line.isprintable() and len(line) < 800 for line in lines(report))


@pytest.fixture
def submission(run: Path) -> Path:
    """Two runs with the tables made from them."""
    other = tiny_run.finished("vocab_dropout").path
    shutil.copytree(other, run.parent / other.name, ignore=shutil.ignore_patterns("*.stage"))
    given = ["--runs", str(run.parent), "--out", str(run.parent), "--json"]
    assert main(["leaderboard", "collect", *given]) == 0
    return run.parent


def test_tables_are_recomputed(submission: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check_folder(submission)
    assert lines(report) == []
    assert report.counts["leaderboard files"] >= 6
    path = submission / "ladder-ladder.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    at = rows.index[(rows["method"] == "rzero") & (rows["metric"] == "proposer/valid")][0]
    before = rows.loc[at, "mean"]
    rows.loc[at, "mean"] = "0.999"
    rows.drop(index=rows.index[-1]).to_csv(path, index=False, lineterminator="\n")
    found = check_folder(submission).differences
    assert [(d.file, d.what) for d in found] == [
        ("ladder-ladder.csv", "cell mean"),
        ("ladder-ladder.csv", "row"),
    ] or [(d.what) for d in found] == ["row", "cell mean"]
    (cell,) = [d for d in found if d.what == "cell mean"]
    assert (cell.recorded, cell.recomputed) == ("0.999", before)
    assert cell.where["metric"] == "proposer/valid"
    capsys.readouterr()


def test_runs_that_make_no_table_are_named(submission: Path) -> None:
    path = next(submission.glob("vocab_dropout*")) / "manifest.json"
    path.write_text(path.read_text().replace('"dtype": "float32"', '"dtype": "bfloat16"'))
    told = [str(d) for d in check_folder(submission).differences]
    assert any("these runs make no table: " in line and "mixed engine" in line for line in told)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe", "not readable as CSV"),
        (b'method,metric\n"a', "not readable as CSV"),
        (b"method,metric\na,b,c\n", "row 2 has another number of cells"),
        (b"method,metric\na,b\na,b\n", "row 3: .* is there twice"),
        (b'method,metric\n"' + b"a" * 200_000 + b'",b\n', "not readable as CSV"),
    ],
)
def test_tables_that_are_none_are_refused(submission: Path, text: bytes, message: str) -> None:
    (submission / "ladder-ladder.csv").write_bytes(text)
    with pytest.raises(HarnessError, match=message):
        check_folder(submission)


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "check", str(run.parent)]) == 0
    assert capsys.readouterr().out.endswith("nothing differs\n")

    change(run / "eval" / "00.parquet", lambda f: f.assign(answer="0"))
    assert main(["leaderboard", "check", str(run.parent)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert len([line for line in shown if line.startswith("differs: ")]) == 20
    assert "... and " in shown[-2]
    assert main(["leaderboard", "check", str(run.parent), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert len(told["differences"]) > 20
    assert told["checked"]["runs"] == 1

    (run / "eval" / "00.parquet").write_bytes(b"PAR1")
    assert main(["leaderboard", "check", str(run.parent)]) == 2
    error = capsys.readouterr().err
    assert "00.parquet: corrupt or truncated" in error
    assert error.count("\n") == 1
    assert main(["leaderboard", "check", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_json_holds_every_value(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(run / "iterations" / "01" / "questions.parquet", lambda f: f.assign(p_hat=float("nan")))
    change(run / "iterations" / "01" / "votes.parquet", lambda f: f.assign(question_id=7))
    assert main(["leaderboard", "check", str(run), "--json"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert "nan" in {d["recorded"] for d in told["differences"] if d["what"] == "p_hat"}


def test_runs_are_found_at_both_levels(run: Path) -> None:
    shutil.copytree(run, run.parent / "more" / "other")
    assert check_folder(run.parent).counts["runs"] == 2


def test_an_incomplete_run_is_said_to_be_one(run: Path) -> None:
    (run / "done.json").unlink()
    report = check_folder(run)
    assert report.unchecked == [f"{run.name}: incomplete, 2 of 2 iterations; none of it is used"]
    assert report.counts["metrics"] == 0
