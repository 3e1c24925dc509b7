"""The command that makes a warm-started checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.base import COST, base_label, find_base
from harness.config import load_config
from harness.data import data_folder, file_sha256, load_items, sources, use_folder
from harness.errors import HarnessError
from harness.store import read_json
from harness.warmstart import Settings, Step, warm_start


class StoppedError(HarnessError):
    """Stopped by hand; unlike a run, a warm start begins anew."""

    exit_code = 130


def run_warm_start(
    model: str,
    data: Path | None,
    out: Path,
    source: str,
    profile: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Make the checkpoint and print what it learned."""
    if out.exists():  # before seconds of loading
        raise HarnessError(f"{out}: exists already; choose another --out folder")
    use_folder(data)
    items = load_items(source)
    if sources()[source].split != "train":
        training = [name for name, s in sources().items() if s.split == "train"]
        raise HarnessError(
            f"warmstart: {source} is a test set; a warm start trains on a training set only "
            f"({', '.join(training)})"
        )
    config, _ = load_config(profile)
    import torch

    torch.set_num_threads(config.threads)
    base = find_base(model)

    def say(line: str) -> None:
        print(f"warmstart: {line}", file=sys.stderr, flush=True)

    def watch(step: Step) -> None:
        if step.step in (1, step.of) or step.step % max(1, step.of // 20) == 0:
            say(
                f"step {step.step}/{step.of}: loss {step.loss:.3f} nats per token, "
                f"{step.tokens:,} tokens"
            )

    try:
        record = warm_start(
            model,
            base,
            out,
            items=items,
            source=_declared(source, len(items)),
            roles=config.roles,
            settings=settings,
            watch=watch,
            say=say,
        )
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; nothing was written to {out}") from None
    if as_json:
        print(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        _print(record, out)


def _declared(name: str, rows: int) -> dict[str, Any]:
    """What the declaration says of a set: its file's checksum, or its revision on the hub."""
    source, folder = sources()[name], data_folder()
    where = {"revision": source.revision, "hub": source.hub}
    if folder is not None:
        where = {"file": source.file, "sha256": file_sha256(folder / source.file)}
    return {"name": name, "rows": rows, "licence": source.licence, **where}


def _print(record: dict[str, Any], out: Path) -> None:
    table = Table("", "before", "after", title=base_label(str(out), record))
    for role, loss in record["loss"]["before"].items():
        after = record["loss"]["after"][role]
        table.add_row(f"{role}: held-out nats per token", f"{loss:.3f}", f"{after:.3f}")
    for name, value in record["format"]["before"].items():
        if not name.endswith("/samples"):
            after = record["format"]["after"][name]
            table.add_row(f"{name.replace('/', ': ')}, share", f"{value:.3f}", f"{after:.3f}")
    console = Console()
    console.print(table)
    cost = read_json(out / COST)
    seen = record["seen"]
    console.print(
        f"{seen['examples']} examples of {record['rows']['train']} rows, "
        f"{seen['tokens']:,} tokens; "
        f"{cost['cpu_seconds']:.0f} CPU-seconds, {cost['peak_rss_bytes'] / 2**30:.1f} GiB",
        highlight=False,
    )
    console.print(f"written: {out}", markup=False, highlight=False)
