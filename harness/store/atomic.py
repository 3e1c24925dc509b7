"""Writes that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError

from harness.errors import HarnessError

PARTIAL = ".partial"
"""Suffix of what is being written; never read, removed by the next writer."""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors has its own name for a full disk
        reason = getattr(error, "strerror", None) or error
        raise HarnessError(
            f"cannot write {path}: {reason}; free space or fix permissions, then "
            "run the same command again: finished work is kept"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file durably: temporary name, fsync, rename.

    Raises:
        HarnessError: no permission, disk full.
    """
    partial = path.with_name(f"{path.name}{PARTIAL}")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN is refused (use None)."""
    try:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise HarnessError(f"{path}: {error}; a metric is not finite") from error
    # What a model wrote may hold lone surrogates, which UTF-8 has no place for.
    write_bytes(path, text.encode("utf-8", "backslashreplace") + b"\n")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table; the same table gives the same bytes."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(path, buffer.getvalue())


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that takes its place when the block ends without an error."""
    partial = path.with_name(f"{path.name}{PARTIAL}")
    with _explained(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with _explained(path):
            yield partial
            _sync(partial)
            if path.exists():
                shutil.rmtree(path)
            os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
