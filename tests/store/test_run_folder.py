"""Names, status, lock and events of a run folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, RunLockedError
from harness.store import RunFolder, Status, write_json
from harness.store.run_folder import config_hash, file_hash

HOLD = """
import sys, time
from pathlib import Path
from harness.store import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""
IDENTITY: dict[str, Any] = {
    "method": "rzero",
    "seed": 0,
    "config_hash": "c",
    "base_model_hash": "m",
    "data_hashes": {"task": "d"},
    "plugin_hash": None,
}
MANIFEST: dict[str, Any] = {
    **IDENTITY,
    "schema": 2,
    "profile": "ladder",
    "suite": "ladder",
    "config": {},
    "base_model": "b",
    "prompt_hash": {},
    "engine": {"name": "torch"},
    "harness": "1",
    "versions": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.path.mkdir()
    return made


def test_name_says_what_it_is(tmp_path: Path) -> None:
    folder = RunFolder.named(tmp_path, "vocab_dropout", "ladder", 3, "0123456789ab")
    assert folder.path.name == "vocab_dropout-ladder-s3-01234567"


def test_entries_never_share_a_folder(tmp_path: Path) -> None:
    long = "a:" + ",".join(f"parameter_{i}={i}" for i in range(20))
    entries = ["a", "a:b=1", "a-b=1", "a:b=[1]", "a:b=(1)", "a:b=1/2", "a+b", long, long + "0"]
    names = {RunFolder.named(tmp_path, e, "p", 0, "0" * 12).path.name for e in entries}
    # "a:b=1" and "a-b=1" read alike, but no method's name may hold a hyphen.
    assert len(names) == len(entries) - 1
    assert all(len(n) < 120 and "/" not in n for n in names)


def test_status_is_read_back(folder: RunFolder) -> None:
    assert folder.status is Status.INCOMPLETE
    for status in set(Status) - {Status.INCOMPLETE}:
        folder.finish(status, 2, "why")
        assert folder.status is status
    record = json.loads(folder.done_path.read_text())
    assert set(record) == {"schema", "status", "iterations", "detail"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"status": "odd"}', '{"status": 1}', "null"])
def test_corrupt_status_is_one_line(folder: RunFolder, text: str) -> None:
    folder.done_path.write_text(text)
    with pytest.raises(HarnessError, match=r"done\.json") as caught:
        _ = folder.status
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(IDENTITY))
def test_a_folder_belongs_to_one_run(folder: RunFolder, key: str) -> None:
    folder.open(MANIFEST)
    folder.open(MANIFEST)
    with pytest.raises(HarnessError, match="made with another"):
        folder.open({**MANIFEST, key: "other"})
    assert json.loads(folder.manifest_path.read_text()) == MANIFEST


def test_a_manifest_that_is_no_record_is_refused(folder: RunFolder) -> None:
    write_json(folder.manifest_path, [1])
    with pytest.raises(HarnessError, match="made with another"):
        folder.open(MANIFEST)


def test_a_folder_of_a_later_version_is_not_touched(folder: RunFolder) -> None:
    write_json(folder.manifest_path, {**MANIFEST, "schema": 3})
    with pytest.raises(HarnessError, match=r"manifest\.json: schema version 3 is not supported"):
        folder.open(MANIFEST)


def test_evaluations_are_found_by_iteration(folder: RunFolder) -> None:
    for name in ("100.parquet", "02.parquet", "00.parquet", "x.parquet", "3.parquet", "01.txt"):
        (folder.path / "eval").mkdir(exist_ok=True)
        (folder.path / "eval" / name).write_bytes(b"")
    assert list(folder.evaluations()) == [0, 2, 100]
    assert folder.evaluations()[100] == folder.evaluation(100)


def test_lock_is_exclusive_and_freed_by_a_kill(folder: RunFolder) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunLockedError, match=f"in use by process {holder.pid};") as caught,
            folder.locked(),
        ):
            pass
        assert caught.value.exit_code == 3
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with folder.locked():
            assert (folder.path / "lock").read_text() == f"process {os.getpid()}"


def test_lock_is_freed_by_an_error(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.locked():
        _ = 1 / 0
    with folder.locked(), pytest.raises(RunLockedError), RunFolder(folder.path).locked():
        pass


def test_lock_under_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(HarnessError, match=r"cannot write .*; choose a writable --runs folder"),
        RunFolder(tmp_path / "file" / "run").locked(),
    ):
        pass


def test_torn_event_costs_no_other(folder: RunFolder) -> None:
    path = folder.path / "events.jsonl"
    assert folder.events() == []
    folder.event("step", step=0)
    folder.event("step", step=1)
    path.write_bytes(path.read_bytes()[:-9])
    assert [e["step"] for e in folder.events()] == [0]
    folder.event("step", step=2)
    folder.event("step", step=3)
    assert [e["step"] for e in folder.events()] == [0, 2, 3]
    path.write_bytes(path.read_bytes() + b'[1]\n"x"\n\xff\xfe\n')
    assert [e["step"] for e in folder.events()] == [0, 2, 3]


def test_event_that_cannot_be_written_is_one_line(folder: RunFolder) -> None:
    (folder.path / "events.jsonl").mkdir()
    with pytest.raises(HarnessError, match=r"cannot write .*events\.jsonl"):
        folder.event("step")


def test_hashes_depend_on_content_alone(tmp_path: Path) -> None:
    assert config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"same")
    assert file_hash(tmp_path / "x") == file_hash(tmp_path / "y")
    (tmp_path / "y" / "weights").write_bytes(b"other")
    assert file_hash(tmp_path / "x") != file_hash(tmp_path / "y")
