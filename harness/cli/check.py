"""`check`: the conformance kit on one method, on a file's methods, or on all."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

from rich.console import Console
from rich.table import Table

from harness.testing import Result, run_checks, subjects

_COLOUR = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def check_methods(named: Sequence[str], jobs: int, as_json: bool) -> int:
    """Print what each check found, method by method; 1 if any failed.

    Args:
        jobs: methods checked side by side; 0: one per core.
    """
    asked = [(name, subject.name) for name in named for subject in subjects(name)]
    workers = min(jobs or os.cpu_count() or 1, len(asked))
    progress = Console(stderr=True)
    results: dict[str, list[Result]] = {}
    with ExitStack() as stack:
        if workers > 1:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            each = stack.enter_context(pool).map(_check, *zip(*asked, strict=True))
        else:
            each = map(_check, *zip(*asked, strict=True))
        for (_, name), found in zip(asked, each, strict=True):
            results[name] = found
            if progress.is_terminal:
                progress.print(f"{len(results)}/{len(asked)} {name}", highlight=False)
    if as_json:
        rows = [
            {"method": name, "check": r.name, "status": r.status, "reason": r.reason}
            for name, found in results.items()
            for r in found
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        _show(results)
    return int(any(r.status == "failed" for found in results.values() for r in found))


def _check(named: str, name: str) -> list[Result]:
    """The checks of the method ``name`` among those behind an argument."""
    (subject,) = [s for s in subjects(named) if s.name == name]
    return run_checks(subject)


def _show(results: dict[str, list[Result]]) -> None:
    table = Table("method", "check", "status", "reason", title="conformance")
    for name, each in results.items():
        for i, r in enumerate(each):
            status = f"[{_COLOUR[r.status]}]{r.status}[/]"
            table.add_row(name if i == 0 else "", r.name, status, _plain(r.reason))
        table.add_section()
    counts: Counter[str] = Counter(r.status for each in results.values() for r in each)
    console = Console(highlight=False)
    console.print(table)
    console.print(", ".join(f"{counts[s]} {s}" for s in _COLOUR if counts[s]))


def _plain(reason: str) -> str:
    """A reason as it is: square brackets are no markup."""
    return reason.replace("[", "\\[")
