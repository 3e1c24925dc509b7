"""Commands that only look, or that collect what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_run

from harness.cli import main
from harness.methods import entries
from harness.methods.base import HOOKS

PLUGIN = str(tiny_run.ROOT / "examples" / "my_method.py")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two finished tiny runs, ours to change."""
    for method in ("rzero", "vocab_dropout"):
        run = tiny_run.finished(method).path
        shutil.copytree(run, tmp_path / "runs" / run.name)
    return tmp_path / "runs"


def listing(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_methods_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    found = {m["name"]: m for m in json.loads(capsys.readouterr().out)}
    shipped = {
        "rzero",
        "rzero_code",
        "static_proposer",
        "random_label",
        "vocab_dropout",
        "vocab_dropout_train_only",
        "vocab_dropout_generation_only",
    }
    assert shipped <= set(found) == {e.name for e in entries()}
    for method in found.values():
        assert {"name", "paper", "summary", "parameters", "hooks"} <= set(method)
        assert set(method["hooks"]) <= set(HOOKS)
        assert method["summary"]
        for parameter in method["parameters"].values():
            assert {"default", "description"} <= set(parameter)
    assert found["vocab_dropout"]["paper"] == "2604.03472"
    assert found["vocab_dropout"]["hooks"] == ["mask"]
    assert found["vocab_dropout"]["parameters"]["alpha"]["default"] == 0.85
    assert found["rzero"]["hooks"] == []


def test_methods_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    assert "vocab_dropout" in capsys.readouterr().out
    assert main(["methods", "show", "vocab_dropout"]) == 0
    out = capsys.readouterr().out
    assert "2604.03472" in out
    assert "alpha = 0.85" in out
    assert main(["methods", "show", "short_questions", "--plugin", PLUGIN, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["hooks"] == ["reward"]
    assert set(shown["parameters"]) == {"weight", "budget"}
    assert main(["profiles", "--json"]) == 0
    assert "ladder" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", [["plan"], ["run", "--dry-run"]])
def test_plan_changes_nothing(
    form: list[str], runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = listing(tmp_path)
    arguments = [*form, "--method", "vocab_dropout", "--seeds", "2", "--runs", str(runs)]
    assert main([*arguments, *tiny_run.settings(), "--jobs", "2", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    states = {(r["method"], r["seed"]): r["state"] for r in plan["runs"]}
    assert states == {
        ("rzero", 0): "completed",
        ("vocab_dropout", 0): "completed",
        ("rzero", 1): "missing",
        ("vocab_dropout", 1): "missing",
    }
    assert plan["missing"] == 2
    assert plan["seconds_per_run"] > 0
    assert plan["estimated_wall_seconds"] == pytest.approx(plan["seconds_per_run"])
    assert plan["peak_memory_bytes_per_run"] > 2**20
    assert main([*arguments, *tiny_run.settings()]) == 0
    assert "at most" in capsys.readouterr().out
    assert listing(tmp_path) == before


def test_run_of_finished_runs_only_publishes(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(runs)
    out = tmp_path / "a" / "b"
    arguments = ["--seeds", "1", "--runs", str(runs), "--out", str(out), *tiny_run.settings()]
    assert main(["run", "--method", "vocab_dropout", *arguments, "--json"]) == 0
    board = pd.DataFrame(json.loads(capsys.readouterr().out))
    assert {"base", "rzero", "vocab_dropout"} <= set(board["method"])
    assert {"metric", "mean"} <= set(board)
    kinds = (".csv", ".wide.csv", ".md", ".runs.csv", ".cost.csv", ".matched.csv", ".html")
    names = [f"ladder-ladder{kind}" for kind in kinds]
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    assert len(pd.read_csv(out / "ladder-ladder.csv")) == len(board)
    first = {n: (out / n).read_bytes() for n in names}

    # From the folders alone, elsewhere and again: the same bytes.
    for again in (out, tmp_path / "elsewhere"):
        assert main(["leaderboard", "collect", "--runs", str(runs), "--out", str(again)]) == 0
        assert {n: (again / n).read_bytes() for n in names} == first
    table = capsys.readouterr().out
    assert "vocab_dropout" in table
    assert "written:" in table
    assert {k: v for k, v in listing(runs).items() if not k.endswith("lock")} == {
        k: v for k, v in before.items() if not k.endswith("lock")
    }


def test_an_unfinished_run_is_listed(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (next(runs.glob("vocab_dropout-*")) / "done.json").unlink()
    out = tmp_path / "out"
    assert main(["leaderboard", "collect", "--runs", str(runs), "--out", str(out), "--json"]) == 0
    board = pd.read_csv(out / "ladder-ladder.csv")
    listed = board[board["method"] == "vocab_dropout"]
    assert set(listed["status"]) == {"incomplete:1"}
    assert listed["mean"].isna().all()


def test_an_unreadable_run_leaves_every_table_as_it_was(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["leaderboard", "collect", "--runs", str(runs), "--out", str(out)]
    assert main(arguments) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    path = next(runs.glob("vocab_dropout-*")) / "iterations/01/metrics.json"
    path.write_text('{"solver/macro/greedy": 1')
    assert main(arguments) == 2
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_help_and_a_closed_pipe() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shown = subprocess.run(
        [sys.executable, "-m", "harness", "--help"],
        capture_output=True,
        text=True,
        cwd=tiny_run.ROOT,
        env=environment,
    )
    assert shown.returncode == 0
    for command in ("run", "sweep", "resume", "methods", "leaderboard", "plan"):
        assert command in shown.stdout
    bare = subprocess.run(
        [sys.executable, "-m", "harness"], capture_output=True, text=True, cwd=tiny_run.ROOT
    )
    assert bare.returncode == 2
    assert "Traceback" not in bare.stderr
    read, write = os.pipe()
    os.close(read)
    piped = subprocess.run(
        [sys.executable, "-m", "harness", "profiles"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tiny_run.ROOT,
    )
    os.close(write)
    assert "Traceback" not in piped.stderr
