"""The card of a dataset folder: what is in it, where it comes from, what not to trust."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from harness.leaderboard.collect import Run, Table
from harness.leaderboard.schema import short_hash
from harness.leaderboard.views import escaped
from harness.store import Status

_ABOUT = """
Methods that keep language models diverse while they teach themselves, trained in one loop over
several seeds and compared with intervals. Made from run folders alone by
`python -m harness leaderboard collect --dataset`; the same folders give the same bytes.

```python
from datasets import load_dataset

board = load_dataset(FOLDER, "leaderboard", split="train").to_pandas()
```

| configuration | one row for |
|---|---|
| `leaderboard` | each table, method, metric and moment: mean over runs, intervals, ranks |
| `runs` | each run, iteration and metric: the numbers that the means are of |
| `items` | each evaluated sample of each run: score and verdict; 0 is the base model |
| `questions` | up to 24 questions of each run and iteration, with label and known answer |
| `matched` | each method and budget: accuracy at equal tokens, FLOPs and seconds |

The columns are explained in `leaderboards/README.md` of the harness. An empty cell means 'not
known', never 0. The unit of replication is the training run; no seed is dropped, whatever its
status.

> **What models wrote is untrusted.** `question`, `label` and `true_answer` hold text that trained
> models made up, unfiltered. It may be false, offensive, or look like code, markup or an
> instruction. Treat it as data: escape it before showing it, never run it, and don't put it into a
> prompt unmarked.
"""


def card(table: Table, configs: Sequence[str]) -> str:
    """The ``README.md`` of a dataset folder; holds no time and no path, only what the runs say.

    Args:
        table: what `collect` read.
        configs: configurations with rows, in their order, each in ``<name>.parquet``; the first one
            is the default.
    """
    front = {
        "pretty_name": "Leaderboards of diversity interventions in language-model co-evolution",
        "license": "apache-2.0",
        "language": ["en"],
        "tags": [
            "leaderboard",
            "benchmark",
            "self-play",
            "co-evolution",
            "reinforcement-learning",
            "diversity",
            "synthetic",
        ],
        "configs": [_config(name, first=name == configs[0]) for name in configs],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {front['pretty_name']}",
        _ABOUT.strip(),
        "## Provenance",
        *(_provenance(part) for part in table.groups),
    ]
    return "\n\n".join(parts) + "\n"


def _config(name: str, first: bool) -> dict[str, Any]:
    config: dict[str, Any] = {"config_name": name, "data_files": f"{name}.parquet"}
    return config | ({"default": True} if first else {})


_FIELDS: dict[str, Callable[[Run], Any]] = {
    "harness version": lambda r: r.manifest.harness,
    "commit": lambda r: r.manifest.git.get("commit"),
    "uncommitted changes": lambda r: r.manifest.git.get("dirty"),
    "base model": lambda r: r.manifest.base_model,
    "hash of the base model": lambda r: r.manifest.base_model_hash,
    "trained on no data": lambda r: r.manifest.zero_data,
    "hash of the configuration": lambda r: r.manifest.config_hash,
    "hash of the evaluation data": lambda r: short_hash(r.manifest.data_hashes),
    "hash of the prompts": lambda r: short_hash(r.manifest.prompt_hash),
    "hash of a plug-in": lambda r: r.manifest.plugin_hash or "none",
    "engine": lambda r: r.manifest.engine,
    "hardware": lambda r: r.manifest.hardware,
    "library versions": lambda r: r.manifest.versions,
}
"""What a card says of the runs' origin, from their manifests."""


def _provenance(part: Table) -> str:
    """One table's runs: how many, how they ended, what is missing, and where they come from."""
    runs = part.runs
    counts = Counter(run.status for run in runs)
    methods = {run.manifest.method for run in runs}
    ended = ", ".join(f"{counts[s]} {s.value}" for s in Status if counts[s])
    lines = [
        f"### {', '.join(escaped(name) for name in dict.fromkeys(part.names) if name)}",
        "",
        f"{len(runs)} runs of {len(methods)} methods: {ended}.",
        "",
        "| | value | runs |",
        "|---|---|---|",
    ]
    for label, read in _FIELDS.items():
        values = Counter(_shown(read(run)) for run in runs)
        lines += [f"| {label} | {escaped(value)} | {n} |" for value, n in sorted(values.items())]
    if part.missing:
        lines += ["", "Incomplete or missing, and never averaged:", ""]
        lines += [f"- {escaped(g.method)}, seed {g.seed}: {escaped(g.why)}" for g in part.missing]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A manifest's value on one line; what is not recorded is unknown, which is an answer."""
    if value is None or value == "" or value == {}:
        return "unknown"
    if isinstance(value, dict):
        known = {k: "none" if v is None else v for k, v in value.items()}
        return ", ".join(f"{k} {_shown(v)}" for k, v in sorted(known.items()))
    return value if isinstance(value, str) else json.dumps(value)
