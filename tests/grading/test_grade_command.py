"""``python -m harness grade``: verdicts on a file of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_verdicts_in_order_with_line_and_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": "a", "gold": "5", "pred": r"so \boxed{5}"},
        {"gold": "x+1", "pred": "1+x"},
        {"id": 3, "gold": "5", "pred": None},
        {"gold": "5", "pred": "10^{10^{10^{10}}}", "more": [1]},
        {"id": "\ud800", "gold": "5", "pred": "\ud800\0 5"},
        {"gold": "5", "pred": "9" * 1_000_000},
        {"gold": "2,3", "pred": r"$\boxed{2}$ and $\boxed{3}$"},
        {"gold": "5", "pred": "Therefore the answer is 5"},
        {"gold": "", "pred": "5"},
    ]
    file = _write(tmp_path / "pairs.jsonl", rows)
    file.write_text(file.read_text().replace("\n", "\n\n", 1))  # an empty line counts as a line
    assert main(["grade", str(file), "--deadline", "2", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    found = [json.loads(line) for line in printed.splitlines()]
    assert [row["verdict"] for row in found] == [
        *("correct", "correct", "no_answer", "timeout", "wrong", "wrong", "correct", "correct"),
        "wrong",
    ]
    assert [row["line"] for row in found] == [1, *range(3, 11)]
    assert [row.get("id") for row in found][:5] == ["a", None, 3, None, "\ud800"]
    assert [row["found"] for row in found][:3] == ["box", "bare", "none"]
    out = tmp_path / "verdicts.jsonl"
    assert main(["grade", str(file), "--deadline", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text() == printed


def test_more_rows_than_one_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"gold": str(n), "pred": str(n + n % 2)} for n in range(600)]
    assert main(["grade", str(_write(tmp_path / "many.jsonl", rows))]) == 0
    found = [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["wrong" if n % 2 else "correct" for n in range(600)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{bad", "not JSON"),
        (b'{"gold": "\xff", "pred": "1"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "'gold' and 'pred'"),
        (b'{"gold": "1"}', "'gold' and 'pred'"),
        (b'{"pred": "1"}', "'gold' and 'pred'"),
        (b'{"gold": 1, "pred": "1"}', "'gold' must be text"),
        (b'{"gold": null, "pred": "1"}', "'gold' must be text"),
        (b'{"gold": "1", "pred": 1}', "'pred' must be text or null"),
        (b'{"gold": "1", "pred": ["1"]}', "'pred' must be text or null"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: bytes, says: str
) -> None:
    file, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(b'{"gold": "1", "pred": "1"}\n' + line + b"\n")
    assert main(["grade", str(file), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "line 2" in told.err
    assert says in told.err
    assert not out.exists()


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = _write(tmp_path / "good.jsonl", [{"gold": "1", "pred": "1"}])
    empty = _write(tmp_path / "empty.jsonl", [])
    for arguments, says in [
        ([str(tmp_path / "none.jsonl")], "no such file"),
        ([str(empty)], "no rows"),
        ([str(good), "--deadline", "0"], "deadline"),
        ([str(good), "--workers", "0"], "workers"),
        ([str(good), "--out", str(good)], "name another"),
        ([str(good), "--out", str(tmp_path / "no" / "where")], "can't write"),
    ]:
        assert main(["grade", *arguments]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert says in told.err
    assert good.read_text().count("gold") == 1
