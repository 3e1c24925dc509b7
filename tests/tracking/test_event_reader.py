"""Reading events while they are written, cut, replaced, or made up."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store import RunFolder
from harness.tracking import EventReader, printable, read_object, scalars

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["event", "iteration", "metrics", "global_step", "role", "time", "step"])
VALUES = JSON | st.sampled_from(["metrics", "step_end", "proposer", "solver"])


def test_each_event_is_handed_out_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    reader = EventReader(tmp_path / "events.jsonl")
    assert reader.new() == []
    folder.event("step", step=0)
    folder.event("step", step=1)
    assert [e["step"] for e in reader.new()] == [0, 1]
    assert reader.new() == []
    folder.event("step", step=2)
    assert [e["step"] for e in reader.new()] == [2]


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "a"}\n' * 1000)
    asked: list[int] = []
    pread = os.pread

    def noted(handle: int, size: int, offset: int) -> bytes:
        asked.append(offset)
        return pread(handle, size, offset)

    monkeypatch.setattr(os, "pread", noted)
    reader = EventReader(path)
    assert len(reader.new()) == 1000
    size = path.stat().st_size
    for _ in range(5):
        with open(path, "a") as file:
            file.write('{"event": "b"}\n')
        assert len(reader.new()) == 1
    assert asked[0] == 0
    assert min(asked[1:]) == size


def test_a_line_waits_until_it_is_whole_and_a_cut_one_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    path.write_bytes(b'{"event": "one"}\n{"event": "tw')
    assert [e["event"] for e in reader.new()] == ["one"]
    with open(path, "ab") as file:
        file.write(b'o"}\n{"event": "kil')  # and here the process is killed
    assert [e["event"] for e in reader.new()] == ["two"]
    RunFolder(tmp_path).event("start")
    assert [e["event"] for e in reader.new()] == ["start"]


def test_a_file_that_is_replaced_or_cut_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "old"}\n' * 3)
    reader = EventReader(path)
    assert len(reader.new()) == 3
    path.write_text('{"event": "cut"}\n')
    assert [e["event"] for e in reader.new()] == ["cut"]
    other = tmp_path / "other"
    other.write_text('{"event": "new"}\n' * 9)
    os.replace(other, path)
    assert [e["event"] for e in reader.new()] == ["new"] * 9
    path.unlink()
    assert reader.new() == []


def test_what_is_no_event_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    deep = b"[" * 100_000
    long = b'{"event": "' + b"x" * 3_000_000 + b'"}'
    lines = [b"\xff\xfe\x00", b"", b"[1, 2]", b"null", b'"text"', deep, b'{"event": NaN}', long]
    path.write_bytes(b"\n".join([*lines, b'{"event": "whole"}', b""]))
    found = EventReader(path).new()
    assert len(found) == 2
    assert math.isnan(found[0]["event"])  # JSON enough for Python
    assert found[1] == {"event": "whole"}


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device"])
def test_what_is_no_file_is_no_trouble(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else "/dev/zero")
    assert EventReader(path).new() == []
    assert read_object(path) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\xff", "[" * 100_000])
def test_half_a_document_is_empty(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert read_object(tmp_path / "manifest.json") == {}


def test_scalars_are_what_is_finite() -> None:
    values = {"a": 1, "b": 0.5, "c": None, "d": float("nan"), "e": True, "f": "1", "g": 10**400}
    event = {"event": "metrics", "iteration": 2, "metrics": values, "time": 7.0}
    known = scalars(json.loads(json.dumps(event)))
    assert known is not None
    assert known.values == {"a": 1.0, "b": 0.5}
    assert (known.kind, known.x, known.iteration, known.time) == ("metrics", 2, 2, 7.0)
    step = {**event, "event": "step_end", "role": "solver", "step": 1, "global_step": 9}
    known = scalars(step)
    assert known is not None
    assert (known.kind, known.x, known.iteration, known.role) == ("steps", 9, 2, "solver")
    for wrong in ({"role": "../x"}, {"global_step": -1}, {"iteration": None}, {"metrics": []}):
        assert scalars({**step, **wrong}) is None
    assert scalars({**event, "metrics": {"bad\x1bname": 1.0, "\ud800": 1.0}}).values == {}  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_no_event_is_too_strange(event: dict[str, object]) -> None:
    known = scalars(event)
    assert known is None or all(isinstance(x, float) for x in known.values.values())


def test_printable_text_moves_no_cursor() -> None:
    assert printable("a\x1b[2Jb\n\u202ec") == "a?[2Jb??c"
    assert printable("x" * 300, 10) == "x" * 9 + "…"
    assert printable("é漢") == "é漢"
