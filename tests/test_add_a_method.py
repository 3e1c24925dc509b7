"""The page for newcomers is true: its file, its size, its command, and what the command does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_run

from harness.testing import conformance

PAGE = (tiny_run.ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
EXAMPLE = tiny_run.ROOT / "examples" / "my_method.py"


def test_the_page_shows_the_file() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block == EXAMPLE.read_text(encoding="utf-8")
    assert len(block.splitlines()) < 40


def test_the_page_names_what_exists() -> None:
    from harness.methods.base import HOOKS

    table = re.findall(r"^\| .*? \| (`.*`) \|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == set(HOOKS)
    for path in re.findall(r"`((?:harness|docs|examples|baselines)/[\w./]*)`", PAGE):
        assert (tiny_run.ROOT / path).exists(), path


def test_the_line_for_tests_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r"^test_my_method = conformance\(\"(.*?)\"\)", PAGE, re.MULTILINE)
    (named,) = re.findall(r"pytest names each check \(`(.*?)`\)", PAGE)
    monkeypatch.chdir(tiny_run.ROOT)
    (mark,) = conformance(line).pytestmark  # type: ignore[attr-defined]
    assert named in [case.id for case in mark.args[1]]


def test_the_command_on_the_page(tmp_path: Path) -> None:
    """Run as written, but for one seed, smaller, and in folders of its own."""
    (line,) = re.findall(r"^(python -m harness run .*)$", PAGE, re.MULTILINE)
    words = shlex.split(line)
    assert words[1:] == [
        *("-m", "harness", "run", "--method", "short_questions"),
        *("--plugin", "examples/my_method.py", "--smoke"),
    ]
    done = subprocess.run(
        [
            *(sys.executable, *words[1:], "--seeds", "1"),
            *("--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")),
            *tiny_run.settings([*tiny_run.TINY, "solver.steps=1"]),
        ],
        cwd=tiny_run.ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "short_questions" in done.stdout
    (run,) = (tmp_path / "runs").glob("short_questions-ladder-smoke-s0-*")
    for t in (1, 2):
        found = json.loads((run / f"iterations/{t:02d}/metrics.json").read_text())
        assert found["method/questions_with_bonus"] > 0
        assert found["train/proposer/reward/brevity"] > 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["plugin_hash"]
    board = pd.read_csv(tmp_path / "out" / "ladder-ladder-smoke.csv")
    assert {"base", "rzero", "short_questions"} == set(board["method"])
    (baseline,) = (tmp_path / "runs").glob("rzero-*")
    questions = [
        pd.read_parquet(r / "iterations/02/questions.parquet")["response"] for r in (run, baseline)
    ]
    assert not questions[0].equals(questions[1])
