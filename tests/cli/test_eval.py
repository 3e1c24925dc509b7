"""`eval` on the ladder's base model: what it writes, that it repeats and resumes, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from harness.cli import main
from harness.statistics import item_interval

ROOT = Path(__file__).resolve().parents[2]
BASE = str(ROOT / "tasks" / "ladder" / "base")
TASKS = ["--tasks", "ladder,ladder_sampled", "--limit", "3"]


def results(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "cost.json"}


def test_eval_writes_every_response_and_repeats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["eval", "--model", BASE, *TASKS, "--samples", "4", "--json"]
    assert main([*call, "--out", str(tmp_path / "a")]) == 0
    said = json.loads(capsys.readouterr().out)
    (folder,) = (tmp_path / "a").glob("base-*")
    items = pd.read_parquet(folder / "items.parquet")
    assert items.groupby("mode").size().to_dict() == {"greedy": 3, "sampled": 12}
    table = pd.read_csv(folder / "summary.csv", keep_default_na=False)
    assert len(said) == len(table)
    greedy = table[(table["mode"] == "greedy") & (table["group"] == "")].iloc[0]
    assert greedy["accuracy"] == pytest.approx(items[items["mode"] == "greedy"]["score"].mean())
    interval = item_interval(greedy["accuracy"], 3)
    assert (greedy["low"], greedy["high"]) == pytest.approx((interval.low, interval.high), abs=1e-5)
    assert set(table["samples"]) == {1, 4}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["generation"]["ladder_sampled"]["repeats"] == 4
    assert (
        set(manifest["task_hashes"]) == set(manifest["prompt_hash"]) == {"ladder", "ladder_sampled"}
    )
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["tokens_sampled"] == items["n_tokens"].sum() == cost["tokens_kept"]

    assert main([*call, "--out", str(tmp_path / "b")]) == 0  # elsewhere: the same bytes
    (other,) = (tmp_path / "b").glob("base-*")
    assert other.name == folder.name
    assert results(other) == results(folder)

    assert main([*call, "--out", str(tmp_path / "a")]) == 0  # again: nothing is sampled
    assert json.loads((folder / "cost.json").read_text())["tokens_sampled"] == 0
    assert results(folder) == results(other)

    assert main([*call, "--out", str(tmp_path / "a"), "--seed", "1"]) == 0  # another seed: other
    assert len(list((tmp_path / "a").glob("base-*"))) == 2


def _lines(folder: Path) -> int:
    """Lines written so far; a file may be there before its first line is."""
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))


def test_an_evaluation_killed_at_any_time_ends_in_the_same_files(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "harness", "eval", "--model", BASE, "--tasks", "ladder"]
    call += ["--limit", "200", "--batch-rows", "10", "--json"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    subprocess.run([*call, "--out", str(whole)], check=True, **quiet)  # type: ignore[call-overload]
    process = subprocess.Popen([*call, "--out", str(killed)], **quiet)  # type: ignore[call-overload]
    while process.poll() is None and not _lines(killed):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list(killed.glob("base-*"))
    subprocess.run([*call, "--out", str(killed)], check=True, **quiet)  # type: ignore[call-overload]
    (first,), (second,) = whole.glob("base-*"), killed.glob("base-*")
    assert results(first) == results(second)
    kept = json.loads((second / "cost.json").read_text())
    assert 0 < kept["tokens_sampled"] < kept["tokens_kept"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tasks", ""], "name at least one task"),
        (["--tasks", "lader"], "unknown task 'lader'; nearest: ladder"),
        (["--tasks", "ladder", "--limit", "0"], "--limit 0: needs at least 1"),
        (["--tasks", "ladder", "--limit", "-1"], "--limit -1: needs at least 1"),
        (["--tasks", "ladder", "--samples", "0"], "--samples 0: needs at least 1"),
        (["--tasks", "ladder", "--batch-rows", "0"], "--batch-rows 0: needs at least 1"),
        (["--tasks", "ladder", "--dtype", "int3"], "float32, bfloat16"),
        (["--tasks", "ladder", "--device", "abacus"], "--device abacus"),
        (["--tasks", "ladder", "--data", "nowhere"], "nowhere"),
        (["--tasks", "ladder", "--include", "nowhere"], "nowhere: not found"),
        (["--tasks", "ladder", "--model", "./nowhere"], "nowhere"),
        (["--tasks", "ladder", "--model", "x.gguf"], "x.gguf"),
        (["--tasks", "aime25", "--data", "."], "aime25.jsonl is missing; fetch"),
        (["--tasks", "gsm8k", "--data", "."], "gsm8k_test.jsonl is missing; fetch"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COEVOLUTION_DATA", str(tmp_path))
    model = [] if "--model" in arguments else ["--model", BASE]
    assert main(["eval", *model, *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert said.startswith("error: ")
    assert told in said
    assert list(tmp_path.iterdir()) == []


def test_tasks_lists_every_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    found = {row["task"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"gsm8k", "math500", "math", "minerva", "olympiad", "ladder"} <= set(found)
    for name in ("aime24", "aime25", "amc23"):
        assert found[name]["tasks"] == [f"{name}_greedy", f"{name}_sampled"]
        assert found[f"{name}_sampled"]["samples"] == 32
    assert found["gsm8k_base"]["prompt"] == "plain"
