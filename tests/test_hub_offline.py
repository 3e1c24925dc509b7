"""A hub that can't be reached: the files that the cache lacks are named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import BASE

MODEL = "someone/some-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
LOAD = f"""
from harness.errors import HarnessError
from harness.policy import Policy
try:
    print(Policy.load("{MODEL}").parameters)
except HarnessError as error:
    print(error)
"""


def load_offline(home: Path, *files: str, extra: dict[str, str] | None = None) -> str:
    """What loading says with these files of the model in the cache."""
    repository = home / "hub" / "models--someone--some-model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for name in files:
        shutil.copy(BASE / name, snapshot / name)
    for name, text in (extra or {}).items():
        (snapshot / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("files", "absent"),
    [
        ((), "config.json, tokenizer_config.json, tokenizer.json, model.safetensors are"),
        (("config.json", *TOKENIZER), "model.safetensors is"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: tuple[str, ...], absent: str) -> None:
    said = load_offline(tmp_path, *files)
    assert f"model {MODEL}: {absent} not in the cache" in said
    assert "HF_HUB_OFFLINE is set" in said
    assert "\n" not in said


def test_a_part_of_a_model_in_parts(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    shutil.copy(BASE / "model.safetensors", tmp_path / "part")
    said = load_offline(
        tmp_path / "home",
        *("config.json", *TOKENIZER),
        extra={"model.safetensors.index.json": index, "model-1.safetensors": ""},
    )
    assert "model-2.safetensors is not in the cache" in said


def test_a_whole_model_needs_no_hub(tmp_path: Path) -> None:
    said = load_offline(tmp_path, "config.json", "model.safetensors", *TOKENIZER)
    assert said.isdigit()
