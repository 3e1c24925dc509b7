"""A file or folder is there whole or not at all, and failures are one line that a person can use.

The tests may run as root, so that failures are real ones which root meets too: a size limit, and
a path that runs through a regular file.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file
from torch import zeros

from harness.errors import HarnessError
from harness.store import (
    atomic_folder,
    read_json,
    read_parquet,
    write_bytes,
    write_json,
    write_parquet,
)

LIMIT = 100_000


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond ``LIMIT`` bytes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"question": ["2 + 2?", None, "ü"], "p_hat": [0.25, float("nan"), 1.0]})


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_full_disk_leaves_the_old_file(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(HarnessError, match=r"cannot write .*a\.bin: File too large; free space"):
        write_bytes(path, b"x" * (2 * LIMIT))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("writer", ["safetensors", "python"])
def test_full_disk_leaves_the_old_folder(tmp_path: Path, full_disk: None, writer: str) -> None:
    path = tmp_path / "solver"
    with atomic_folder(path) as folder:
        (folder / "weights").write_bytes(b"old")

    def replace() -> None:
        with atomic_folder(path) as folder:
            (folder / "other").write_bytes(b"new")
            if writer == "python":
                (folder / "weights").write_bytes(b"x" * (2 * LIMIT))
            else:
                save_file({"x": zeros(LIMIT)}, folder / "weights")

    with pytest.raises(HarnessError, match=r"cannot write .*File too large"):
        replace()
    assert (path / "weights").read_bytes() == b"old"
    assert names(tmp_path) == ["solver"]
    assert names(path) == ["weights"]


def test_error_in_the_middle_of_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "solver"
    with atomic_folder(path) as folder:
        (folder / "weights").write_bytes(b"old")

    def replace() -> None:
        with atomic_folder(path) as folder:
            (folder / "weights").write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert (path / "weights").read_bytes() == b"old"
    assert names(tmp_path) == ["solver"]


def test_leftovers_of_a_kill_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.json.partial").write_bytes(b"half")
    (tmp_path / "solver.partial").mkdir()
    (tmp_path / "solver.partial" / "stale").write_bytes(b"half")
    write_json(tmp_path / "a.json", {"x": 1})
    with atomic_folder(tmp_path / "solver") as folder:
        (folder / "weights").write_bytes(b"new")
    assert names(tmp_path) == ["a.json", "solver"]
    assert names(tmp_path / "solver") == ["weights"]


def test_no_way_to_write_is_one_line(tmp_path: Path, frame: pd.DataFrame) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "below" / "x"
    with pytest.raises(HarnessError, match=r"cannot write .*: Not a directory; .*finished work"):
        write_json(path, {})
    with pytest.raises(HarnessError, match="cannot write"):
        write_parquet(path, frame)
    with pytest.raises(HarnessError, match="cannot write"), atomic_folder(path):
        pass


def test_same_table_same_bytes(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_parquet(tmp_path / "a", frame)
    write_parquet(tmp_path / "b", frame.copy())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "a"), frame)


def test_json_is_sorted_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": None, "a": "ü \ud800"})
    assert path.read_text().splitlines()[1].strip().startswith('"a"')
    assert read_json(path) == {"a": "ü \ud800", "b": None}
    for value in (float("nan"), float("inf")):
        with pytest.raises(HarnessError, match=r"a\.json.*not finite"):
            write_json(path, {"x": value})
    assert read_json(path)["b"] is None


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", b"PAR1"])
def test_corrupt_json_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(HarnessError, match=r"a\.json: not readable as JSON") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_parquet_is_one_line(tmp_path: Path, frame: pd.DataFrame, kept: int) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, frame)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HarnessError, match=r"a\.parquet: corrupt parquet") as caught:
        read_parquet(path)
    assert "\n" not in str(caught.value)


def test_scrambled_parquet_is_one_line(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, frame)
    data = bytearray(path.read_bytes())
    data[-60:-8] = bytes(52)
    path.write_bytes(data)
    with pytest.raises(HarnessError, match="corrupt parquet") as caught:
        read_parquet(path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_parquet):
        with pytest.raises(HarnessError, match=r"x\.dat: missing"):
            read(tmp_path / "x.dat")
