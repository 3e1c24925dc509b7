"""From a base model and a training set to a checkpoint that declares its warm start."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import __version__
from harness.base import COST, RECORD, base_hash, base_label, read_warm_start, weights_hash
from harness.config.schema import RolesConfig
from harness.errors import HarnessError
from harness.policy import Policy
from harness.rng import stream
from harness.store import atomic_folder, write_json
from harness.versions import package_versions
from harness.warmstart.examples import Item, make_examples
from harness.warmstart.fit import Settings, Watch, fit, held_out_loss
from harness.warmstart.probe import probe


def warm_start(
    model: str,
    base: Path,
    out: Path,
    *,
    items: Sequence[Item],
    source: Mapping[str, Any],
    roles: RolesConfig,
    settings: Settings,
    watch: Watch = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make a warm-started checkpoint: a Hugging Face folder with its declaration, or nothing.

    Args:
        model: the base model as it was named; ``base`` is where it lies (or its hub id).
        items: of a training set; some are held out and never trained on.
        source: what the declaration says of the set: its ``name``, checksum, revision.
        watch, say: told about every step, and about every part of the work.

    Returns:
        The declaration.

    Raises:
        HarnessError: ``out`` exists, there are too few usable rows, or the training diverged.
    """
    if out.exists():
        raise HarnessError(f"{out}: exists already; choose another --out folder")
    started, cpu = time.perf_counter(), {"start": time.process_time()}

    def clock(part: str) -> None:
        cpu[part] = time.process_time() - sum(cpu.values())

    policy = Policy.load(base)
    longest = getattr(policy.model.config, "max_position_embeddings", settings.max_tokens)
    longest = min(longest, settings.max_tokens)
    examples = make_examples(items, policy.tokenizer, roles, longest)
    train_ids, held_ids = _split([str(item["id"]) for item in items], examples, settings)
    by_id = {str(item["id"]): item for item in items}
    held_items = [by_id[i] for i in held_ids]
    train = [e for i in train_ids for e in examples[i]]
    held = [e for i in held_ids for e in examples[i]]
    clock("load")

    def measured(moment: str) -> dict[str, dict[str, float]]:
        say(f"measuring {moment} training")
        loss = held_out_loss(policy, held, settings.micro_tokens)
        rates = probe(policy, held_items, roles, settings) if settings.probe else {}
        clock(f"measure_{moment}")
        return {"loss": loss, "format": rates}

    before = measured("before")
    say(f"training on {len(train_ids)} rows of {source['name']}")
    seen = fit(policy, train, settings, watch)
    clock("train")
    after = measured("after")
    inherited = read_warm_start(base)
    commit = getattr(policy.model.config, "_commit_hash", None)
    with atomic_folder(out) as folder:
        policy.save(folder)
        record = {
            "schema": 1,
            "harness": __version__,
            "base": {
                "name": base_label(model, inherited),
                "hash": base_hash(base, None, commit),
                "warm_start": inherited,
            },
            "source": dict(source),
            "rows": {
                "train": len(train_ids),
                "train_hash": _digest(train_ids),
                "held_out": len(held_ids),
                "held_out_hash": _digest(held_ids),
                "unusable": len(items) - len(examples),
            },
            "roles": roles.model_dump(mode="json"),
            "settings": asdict(settings),
            "seen": seen,
            "loss": {"before": before["loss"], "after": after["loss"]},
            "format": {"before": before["format"], "after": after["format"]},
            "weights": weights_hash(folder),
            "versions": package_versions(),
        }
        write_json(folder / RECORD, record)
        clock("save")
        del cpu["start"]
        write_json(folder / COST, _cost(cpu, time.perf_counter() - started))
    return record


def _split(
    ids: Sequence[str], usable: Mapping[str, Any], settings: Settings
) -> tuple[list[str], list[str]]:
    """Ids to train on and ids held out, drawn from the usable ones."""
    own = [i for i in ids if i in usable]
    most = len(own) - settings.held_out
    if most < max(1, settings.rows):
        raise HarnessError(
            f"warmstart: {len(own)} of {len(ids)} rows are usable and {settings.held_out} are held "
            f"out, which leaves {max(0, most)} to train on; lower --rows or --held-out"
        )
    shuffled = [
        own[int(i)] for i in stream(settings.seed, "warmstart", "rows").permutation(len(own))
    ]
    held, rest = shuffled[: settings.held_out], shuffled[settings.held_out :]
    return rest[: settings.rows or len(rest)], held


def _digest(ids: Sequence[str]) -> str:
    """Hash of a set of row ids."""
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()[:16]


def _cost(cpu: Mapping[str, float], wall: float) -> dict[str, Any]:
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "phases_cpu_seconds": {name: round(seconds, 3) for name, seconds in cpu.items()},
        "cpu_seconds": round(sum(cpu.values()), 3),
        "wall_seconds": round(wall, 3),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
    }
