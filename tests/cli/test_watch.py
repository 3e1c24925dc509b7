"""`watch`: running, interrupted and finished runs of a folder, whatever is in it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from harness.cli import main
from harness.cli.watch import Watcher, run_folders
from harness.store import RunFolder

HOSTILE = "[bold red]x[/]\x1b[2J\x1b]8;;file:///etc\n\ud800"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A finished run, one in the middle, and one that hasn't written its manifest yet."""
    done = tiny_run.finished("rzero").path
    shutil.copytree(done, tmp_path / "runs" / done.name)
    middle = tmp_path / "runs" / done.name.replace("-s0-", "-s7-")
    middle.mkdir()
    manifest = {**json.loads((done / "manifest.json").read_text()), "seed": 7}
    (middle / "manifest.json").write_text(json.dumps(manifest))
    events = (done / "events.jsonl").read_bytes()
    (middle / "events.jsonl").write_bytes(events[: events.index(b'"phase": "solve"') + 5])
    (middle / "lock").touch()
    new = tmp_path / "runs" / "vocab_dropout-ladder-s0-12345678"
    new.mkdir()
    (new / "lock").touch()
    (tmp_path / "runs" / "notes.txt").write_text("no run")
    (tmp_path / "runs" / "plots").mkdir()
    return tmp_path / "runs"


def document(runs: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["watch", "--runs", str(runs), "--json"]) == 0
    out, said = capsys.readouterr()
    assert said == ""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(out, parse_constant=refuse)
    return found


def row(found: dict[str, Any], part: str) -> dict[str, Any]:
    (one,) = [x for x in found["runs"] if part in x["run"]]
    assert isinstance(one, dict)
    return one


def test_running_interrupted_finished(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    middle = RunFolder(next(runs.glob("*-s7-*")))
    found = document(runs, capsys)
    assert found["counts"] == {"completed": 1, "interrupted": 2}
    with middle.locked():
        found = document(runs, capsys)
        assert found["counts"] == {"completed": 1, "interrupted": 1, "running": 1}
        one = row(found, "-s7-")
        assert (one["method"], one["seed"], one["state"]) == ("rzero", 7, "running")
        assert (one["iteration"], one["iterations"], one["phase"]) == (1, 2, "curriculum")
        assert 0 < one["share"] < 1
        assert one["left"] > 0
        assert found["left"] >= one["left"]
    done = row(found, "rzero-ladder-s0")
    told = tiny_run.metrics(RunFolder(runs / done["run"]), 2)
    assert done["accuracy"]["sampled"] == told["solver/macro/sampled"]
    assert done["accuracy"]["greedy"] == told["solver/macro/greedy"]
    assert set(done["base"]) == {"sampled", "greedy"}
    topics = "diversity/functional/topic_entropy"
    assert done["diversity"] == {topics: told[topics]}
    cost = json.loads((runs / done["run"] / "cost.json").read_text())
    assert done["seconds"] == cost["wall_seconds"]
    assert (done["share"], done["left"]) == (1.0, None)
    new = row(found, "vocab_dropout")
    assert (new["method"], new["seed"]) == ("vocab_dropout-ladder-s0-12345678", None)
    # To look was no work on the run.
    with middle.locked():
        pass


def test_the_table_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(str(p) for p in runs.rglob("*"))
    assert main(["watch", "--runs", str(runs), "--once"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 done · 0 failed · 2 interrupted")
    assert "completed" in out
    assert "accuracy: sampled/greedy" in out
    assert sorted(str(p) for p in runs.rglob("*")) == before


def test_all_rows_are_printed_once_however_low_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "10")
    for seed in range(60):
        folder = tmp_path / f"rzero-ladder-s{seed}-1"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"method": "rzero", "seed": seed}))
    assert main(["watch", "--runs", str(tmp_path), "--once"]) == 0
    assert capsys.readouterr().out.count("interrupted") == 61


def test_nothing_to_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--runs", str(tmp_path / "nowhere"), "--once"]) == 2
    assert "no such folder; give --runs DIR" in capsys.readouterr().err
    assert main(["watch", "--runs", str(tmp_path), "--once"]) == 0
    assert capsys.readouterr().out == "no runs here yet\n"
    assert document(tmp_path, capsys) == {"runs": [], "counts": {}, "left": None}


