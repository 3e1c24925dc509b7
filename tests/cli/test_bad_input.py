"""Bad input: one clear line, a non-zero exit, nothing written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_run

from harness.cli import main

Fails = Callable[..., str]


@pytest.fixture
def fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Fails:
    """Run the command line in an empty folder; give back its one line of complaint."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)

    def call(*arguments: str, code: int = 2) -> str:
        assert main(list(arguments)) == code
        out, said = capsys.readouterr()
        assert said.count("\n") == 1, said
        assert said.startswith("error: ")
        assert "Traceback" not in out + said
        assert list(home.iterdir()) == []
        return said

    return call


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--method", "vocab_dropuot"], "did you mean vocab_dropout"),
        (["--method", "zzz"], "see `python -m harness methods`"),
        (["--method", ""], "unknown method ''"),
        (["--method", "vocab_dropout:alpha=0"], "alpha"),
        (["--method", "vocab_dropout:alpha=1.01"], "alpha"),
        (["--method", "vocab_dropout:alpha=-0.1"], "alpha"),
        (["--method", "vocab_dropout:alpha=nan"], "alpha"),
        (["--method", "vocab_dropout:alpha=high"], "alpha"),
        (["--method", "vocab_dropout:alpha"], "expected key=value"),
        (["--method", "vocab_dropout:beta=1"], "beta"),
        (["--method", "vocab_dropout:granularity=token"], "granularity"),
        (["--method", "rzero:alpha=1"], "parameters: none"),
        (["--method", "rzero+rzero"], "the same method twice"),
        (["--method", "rzero", "--profile", "laddder"], "shipped: ladder"),
        (["--method", "rzero", "--profile", "none.yaml"], "not found"),
        (["--method", "rzero", "--baseline", "rzeroo"], "did you mean rzero"),
        (["--method", "rzero", "--set", "proposer.lrr=1"], "did you mean proposer.lr"),
        (["--method", "rzero", "--set", "iterations=0"], "iterations"),
        (["--method", "rzero", "--set", "iterations"], "key=value"),
        (["--method", "rzero", "--set", "iterations=["], "unreadable value"),
        (["--method", "rzero", "--set", "checker=no.such:Thing"], "checker 'no.such:Thing'"),
        (["--method", "rzero", "--set", "model.path=./nowhere"], "not found"),
        (["--method", "rzero", "--set", "evaluation.include_path=./nowhere"], "not found"),
        (["--method", "rzero", "--seeds", "0"], "--seeds"),
        (["--method", "rzero", "--seeds", "-2"], "--seeds"),
        (["--method", "rzero", "--seeds", "many"], "--seeds"),
        (["--method", "rzero", "--seeds", "1,1"], "--seeds"),
        (["--method", "rzero", "--seeds", "1,-1"], "--seeds"),
        (["--method", "rzero", "--seeds", ""], "--seeds"),
        (["--method", "rzero", "--seeds", "99999999999"], "--seeds"),
        (["--method", "rzero", "--jobs", "-1"], "jobs"),
        (["--method", "rzero", "--jobs", "x"], "jobs"),
        (["--method", "rzero", "--plugin", "nowhere.py"], "no such file"),
        (["--method", "rzero", "--nonsense"], "nonsense"),
    ],
)
def test_bad_arguments(fails: Fails, command: str, arguments: list[str], told: str) -> None:
    assert told in fails(command, *arguments)


def test_bad_commands(fails: Fails) -> None:
    assert "--method" in fails("run")
    assert "No such command" in fails("rnu")
    assert "name at least one method" in fails("sweep", "--methods", " ")
    assert "did you mean" in fails("sweep", "--methods", "rzero vocab_dropuot")
    assert "no run folders" in fails("leaderboard", "collect", "--runs", "nowhere")
    assert "no run folders" in fails("resume", "--runs", "nowhere")
    assert "did you mean" in fails("methods", "show", "vocab_dropot")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nonsense_of_mine", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("x = 1", "registers no method"),
        (
            "from harness.methods import *\n@register('rzero')\nclass A(Method): pass",
            "already taken",
        ),
        ("from harness.methods import *\n@register('A b')\nclass A(Method): pass", "lower-case"),
    ],
)
def test_bad_plugins(fails: Fails, tmp_path: Path, text: str, told: str) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(text)
    assert told in fails("run", "--method", "rzero", "--plugin", str(plugin))
    assert told in fails("methods", "--plugin", str(plugin))


