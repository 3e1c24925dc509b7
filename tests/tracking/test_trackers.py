"""Trackers told of runs, read back with the trackers' own libraries."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run

from harness.cli import main
from harness.errors import HarnessError
from harness.store import RunFolder
from harness.tracking import (
    Mirror,
    RunInfo,
    RunProgress,
    Scalars,
    Tracker,
    Tracking,
    mirror,
    trackers,
    writers,
)

Points = dict[str, list[tuple[int, float]]]
OFFLINE = {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "OMP_NUM_THREADS": "1"}
NO_NETWORK = """
import socket
connect = socket.socket.connect
def local(self, address):
    host = address[0] if isinstance(address, tuple) else "localhost"
    assert host in ("localhost", "127.0.0.1", "::1"), f"went to {address}"
    return connect(self, address)
socket.socket.connect = local
"""


def expected(folder: Path) -> Points:
    """Every finite scalar of a run, by tag, from its events."""
    points: Points = {}
    for known in RunProgress(folder).refresh():
        prefix = "metrics" if known.kind == "metrics" else f"steps/{known.role}"
        for name, value in known.values.items():
            points.setdefault(f"{prefix}/{name}", []).append((known.x, value))
    return points


def board(folder: Path) -> Points:
    """The scalars of a TensorBoard folder."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    read = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    tags = read.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in tags}


