"""Reading run folders into one table, refusing what can't be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.evaluation.summary import summary
from harness.leaderboard import schema
from harness.store import RunFolder, Status

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Run:
    """One run as a leaderboard sees it.

    Attributes:
        folder: where it lies; for messages only, no result depends on it.
        manifest: what was run.
        status: how it stands.
        iterations: metrics of iterations 1, 2, ...; empty for an incomplete run.
        base: metrics of the base model's evaluation (``eval/00.parquet``), if there is one.
        base_digest: identifies that evaluation's scores; "" without one.
        items: identifies the items that were evaluated; "" without an evaluation.
        cost: seconds and bytes, if recorded.
    """

    folder: Path
    manifest: schema.Manifest
    status: Status
    iterations: tuple[Values, ...] = ()
    base: Values | None = None
    base_digest: str = ""
    items: str = ""
    cost: schema.Cost | None = None

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What must be unique in a table."""
        m = self.manifest
        return (m.profile, m.method, m.seed, m.config_hash)


@dataclass(frozen=True)
class Table:
    """Runs that may stand side by side, sorted by profile, method and seed."""

    runs: tuple[Run, ...]

    @property
    def profiles(self) -> tuple[str, ...]:
        return tuple(sorted({run.manifest.profile for run in self.runs}))

    def of(self, profile: str, method: str | None = None) -> list[Run]:
        """The runs of a profile, or of one method in it."""
        return [
            run
            for run in self.runs
            if run.manifest.profile == profile and method in (None, run.manifest.method)
        ]

    def only(self, profile: str) -> Table:
        """The part of the table that belongs to a profile."""
        return Table(tuple(self.of(profile)))

    @property
    def baseline(self) -> str | None:
        """The baseline that the configurations name, if they agree and it was run; else None."""
        named = {str(run.manifest.config.get("baseline", "")) for run in self.runs}
        run_methods = {run.manifest.method for run in self.runs}
        return next(iter(named)) if len(named) == 1 and named <= run_methods else None


def find_runs(
    *places: Path, profile: str | None = None, config_hash: str | None = None
) -> list[Path]:
    """Run folders directly under some folders, sorted; optionally of one profile or configuration.

    A run that lies in several of them is taken from the first one where it is finished.

    Raises:
        HarnessError: one is no folder, or a manifest is corrupt.
    """
    by_name: dict[str, Path] = {}
    for place in places:
        if not place.is_dir():
            raise HarnessError(f"{place}: no such folder; name the one that holds the runs")
        for folder in (p for p in place.iterdir() if (p / "manifest.json").is_file()):
            known = by_name.setdefault(folder.name, folder)
            if not (known / "done.json").exists():
                by_name[folder.name] = folder
    found = []
    for _, folder in sorted(by_name.items()):
        if profile is not None or config_hash is not None:
            manifest = schema.read_record(folder / "manifest.json", schema.MANIFEST)
            if profile not in (None, manifest.profile):
                continue
            if config_hash not in (None, manifest.config_hash):
                continue
        found.append(folder)
    return found


def collect(run_dirs: Iterable[Path]) -> Table:
    """Read and validate run folders; the order in which they are given doesn't matter.

    Every recorded status is kept. A folder without ``done.json`` is listed as incomplete and none
    of its numbers is used.

    Raises:
        HarnessError: a file is missing, truncated, corrupt or not finite; a run is there twice;
            or runs of one profile differ in configuration, base model, data or evaluated items,
            so that their numbers must not be averaged or compared.
    """
    summaries: dict[str, Values] = {}
    folders = sorted({Path(path) for path in run_dirs})
    runs = sorted((_read(f, summaries) for f in folders), key=lambda r: (*r.key, str(r.folder)))
    if not runs:
        raise HarnessError("no run folders to collect; train something first or give --runs")
    for first, second in pairwise(runs):
        if first.key == second.key:
            raise HarnessError(
                f"{second.folder}: the same run as {first.folder} (method, profile, seed and "
                "configuration agree); leave one of them out"
            )
    _refuse_mixed(runs)
    return Table(tuple(runs))