def test_compact_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Published runs have no events; what they measured is in their metrics."""
    published = tiny_run.ROOT / "leaderboards" / "results"
    found = document(published, capsys)
    assert found["counts"]["completed"] == len(found["runs"])
    assert all(one["accuracy"] is not None and one["seconds"] > 0 for one in found["runs"])


SPOILED = {
    "manifest.json": ["", "{", "[]", "null", '{"config": 3, "seed": "x", "method": 5}', "\x00"],
    "done.json": ["", "{", "[]", '{"status": "won"}', '{"status": ["completed"]}'],
    "cost.json": ["", "{", '{"wall_seconds": NaN}', '{"wall_seconds": "long"}', "[]"],
    "events.jsonl": [
        '{"event": "metrics", "iteration": 1, "metrics": {"solver/macro/greedy": 1e999}}\n',
        '{"event": "phase", "iteration": 1e400, "phase": ["solve"]}\n{"event": {}}\n',
        '{"event": "step", "step": "a", "of": -1, "time": "now"}\n[[[[',
        '{"event": "phase_end", "iteration": 1, "phase": "solve", "seconds": -1e300}\n',
    ],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in SPOILED.items() for text in texts]
)
def test_spoiled_files(
    name: str, text: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in run_folders(runs):
        (folder / name).write_text(text)
    found = document(runs, capsys)
    assert len(found["runs"]) == 3
    assert main(["watch", "--runs", str(runs), "--once"]) == 0


@pytest.mark.parametrize("name", ["manifest.json", "done.json", "events.jsonl", "lock"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_should_be_a_file_is_not(
    name: str, kind: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(runs.glob("*-s7-*")) / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    assert len(document(runs, capsys)["runs"]) == 3


def test_hostile_names(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    middle = next(runs.glob("*-s7-*"))
    (middle / "manifest.json").write_text(json.dumps({"method": HOSTILE, "seed": 7}))
    (runs / "[red]\x1b[31m").mkdir()
    (runs / "[red]\x1b[31m" / "lock").touch()
    assert main(["watch", "--runs", str(runs), "--once"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold red]x[/]?[2J" in out
    assert "[red]?[31m" in out
    assert any(one["method"].startswith("[bold red]x") for one in document(runs, capsys)["runs"])


def test_folders_come_and_go_between_looks(runs: Path) -> None:
    watcher = Watcher(runs)
    assert [one.state for one in watcher.look()] == ["completed", "interrupted", "interrupted"]
    middle = next(runs.glob("*-s7-*"))
    shutil.rmtree(next(runs.glob("vocab_dropout-*")))
    with open(middle / "events.jsonl", "ab") as file:
        file.write(b'"}\n{"event": "phase", "iteration": 2, "phase": "propose", "time": 5}\n')
    states = watcher.look()
    assert [one.iteration for one in states] == [2, 2]
    shutil.copy(next(runs.glob("*-s0-*")) / "done.json", middle)
    assert [one.state for one in watcher.look()] == ["completed", "completed"]
    (middle / "done.json").unlink()  # somebody wants it done again
    assert [one.state for one in watcher.look()] == ["completed", "interrupted"]
    shutil.rmtree(runs)
    assert watcher.look() == []


def test_it_ends_with_the_last_run_and_by_hand(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def stop(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    assert main(["watch", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "rzero seed 0: completed\n"  # said once, in two looks
    for path in runs.iterdir():
        if path.is_dir() and not (path / "done.json").exists():
            shutil.rmtree(path)
    assert main(["watch", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "rzero seed 0: completed\n"
    assert len(looks) == 2


def test_runs_told_to_a_tracker_afterwards(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    assert main(["watch", "--runs", str(runs), "--once", "--log", "tensorboard"]) == 0
    assert "1 done" in capsys.readouterr().out
    told = {p.parent.name for p in (runs / ".tracking" / "tensorboard").glob("*/events.out.*")}
    assert told == {p.parent.name for p in runs.glob("*/manifest.json")}
    finished = runs / ".tracking" / "finished" / "tensorboard"
    assert [p.name for p in finished.iterdir()] == [next(runs.glob("rzero-*-s0-*")).name]
    assert len(document(runs, capsys)["runs"]) == 3  # the trackers' folder is no run
