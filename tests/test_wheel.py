"""The package works installed, from any folder: methods, tasks, profiles and base come along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, unpacked as an installer would."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(scratch), str(source)], check=True)
    (wheel,) = scratch.glob("*.whl")
    target = scratch / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def _run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The unpacked wheel shadows the editable install of the sources.
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_installed_wheel_knows_its_methods(installed: Path, tmp_path: Path) -> None:
    names = {m["name"] for m in json.loads(_run(installed, tmp_path, "methods", "--json").stdout)}
    assert {"rzero", "vocab_dropout", "static_proposer"} <= names
    assert not (installed / "tests").exists()


def test_installed_wheel_runs_from_another_folder(installed: Path, tmp_path: Path) -> None:
    tiny = ["iterations=1", "curriculum.questions=16", "curriculum.min_survivors=1"]
    tiny += ["evaluation.limit=4", "votes.n=4", "solver.steps=1", "solver.prompts_per_step=2"]
    settings = [part for value in tiny for part in ("--set", value)]
    result = _run(
        installed, tmp_path, "run", "--method", "rzero", "--seeds", "1", "--smoke", *settings
    )
    assert (tmp_path / "leaderboards" / "ladder-ladder-smoke.csv").is_file(), result.stderr
    manifest = next((tmp_path / "runs").glob("*/manifest.json"))
    assert json.loads(manifest.read_text())["base_model"] == "tasks/ladder/base"
