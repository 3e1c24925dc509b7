"""Worker processes: one that fails, one that talks too much, one that is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tiny_run

from harness.cli import main
from harness.errors import HarnessError
from harness.launch import launch
from harness.launch.local import LocalPool
from harness.launch.process import Ending, task_of
from harness.methods import load_plugin, registry
from harness.run import execute
from harness.store import Status
from harness.tracking import RunProgress

SMALL = ("iterations=1", "solver.steps=1")
PLUGIN = '''
import sys
from harness.methods import Method, register

@register("talkative")
class Talkative(Method):
    """Fills the pipe of its standard error, then trips over a bug."""
    def steps(self, ctx, steps):
        print("warning: again\\n" * 20000, file=sys.stderr)
        {body}
        return 0
'''
BUG = 'raise ValueError("first\\nsecond line")'


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "talk.py"
    path.write_text(PLUGIN.format(body=BUG))
    yield path
    registry._ENTRIES.pop("talkative", None)


def cli(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=tiny_run.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_one_failing_run_does_not_stop_the_others(
    tmp_path: Path, plugin: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("run", "--method", "talkative", "--plugin", str(plugin), "--seeds", "1", "--json"),
            *("--baseline", "static_proposer", "--jobs", "2"),
            *("--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")),
            *tiny_run.settings([*tiny_run.TINY, *SMALL]),
        ]
    )
    out, said = capfd.readouterr()
    assert code == 1
    (line,) = [x for x in said.splitlines() if x.startswith("error")]
    assert line.startswith("error: talkative, seed 0: ")
    assert "second line" in line
    assert "Traceback" not in said
    assert "static_proposer" in {row["method"] for row in json.loads(out)}
    board = pd.read_csv(tmp_path / "out" / "ladder-ladder.csv")
    statuses = dict(zip(board["method"], board["status"], strict=True))
    assert statuses["static_proposer"] == "completed:1"
    assert statuses["talkative"] == "incomplete:1"


def test_an_edited_plugin_never_mixes_with_what_it_said_before(tmp_path: Path) -> None:
    """Each version is imported by a process of its own, as a command would."""
    path = tmp_path / "edited.py"
    spec = tiny_run.spec("talkative", 0, *SMALL)
    folder = spec.folder(tmp_path)

    def version(body: str) -> str:
        """What a run with this version of the file ends in: a status or an error."""
        path.write_text(PLUGIN.format(body=body).replace("20000", "1"))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                load_plugin(path)
                answer = str(execute(spec, tmp_path))
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write, answer.encode())
            os._exit(0)
        os.close(write)
        with open(read) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return answer

    bug = "if ctx.role == 'solver': raise ValueError('a bug')"
    assert version(bug) == "ValueError: a bug"
    assert (folder.iteration(1) / "questions.parquet").exists()
    first = json.loads(folder.manifest_path.read_text())
    # Mended: an unfinished run of the old file starts afresh.
    assert version("ctx.count('talked', 2)") == "completed"
    assert tiny_run.metrics(folder, 1)["method/talked"] == 4
    assert json.loads(folder.manifest_path.read_text())["plugin_hash"] != first["plugin_hash"]
    assert version("ctx.count('talked', 2)") == "completed"
    # Edited once more: a finished run isn't this method's, and is not lost either.
    before = tiny_run.results(folder.path)
    assert "made with another version of the method's file" in version("ctx.count('talked', 3)")
    assert tiny_run.results(folder.path) == before


def test_an_unreadable_model_blocks_nothing_once_it_is_mended(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_run.ROOT / "tasks" / "ladder" / "base", base)
    weights = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(weights[:1000])
    spec = tiny_run.spec("static_proposer", 0, f"model.path={base}", *SMALL)
    (outcome,) = launch([spec], tmp_path / "runs", jobs=1)
    assert (outcome.status, outcome.exit_code) == (Status.INCOMPLETE, 2)
    assert "cannot load the weights" in outcome.error
    assert "\n" not in outcome.error
    assert [p.name for p in spec.folder(tmp_path / "runs").path.iterdir()] == ["lock"]
    with pytest.raises(HarnessError, match="cannot load the weights"):
        execute(spec, tmp_path / "runs")
    (base / "model.safetensors").write_bytes(weights)
    assert execute(spec, tmp_path / "runs") is Status.COMPLETED
    (outcome,) = launch([spec], tmp_path / "runs", jobs=1)
    assert (outcome.status, outcome.exit_code) == (Status.COMPLETED, 0)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job in the background ignores SIGINT, and its children inherit that: undo it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_stopped_by_hand_and_resumed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And a tracker is told each point once, however often a step was done."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    spec = tiny_run.spec("rzero")
    runs = tmp_path / "runs"
    folder = spec.folder(runs)
    process = cli(
        *("run", "--method", "rzero", "--seeds", "1", "--runs", str(runs)),
        *("--out", str(tmp_path / "out"), "--log", "tensorboard", *tiny_run.settings()),
    )
    until = time.monotonic() + 120
    while not any(e["event"] == "step" for e in folder.events()) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the same command goes on where it was" in said
    assert "Traceback" not in said
    (worker,) = {int(e["process"]) for e in folder.events() if e["event"] == "start"}
    assert not Path(f"/proc/{worker}").exists()
    assert folder.status is Status.INCOMPLETE

    assert main(["resume", "--runs", str(runs), "--json", "--log", "tensorboard"]) == 0
    out, said = capfd.readouterr()
    assert json.loads(out) == [{"run": str(folder), "status": "completed"}]
    finished = tiny_run.finished("rzero")
    assert tiny_run.results(folder.path) == tiny_run.results(finished.path)
    told = accumulator.EventAccumulator(str(runs / ".tracking" / "tensorboard" / folder.path.name))
    told.Reload()
    points = sum(len(told.Scalars(tag)) for tag in told.Tags()["scalars"])
    assert points == sum(len(known.values) for known in RunProgress(finished.path).refresh())


def test_each_run_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more runs go side by side than have theirs."""
    told: list[str] = []

    class Process:
        def __init__(self, task: object, variables: dict[str, str]) -> None:
            told.append(variables.get("CUDA_VISIBLE_DEVICES", "all"))
            self.over = False

        def poll(self) -> Ending | None:
            return Ending(0) if self.over else None

    monkeypatch.setattr("harness.launch.local.RunProcess", Process)
    task = task_of(tiny_run.spec("rzero"), Path("runs"), ())
    pool = LocalPool(1, 2, ["0", "3", "5", "6", "7"])
    assert pool.slots(8) == 2
    assert pool.slots(1) == 1
    pool.start("a", task)
    pool.start("b", task)
    assert told == ["0,3", "5,6"]
    pool._running["a"].over = True  # type: ignore[attr-defined]
    assert list(pool.ended()) == ["a"]
    pool.start("c", task)
    assert told[2] == "7,0"
    assert LocalPool(1, 2, []).slots(8) == 8
    LocalPool(1, 2, []).start("d", task)
    assert told[3] == "all"
    assert LocalPool(1, 4, ["1"]).slots(8) == 1