def test_a_checkpoint_without_a_tokenizer(fails: Fails, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_run.ROOT / "tasks" / "ladder" / "base", base)
    for path in base.glob("tokenizer*"):
        path.unlink()
    said = fails("run", "--method", "rzero", "--set", f"model.path={base}")
    assert "no usable tokenizer" in said
    assert "tokenizer.json" in said


@pytest.mark.parametrize("place", ["below_a_file", "/proc/nothing/here"])
def test_no_way_to_write(fails: Fails, tmp_path: Path, place: str) -> None:
    """As root, too: a path through a regular file, and one in /proc."""
    (tmp_path / "below_a_file").write_bytes(b"")
    folder = str(tmp_path / "below_a_file" / "x") if place == "below_a_file" else place
    assert "cannot write to" in fails("run", "--method", "rzero", "--runs", folder)
    assert "cannot write to" in fails("run", "--method", "rzero", "--out", folder)
    runs = tiny_run.finished("rzero").path.parent
    said = fails("leaderboard", "collect", "--runs", str(runs), "--out", folder)
    assert "cannot write to" in said


def copied(tmp_path: Path) -> Path:
    """The folder of a finished run, to be spoiled."""
    run = tiny_run.finished("rzero").path
    shutil.copytree(run, tmp_path / "runs" / run.name)
    return tmp_path / "runs" / run.name


@pytest.mark.parametrize(
    "name",
    [
        "eval/00.parquet",
        "eval/02.parquet",
        "iterations/01/questions.parquet",
        "iterations/02/metrics.json",
        "manifest.json",
        "done.json",
        "cost.json",
    ],
)
def test_corrupt_runs_make_no_table(fails: Fails, tmp_path: Path, name: str) -> None:
    path = copied(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-20])
    said = fails("leaderboard", "collect", "--runs", str(tmp_path / "runs"))
    assert name in said


@pytest.mark.parametrize("text", ["[]", "{}", '{"method": "rzero", "seed": 0, "config": {}}'])
def test_a_manifest_of_something_else(fails: Fails, tmp_path: Path, text: str) -> None:
    run = copied(tmp_path)
    (run / "manifest.json").write_text(text)
    (run / "done.json").unlink()
    runs = str(tmp_path / "runs")
    assert "manifest.json" in fails("leaderboard", "collect", "--runs", runs)
    assert "manifest.json" in fails("resume", "--runs", runs)


def test_resume_of_a_renamed_folder(fails: Fails, tmp_path: Path) -> None:
    run = copied(tmp_path)
    (run / "done.json").unlink()
    run.rename(run.with_name("mine"))
    assert "rename it back" in fails("resume", "--runs", str(tmp_path / "runs"))


def test_resume_of_a_corrupt_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What only a worker can find out is one line as well, and costs nothing that was there."""
    run = copied(tmp_path)
    (run / "done.json").unlink()
    (run / "iterations/01/questions.parquet").write_bytes(b"PAR1")
    before = sorted(p for p in run.rglob("*"))
    assert main(["resume", "--runs", str(tmp_path / "runs")]) == 2
    said = capfd.readouterr().err
    (line,) = [x for x in said.splitlines() if x.startswith("error")]
    assert "iterations/01/questions.parquet: corrupt parquet" in line
    assert "Traceback" not in said
    assert sorted(p for p in run.rglob("*")) == before


def test_the_real_process_says_it_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "--method", "vocab_dropout:alpha=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "alpha" in done.stderr
    assert list(tmp_path.iterdir()) == []
