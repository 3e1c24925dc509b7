"""The base model of a run: where it lies, what tables call it, and its declared warm start.

A checkpoint that was warm-started says so itself, in a ``warmstart.json`` beside its weights; this
is the only place where a base is declared not to be zero-data.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HarnessError, one_line
from harness.store import read_json
from harness.store.run_folder import file_hash

ROOT = Path(__file__).resolve().parents[1]
"""Where ``harness``, ``baselines`` and ``tasks`` lie side by side, cloned or installed."""
RECORD = "warmstart.json"
COST = "warmstart.cost.json"
"""Seconds and memory of a warm start: apart, since no two executions agree in them."""


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str = Field(min_length=1)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    steps: int = Field(ge=1)


class WarmStart(BaseModel):
    """What `RECORD` must say for a table to name the warm start; it says more."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    schema_version: Literal[1] = Field(alias="schema")
    base: _Named
    source: _Named
    settings: _Settings
    weights: str = Field(min_length=8)


def resolve(path: str) -> Path:
    """A path as given, or beside the installed packages.

    Raises:
        HarnessError: neither exists.
    """
    for candidate in (Path(path), ROOT / path):
        if candidate.exists():
            return candidate
    raise HarnessError(f"{path}: not found here nor beside the installed package ({ROOT})")


def find_base(path: str) -> Path:
    """The folder or file of a base model, or its hub id as it is.

    Raises:
        HarnessError: it looks like a local path, and nothing is there.
    """
    try:
        return resolve(path)
    except HarnessError:
        if path.startswith((".", "/", "tasks/")) or path.endswith(".gguf"):
            raise
        return Path(path)


def base_hash(base: Path, revision: str | None, commit: str | None) -> str:
    """What identifies a base: the hash of its files, or its commit on the hub.

    Args:
        revision: the hub revision that was asked for.
        commit: the commit that was loaded, where transformers says.
    """
    return file_hash(base, (COST,)) if base.exists() else f"hub:{base}@{commit or revision}"


def weights_hash(folder: Path) -> str:
    """sha256 (16 hexadecimal digits) of a checkpoint's safetensors."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def read_warm_start(
    base: Path, revision: str | None = None, *, local: bool = False
) -> dict[str, Any] | None:
    """The declared warm start of a base model; None if it declares none.

    Args:
        local: ask this machine alone, not the hub.

    Raises:
        HarnessError: the declaration is unreadable, or it is of other weights.
    """
    if base.suffix == ".gguf":
        return None
    path = base / RECORD if base.exists() else hub_file(base, RECORD, revision, local=local)
    if path is None or not path.exists():
        return None
    record = read_json(path)
    try:
        declared = WarmStart.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HarnessError(
            f"{path}: not a declaration of a warm start ({where}: {one_line(first['msg'])}); "
            "restore the file"
        ) from error
    if base.exists() and weights_hash(base) != declared.weights:
        raise HarnessError(
            f"{path}: declares the warm start of other weights than lie beside it; restore the "
            "folder, or make the warm start again"
        )
    return dict(record)


def base_label(path: str, warm_start: dict[str, Any] | None) -> str:
    """What tables call a base model.

    A hub id and a shipped folder keep their path, any other folder or file its own name; a warm
    start adds what it was made from, on what, and the first digits of its weights' hash.
    """
    if warm_start is not None:
        declared = WarmStart.model_validate(warm_start)
        steps = declared.settings.steps
        return (
            f"{declared.base.name} + warm start {declared.source.name} "
            f"({steps} step{'s' * (steps != 1)}, {declared.weights[:8]})"
        )
    local = path.startswith(("/", ".", "~")) or path.endswith(".gguf")
    return Path(path).resolve().name if local else path


def describe_base(
    path: str, base: Path, revision: str | None, commit: str | None
) -> dict[str, Any]:
    """What manifests say of a base model; one with a warm start isn't zero-data.

    Args:
        path: as it was named; ``base`` is where it lies (or its hub id).
        revision, commit: as in `base_hash`.
    """
    warm_start = read_warm_start(base, revision)
    return {
        "base_model": base_label(path, warm_start),
        "base_model_hash": base_hash(base, revision, commit),
        "warm_start": warm_start,
        "zero_data": warm_start is None,
    }


def hub_file(base: Path, name: str, revision: str | None, *, local: bool = False) -> Path | None:
    """A file of a hub repository; None where there is none or the hub can't be asked.

    Args:
        local: look at what was downloaded before, nowhere else.
    """
    from transformers.utils import cached_file

    found = cached_file(
        str(base),
        name,
        revision=revision,
        local_files_only=local,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None