def same(found: Points, wanted: Points) -> None:
    """Equal, to the float32 that TensorBoard keeps."""
    assert found.keys() == wanted.keys()
    for tag, points in wanted.items():
        assert [(x, np.float32(y)) for x, y in points] == found[tag], tag


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished tiny run, ours to change."""
    source = tiny_run.finished("rzero").path
    return Path(shutil.copytree(source, tmp_path / "runs" / source.name))


def child(code: str, *arguments: str, **environment: str) -> str:
    """Standard output of a Python process that must not reach the network."""
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK + code, *arguments],
        cwd=tiny_run.ROOT,
        env={**os.environ, **OFFLINE, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


WATCH = "import sys; from harness.cli import main; sys.exit(main(['watch', *sys.argv[1:]]))"


def test_tensorboard_holds_what_the_run_measured(run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    mirror([run], trackers(["tensorboard"]), log)
    found = board(log / "tensorboard" / run.name)
    same(found, expected(run))
    for t in (1, 2):
        for name, value in tiny_run.metrics(RunFolder(run), t).items():
            at = dict(found.get(f"metrics/{name}", []))
            assert at.get(t) == (None if value is None else np.float32(value)), name
    # told again, by another command: the same points once more, not twice as many
    shutil.rmtree(log / "finished")
    mirror([run], trackers(["tensorboard"]), log)
    same(board(log / "tensorboard" / run.name), expected(run))


def test_tensorboard_shows_the_configuration(run: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    mirror([run], trackers(["tensorboard"]), tmp_path)
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / run.name))
    read.Reload()
    (event,) = read.Tensors("config")
    text = event.tensor_proto.string_val[0].decode().strip("`\n")
    assert json.loads(text) == json.loads((run / "manifest.json").read_text())
    assert read.SummaryMetadata("config").plugin_data.plugin_name == "text"


def test_a_run_told_bit_by_bit(run: Path, tmp_path: Path) -> None:
    """As a launcher does, with lines cut anywhere; and a step that a resumed run repeats."""
    events = (run / "events.jsonl").read_bytes()
    wanted = expected(run)
    lines = events.splitlines(True)
    repeated = next(x for x in lines if b"step_end" in x)
    events += repeated
    growing = tmp_path / "growing" / run.name
    growing.mkdir(parents=True)
    log = tmp_path / "log"
    warned: list[str] = []
    made = Mirror(trackers(["tensorboard"]), log, warned.append)
    made.poll([growing])  # no manifest yet
    assert not (log / "tensorboard").exists()
    shutil.copy(run / "manifest.json", growing)
    for start in range(0, len(events), 997):
        with open(growing / "events.jsonl", "ab") as file:
            file.write(events[start : start + 997])
        made.poll([growing])
    half = board(log / "tensorboard" / run.name)
    assert "metrics/solver/macro/greedy" in half
    shutil.copy(run / "done.json", growing)
    made.poll([growing])
    made.poll([growing])
    made.close()
    same(board(log / "tensorboard" / run.name), wanted)
    assert warned == []


def test_a_finished_run_is_told_once(run: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    def open_it(about: RunInfo, folder: Path) -> Recorder:
        opened.append(about.name)
        return Recorder()

    chosen = [Tracker("memory", open_it)]
    mirror([run], chosen, tmp_path)
    mirror([run], chosen, tmp_path)
    assert opened == [run.name]
    RunFolder(run).event("metrics", iteration=2, metrics={"late": 1.0})
    mirror([run], chosen, tmp_path)
    assert opened == [run.name] * 2


def test_tensorboard_without_tensorflow(run: Path, tmp_path: Path) -> None:
    """An installed tensorflow takes seconds to import, and isn't."""
    fake = tmp_path / "fake" / "tensorflow"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise RuntimeError('tensorflow was imported')")
    path = os.pathsep.join([str(fake.parent), str(tiny_run.ROOT)])
    arguments = ("--once", "--log", "tensorboard", "--runs", str(run.parent))
    assert "1 done" in child(WATCH, *arguments, PYTHONPATH=path)
    same(board(run.parent / ".tracking" / "tensorboard" / run.name), expected(run))


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log of 32 KiB blocks after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the end of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_offline(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    log = tmp_path / "log"
    arguments = ("--once", "--log", "wandb", "--log-dir", str(log), "--runs", str(run.parent))
    out = child(WATCH, *arguments, HOME=str(tmp_path))
    assert "1 done" in out
    assert "wandb" not in out
    (path,) = (log / "wandb").glob(f"offline-run-*-{run.name}/*.wandb")
    records = list(wandb_records(path))
    (about,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert (about.run_id, about.display_name, about.run_group) == (run.name, run.name, "rzero")
    manifest = json.loads((run / "manifest.json").read_text())
    config = {x.key: json.loads(x.value_json) for x in about.config.update}
    assert {k: config[k] for k in manifest} == manifest
    points: Points = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {
                x.key or "/".join(x.nested_key): json.loads(x.value_json)
                for x in record.history.item
            }
            for tag, value in row.items():
                if tag.startswith("metrics/"):
                    points.setdefault(tag, []).append((row["iteration"], value))
                elif tag.startswith("steps/") and not tag.endswith("/global_step"):
                    role = tag.split("/")[1]
                    points.setdefault(tag, []).append((row[f"steps/{role}/global_step"], value))
    assert points == expected(run)
    axes = {
        r.metric.glob_name: r.metric.step_metric
        for r in records
        if r.WhichOneof("record_type") == "metric" and r.metric.glob_name
    }
    assert axes["metrics/*"] == "iteration"
    assert axes["steps/solver/*"] == "steps/solver/global_step"


def test_wandb_rows_that_are_there_are_skipped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that W&B resumes says how many rows it has; they come in the same order again."""
    wandb = pytest.importorskip("wandb", reason="needs wandb")
    rows: list[tuple[int, dict[str, float]]] = []

    class Resumed:
        step = 3

        def __init__(self) -> None:
            self.summary: dict[str, str] = {}

        def define_metric(self, *given: object, **named: object) -> None: ...

        def log(self, row: dict[str, float], step: int) -> None:
            rows.append((step, row))

        def finish(self, exit_code: int) -> None: ...

    asked: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "init", lambda **named: asked.update(named) or Resumed())
    monkeypatch.delenv("WANDB_MODE", raising=False)
    chosen = [Tracker("wandb", writers.WandbWriter)]
    mirror([run], chosen, tmp_path)
    total = len(RunProgress(run).refresh())
    assert [step for step, _ in rows] == list(range(3, total))
    assert (asked["id"], asked["resume"], asked["group"]) == (run.name, "allow", "rzero")


TRACKIO = """
import json, sys, trackio
from trackio.sqlite_storage import SQLiteStorage
found = []
for run in trackio.Api().runs("coevolution-harness"):
    logs = SQLiteStorage.get_logs("coevolution-harness", run.name, run_id=run.id)
    found.append([run.name, run.config, [{k: v for k, v in x.items() if k != "timestamp"} for x in logs]])
print(json.dumps(found))
"""  # noqa: E501


def test_trackio(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="needs trackio")
    log = tmp_path / "log"
    arguments = ("--once", "--json", "--log", "trackio", "--log-dir", str(log))
    environment = {"TRACKIO_DIR": str(log / "trackio"), "HOME": str(tmp_path)}
    for _ in range(2):
        out = child(WATCH, *arguments, "--runs", str(run.parent), **environment)
        assert json.loads(out)["counts"] == {"completed": 1}
        ((name, config, rows),) = json.loads(child(TRACKIO, **environment))
        assert (name, config["_Group"]) == (run.name, "rzero")
        manifest = json.loads((run / "manifest.json").read_text())
        assert config["config_hash"] == manifest["config_hash"]
        assert config["config"] == manifest["config"]
        points: Points = {}
        for row in rows:
            for tag, value in row.items():
                if "/" in tag:
                    points.setdefault(tag, []).append((row["step"], value))
        assert {tag: sorted(p) for tag, p in points.items()} == expected(run)
        shutil.rmtree(log / "finished")


# What can go wrong.


class Recorder:
    """A tracker in memory that fails at a call, if told to."""

    def __init__(self, fails_at: str = "", after: int = 0) -> None:
        self.told: list[Scalars] = []
        self.status = ""
        self._fails_at, self._left = fails_at, after

    def _maybe(self, name: str) -> None:
        if name == self._fails_at:
            self._left -= 1
            if self._left < 0:
                raise ConnectionError("no route to host\nreally")

    def write(self, known: Scalars) -> None:
        self._maybe("write")
        self.told.append(known)

    def flush(self) -> None:
        self._maybe("flush")

    def close(self, status: str) -> None:
        self._maybe("close")
        self.status = status


@pytest.mark.parametrize("moment", ["open", "write", "flush", "close"])
def test_a_tracker_that_fails_is_named_once_and_the_others_go_on(
    moment: str, run: Path, tmp_path: Path
) -> None:
    second = Path(shutil.copytree(run, tmp_path / "more" / run.name.replace("s0", "s1")))
    good: list[Recorder] = []
    opened: Counter[str] = Counter()

    def bad_open(about: RunInfo, folder: Path) -> Recorder:
        opened[about.name] += 1
        if moment == "open":
            raise OSError("disk full")
        return Recorder(moment, after=1 if moment == "write" else 0)

    def good_open(about: RunInfo, folder: Path) -> Recorder:
        good.append(Recorder())
        return good[-1]

    warned: list[str] = []
    chosen = [Tracker("bad", bad_open), Tracker("good", good_open)]
    mirror([run, second], chosen, tmp_path / "log", warned.append)
    (line,) = warned
    assert line.startswith("warning: bad failed and is left out")
    assert ("disk full" if moment == "open" else "no route to host really") in line
    assert "\n" not in line
    assert sum(opened.values()) == 1
    everything = len(RunProgress(run).refresh())
    assert [(len(r.told), r.status) for r in good] == [(everything, "completed")] * 2
    assert not (tmp_path / "log" / "finished" / "bad").exists()


def test_a_run_that_has_not_ended_is_let_go_as_incomplete(run: Path, tmp_path: Path) -> None:
    (run / "done.json").unlink()
    made = Recorder()
    mirror([run], [Tracker("memory", lambda about, folder: made)], tmp_path / "log")
    assert made.status == "incomplete"
    assert not (tmp_path / "log").exists()


def test_a_tracker_that_hangs_does_not_hold_the_command(run: Path, tmp_path: Path) -> None:
    forever, entered = threading.Event(), threading.Event()

    def hang(about: RunInfo, folder: Path) -> Recorder:
        entered.set()
        forever.wait()
        return Recorder()

    warned: list[str] = []
    chosen = [Tracker("slow", hang)]
    with Tracking(chosen, tmp_path, lambda: [run], warned.append, patience=0.2):
        assert entered.wait(60)
    forever.set()
    assert [x for x in warned if x.startswith("warning: slow didn't answer")] == warned[:1]
    assert len(warned) == 1


def test_folders_that_cannot_be_listed_stop_the_mirror_alone(tmp_path: Path) -> None:
    def gone() -> list[Path]:
        raise FileNotFoundError("the disk went away")

    warned: list[str] = []
    chosen = [Tracker("memory", lambda about, folder: Recorder())]
    with Tracking(chosen, tmp_path, gone, warned.append):
        pass
    assert warned == ["warning: trackers are told no more (the disk went away)"]


def test_what_is_not_installed_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(writers, "find_spec", lambda n: None if n == "trackio" else there(n))
    with pytest.raises(HarnessError, match="unknown; there are tensorboard, wandb, trackio"):
        trackers(["tensorboard,mlflow"])
    arguments = ["--runs", str(tmp_path / "runs"), "--log", "tensorboard,trackio"]
    for command in (["run", "--method", "rzero"], ["sweep", "--methods", "rzero"], ["resume"]):
        assert main([*command, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "pip install 'coevolution-harness[trackio]'" in line
    assert not (tmp_path / "runs").exists()
    assert [t.name for t in trackers([" tensorboard", "tensorboard,"])] == ["tensorboard"]
    assert trackers(None) == []


def test_wandb_is_asked_for_its_key_before_anything_runs(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    code = "from harness.tracking import trackers; trackers(['wandb'])"
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK + code],
        cwd=tiny_run.ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert "HarnessError: --log wandb: no API key; run `wandb login`" in done.stderr


def test_a_log_folder_that_cannot_be_written_fails_no_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    (tmp_path / "log").write_text("a file")
    code = main(
        [
            *("run", "--method", "rzero", "--seeds", "1", "--runs", str(run.parent)),
            *("--out", str(tmp_path / "out"), *tiny_run.settings()),
            *("--log", "tensorboard", "--log-dir", str(tmp_path / "log")),
        ]
    )
    said = capsys.readouterr().err
    assert code == 0
    assert said.count("warning: tensorboard failed") == 1
    assert "Traceback" not in said