def _read(folder: Path, summaries: dict[str, Values]) -> Run:
    if not (folder / "manifest.json").is_file():
        raise HarnessError(f"{folder}: no manifest.json; not a run folder")
    store = RunFolder(folder)
    manifest = schema.read_record(store.manifest_path, schema.MANIFEST)
    if not store.done_path.exists():
        return Run(folder, manifest, Status.INCOMPLETE)
    done = schema.read_record(store.done_path, schema.DONE)
    iterations = []
    for t in range(1, done.iterations + 1):
        iterations.append(schema.read_record(store.iteration(t) / "metrics.json", schema.METRICS))
        for path in sorted(store.iteration(t).glob("*.parquet")):
            _check_footer(path)
    base, digest, items = _read_base(store, manifest, summaries)
    for path in sorted((folder / "eval").glob("[0-9][0-9].parquet")):
        if path != store.evaluation(0):
            frame = schema.read_evaluation(path)
            if items and schema.frame_digest(frame, schema.EVAL_KEYS) != items:
                raise HarnessError(f"{path}: other items than in eval/00.parquet; evaluate again")
    cost = None
    if store.cost_path.exists():
        cost = schema.read_record(store.cost_path, schema.COST)
    status = Status(done.status)
    return Run(folder, manifest, status, tuple(iterations), base, digest, items, cost)


def _read_base(
    store: RunFolder, manifest: schema.Manifest, summaries: dict[str, Values]
) -> tuple[Values | None, str, str]:
    """The base model's metrics, the digest of its scores and of its items."""
    path = store.evaluation(0)
    if not path.exists():
        if manifest.evaluates:
            raise HarnessError(
                f"{path}: missing; remove the run's folder and run again, or leave it out"
            )
        return None, "", ""
    frame = schema.read_evaluation(path)
    columns = [*schema.EVAL_KEYS, "group", "score", "truncated", "verdict"]
    digest = schema.frame_digest(frame, columns)
    if digest not in summaries:  # runs with one seed share the base model's evaluation
        summaries[digest] = summary(frame)
    return summaries[digest], digest, schema.frame_digest(frame, schema.EVAL_KEYS)


def _check_footer(path: Path) -> None:
    try:
        pd.read_parquet(path, columns=[])  # reads the footer only
    except Exception as error:  # pyarrow raises several kinds
        raise HarnessError(
            f"{path}: truncated or corrupt parquet; remove the run's folder and run again, or "
            "leave it out"
        ) from error


def _refuse_mixed(runs: list[Run]) -> None:
    """Runs of one profile must agree in all that decides what their numbers mean."""
    across: dict[str, Callable[[Run], str]] = {
        "config_hash": lambda r: r.manifest.config_hash,
        "base_model_hash": lambda r: r.manifest.base_model_hash,
        "data_hashes": lambda r: schema.short_hash(r.manifest.data_hashes),
        "suite": lambda r: r.manifest.suite,
        "evaluated items": lambda r: r.items,
    }
    within: dict[str, Callable[[Run], str]] = {
        "prompt_hash": lambda r: schema.short_hash(r.manifest.prompt_hash),
        "engine": lambda r: schema.short_hash(r.manifest.engine),
    }
    first: dict[tuple[str, ...], Run] = {}
    for run in runs:
        profile = run.manifest.profile
        scopes = [(what, "", value) for what, value in across.items()]
        scopes += [(what, run.manifest.method, value) for what, value in within.items()]
        for what, method, value in scopes:
            if what == "evaluated items" and not value(run):
                continue
            other = first.setdefault((profile, method, what), run)
            if value(run) != value(other):
                raise HarnessError(
                    f"{run.folder}: mixed {what} in profile {profile}: {value(run)!r} here, "
                    f"{value(other)!r} in {other.folder}; collect them apart"
                )
