"""What every run recorded of itself: manifest, how it ended, what it cost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from harness.leaderboard import Run
from harness.store import RunFolder, read_json

_SMOKE = "-smoke"
"""What the name of a profile's small size ends in."""


def read_manifests(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One record per run, incomplete ones among them, in the order given.

    Returns:
        Of each run: ``folder`` (its name), ``status``, ``command`` (what repeats it), ``manifest``
        (as it lies in the folder), ``cost`` and ``done`` (None where there are none).

    Raises:
        HarnessError: a file is corrupt.
    """
    found = []
    for run in runs:
        folder = RunFolder(run.folder)
        manifest = read_json(folder.manifest_path)
        found.append(
            {
                "folder": run.folder.name,
                "status": run.status.value,
                "command": command(manifest),
                "manifest": manifest,
                "cost": _if_there(folder, "cost.json"),
                "done": _if_there(folder, "done.json"),
            }
        )
    return found


def command(manifest: Mapping[str, Any]) -> str:
    """What a shell is told to repeat a run: method, profile, seed and the settings passed."""
    profile = str(manifest.get("profile", ""))
    words = ["python", "-m", "harness", "run", "--method", str(manifest.get("method", ""))]
    words += ["--profile", profile.removesuffix(_SMOKE)]
    words += ["--smoke"] if profile.endswith(_SMOKE) else []
    words += ["--seeds", f"{manifest.get('seed', 0)},"]  # with a comma it's a seed, not a count
    words += ["--plugin", "FILE.py"] if manifest.get("plugin_hash") else []
    passed = manifest.get("passed")
    for name in passed if isinstance(passed, list) else []:
        value = manifest.get("config")
        for part in str(name).split("."):
            value = value.get(part) if isinstance(value, dict) else None
        words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join(words)


def _if_there(folder: RunFolder, name: str) -> Any:
    path = folder.path / name
    return read_json(path) if path.exists() else None


def distinct(values: Iterable[Any]) -> tuple[list[Any], list[int]]:
    """Different JSON values in order of appearance, and for each value given which one it is.

    Hundreds of runs share one configuration; a page states it once.
    """
    places: dict[str, int] = {}
    found: list[Any] = []
    where: list[int] = []
    for value in values:
        text = json.dumps(value, sort_keys=True)
        if text not in places:
            places[text] = len(found)
            found.append(value)
        where.append(places[text])
    return found, where
