"""Responses kept on disk, so that an evaluation that was stopped goes on where it was.

Only what a model said is kept, never how it was graded: a later evaluation grades it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError

Key = tuple[int, int, str]
"""(doc_id, sample, prompt hash)."""


@dataclass(frozen=True)
class Generation:
    """One response with what lm-eval's own records leave out."""

    response: str
    n_tokens: int  # end token included
    truncated: bool  # neither an end token nor a stop string within the limit


class ResponseCache:
    """Responses of one model under one sampling seed, in one JSON Lines file for each task.

    A response is found again by model, seed, task hash (`sampling_hash`: name and generation
    parameters), document, sample index and prompt hash.

    Args:
        folder: where the files of all models lie.
        model: identifies weights, engine and number format.
        seed: seed of the samples.
    """

    def __init__(self, folder: Path, model: str, seed: int) -> None:
        digest = hashlib.sha256(f"{model}\n{seed}".encode()).hexdigest()[:16]
        self.folder = folder / digest
        self._read: dict[str, dict[Key, Generation]] = {}

    def known(self, task: str, task_hash: str) -> Mapping[Key, Generation]:
        """The responses kept for a task."""
        path = self._path(task, task_hash)
        if path.name not in self._read:
            self._read[path.name] = _read(path)
        return self._read[path.name]

    def add(self, task: str, task_hash: str, rows: Sequence[tuple[Key, Generation]]) -> None:
        """Keep responses, durably, before anything else is done with them.

        Raises:
            HarnessError: no permission, disk full.
        """
        path = self._path(task, task_hash)
        lines = [
            json.dumps({"doc_id": doc, "sample": sample, "prompt_hash": prompt, **asdict(kept)})
            for (doc, sample, prompt), kept in rows
        ]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="ascii") as file:
                # A writer killed in mid-line left no newline; blank lines are nothing.
                file.write("\n" + "\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HarnessError(f"cannot write {path}: {error.strerror or error}") from error
        self._read.setdefault(path.name, _read(path)).update(rows)

    def _path(self, task: str, task_hash: str) -> Path:
        return self.folder / f"{task}-{task_hash[:16]}.jsonl"


def _read(path: Path) -> dict[Key, Generation]:
    """What a file holds; an incomplete line is a response that was never kept."""
    if not path.exists():
        return {}
    found: dict[Key, Generation] = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            row = json.loads(line)
            key = (int(row["doc_id"]), int(row["sample"]), str(row["prompt_hash"]))
            kept = Generation(str(row["response"]), int(row["n_tokens"]), bool(row["truncated"]))
        except (ValueError, KeyError, TypeError):
            continue
        found.setdefault(key, kept)
    return found
