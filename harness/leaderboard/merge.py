"""Joining the runs of several machines: copies counted once, contradictions refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from harness.errors import HarnessError
from harness.leaderboard.collect import Table, run_folders, table_of
from harness.leaderboard.compact import compact, is_compact
from harness.leaderboard.evaluations import EvaluationReader
from harness.leaderboard.runs import Run, read_run
from harness.leaderboard.schema import short_hash
from harness.store import Status

_MOST = 3
"""Differences that a refusal names."""


@dataclass(frozen=True)
class Merged:
    """What several places hold together.

    Attributes:
        table: every run once.
        copies: one line for each run that lies in several places.
    """

    table: Table
    copies: tuple[str, ...]


def find_all(places: Iterable[Path]) -> list[Path]:
    """The run folders in some places: each is a run itself, or a folder of runs.

    Raises:
        HarnessError: one is neither.
    """
    found: dict[Path, None] = {}
    for place in places:
        folders = [place] if (place / "manifest.json").is_file() else run_folders(place)
        if not folders:
            raise HarnessError(f"{place}: no run folders here; name a folder of runs")
        found |= dict.fromkeys(folder.resolve() for folder in folders)
    return sorted(found)


def merge(places: Sequence[Path], split_by: Sequence[str] = ()) -> Merged:
    """Read the runs of several places, each run once.

    A run that lies in several places with the same results, whatever they cost and on what
    hardware and versions they were made, counts once: the whole run rather than a compact one, a
    finished rather than an incomplete one. The order of the places doesn't matter.

    Args:
        places: folders of runs, whole or compact.
        split_by: as for `collect`.

    Raises:
        HarnessError: as for `collect`; or the same run has different results in two places.
    """
    reader = EvaluationReader()
    return join([read_run(folder, reader) for folder in find_all(places)], split_by)


def join(runs: Iterable[Run], split_by: Sequence[str] = ()) -> Merged:
    """As `merge`, for runs that are read already.

    Raises:
        HarnessError: as `merge`.
    """
    table = table_of(runs, split_by)
    kept: list[Run] = []
    copies: list[str] = []
    for _, same in groupby(table.runs, key=lambda run: run.key):
        ordered = sorted(same, key=_rank)
        best, *others = ordered
        for other in others:
            copies.append(_copy(best, other))
        kept.append(best)
    return Merged(Table(tuple(kept)), tuple(copies))


def _rank(run: Run) -> tuple[bool, bool, str]:
    return (
        run.status is Status.INCOMPLETE,
        run.status is not Status.INCOMPLETE and is_compact(run.folder),
        str(run.folder),
    )


def _copy(best: Run, other: Run) -> str:
    """The line that names a copy.

    Raises:
        HarnessError: it has other results.
    """
    if Status.INCOMPLETE in (best.status, other.status):
        return f"{other.folder}: incomplete; {best.folder} is used ({best.status})"
    if found := differences(best, other):
        more = f" (and {len(found) - _MOST} more)" if len(found) > _MOST else ""
        raise HarnessError(
            f"{other.folder}: other results than the same run in {best.folder}: "
            f"{'; '.join(found[:_MOST])}{more}; leave one of them out"
        )
    return f"{other.folder}: the same results as {best.folder}; counted once"


def differences(first: Run, second: Run) -> list[str]:
    """What differs between the results of two executions of one run; empty where nothing does.

    Cost, hardware, versions and seconds are no results.
    """
    found: list[str] = []

    def compare(what: str, a: object, b: object) -> None:
        if a != b:
            found.append(f"{what}: {_shown(a)} and {_shown(b)}")

    compare("status", first.status.value, second.status.value)
    compare("iterations", len(first.iterations), len(second.iterations))
    compare("plugin_hash", first.manifest.plugin_hash, second.manifest.plugin_hash)
    for t, (one, two) in enumerate(zip(first.iterations, second.iterations, strict=False), 1):
        for name in sorted({*one, *two}):
            a, b = one.get(name, "absent"), two.get(name, "absent")
            compare(f"iteration {t}, {name}", a, b)
    for t in sorted({*first.digests, *second.digests}):
        if first.digests.get(t) != second.digests.get(t):
            found.append(f"eval/{t:02d}.parquet: other scores")
    return found


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def write_results(table: Table, into: Path) -> list[Path]:
    """Write the finished runs of a table in compact form; those that lie there already stay.

    What lies there is taken to have been merged, too.

    Two runs of one folder name, which differ in what the table is split by, get a hash of their
    group as a suffix.

    Raises:
        HarnessError: a run can't be read, or the folder can't be written.
    """
    finished = [run for run in table.runs if run.status is not Status.INCOMPLETE]
    counts = Counter(run.folder.name for run in finished)
    written = []
    for run in finished:
        if run.folder.parent.resolve() == into.resolve():
            continue
        name = run.folder.name
        if counts[name] > 1:
            name = f"{name}-{short_hash({'split': run.split})[:8]}"
        if not (into / name / "done.json").exists():
            written.append(compact(run.folder, into, name))
    return written
