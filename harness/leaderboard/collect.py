"""Reading run folders into one table, refusing what can't be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from harness.errors import HarnessError
from harness.leaderboard import schema
from harness.leaderboard.evaluations import EvaluationReader
from harness.leaderboard.runs import SPLITS, Point, Run, Values, read_run
from harness.store import Status

__all__ = [
    "SPLITS",
    "Missing",
    "Point",
    "Run",
    "Table",
    "Values",
    "collect",
    "find_runs",
    "split_names",
    "table_of",
]


@dataclass(frozen=True)
class Missing:
    """A run that a table should have and doesn't, or has without its numbers."""

    profile: str
    method: str
    seed: int
    why: str
    split: str = ""

    def __str__(self) -> str:
        where = f"{self.profile}, {self.split}" if self.split else self.profile
        return f"{where}: {self.method}, seed {self.seed}: {self.why}"


@dataclass(frozen=True)
class Table:
    """Runs that may stand side by side, sorted by profile, split, method and seed."""

    runs: tuple[Run, ...]

    @property
    def profiles(self) -> tuple[str, ...]:
        return tuple(sorted({run.manifest.profile for run in self.runs}))

    @property
    def names(self) -> tuple[str, str, str]:
        """Suite, profile and split of a table that is one of the `groups`.

        Raises:
            HarnessError: it holds several, or nothing.
        """
        names = sorted({run.group for run in self.runs})
        if len(names) != 1:
            raise HarnessError(f"a table of {len(names)} groups has no one name; take `groups`")
        return names[0]

    @property
    def groups(self) -> tuple[Table, ...]:
        """The parts of the table that are published by themselves, by suite, profile and split."""
        return tuple(
            Table(tuple(run for run in self.runs if run.group == group))
            for group in sorted({run.group for run in self.runs})
        )

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What isn't there of every method by every seed of its group. Never averaged."""
        found: list[Missing] = []
        for part in self.groups:
            _, profile, split = part.names
            own = {(r.manifest.method, r.manifest.seed): r for r in part.runs}
            for method in sorted({method for method, _ in own}):
                for seed in sorted({seed for _, seed in own}):
                    run = own.get((method, seed))
                    if run is None:
                        found.append(Missing(profile, method, seed, "no such run", split))
                    elif run.status is Status.INCOMPLETE:
                        why = f"incomplete, {run.detail}"
                        found.append(Missing(profile, method, seed, why, split))
        return tuple(found)

    @property
    def versions(self) -> Mapping[str, Mapping[str, int]]:
        """With which versions how many runs were made; only of what the runs differ in.

        By package, with ``harness`` and ``result schema`` among them; 'unknown' where a run
        doesn't say. Runs of different versions may stand in one table, but not silently.
        """
        counts: dict[str, Counter[str]] = {}
        for manifest in (run.manifest for run in self.runs):
            named = {"result schema": str(manifest.schema_version), "harness": manifest.harness}
            named |= {name: version or "none" for name, version in manifest.versions.items()}
            for name, version in named.items():
                counts.setdefault(name, Counter())[version or "unknown"] += 1
        return {
            name: dict(sorted(found.items()))
            for name, found in sorted(counts.items())
            if len(found) > 1
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each of the `versions`."""
        return tuple(
            f"made with different versions of {name}: "
            + ", ".join(f"{version} ({n} run{'s' * (n != 1)})" for version, n in counts.items())
            for name, counts in self.versions.items()
        )

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
        for folder in run_folders(place):
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


def run_folders(place: Path) -> list[Path]:
    """The folders directly under one that hold a manifest, sorted.

    Raises:
        HarnessError: it is no folder.
    """
    if not place.is_dir():
        raise HarnessError(f"{place}: no such folder; name the one that holds the runs")
    return sorted(p for p in place.iterdir() if (p / "manifest.json").is_file())


def split_names(names: Iterable[str]) -> tuple[str, ...]:
    """What a table is to be split by, checked and in a fixed order.

    Raises:
        HarnessError: an unknown name.
    """
    wanted = {name.strip() for name in names} - {""}
    if unknown := sorted(wanted - set(SPLITS)):
        raise HarnessError(
            f"--split-by {unknown[0]!r}: unknown; known: {', '.join(SPLITS)}, separated by commas"
        )
    return tuple(name for name in SPLITS if name in wanted)


def collect(run_dirs: Iterable[Path], split_by: Sequence[str] = ()) -> Table:
    """Read and validate run folders; the order in which they are given doesn't matter.

    Every recorded status is kept. A folder without ``done.json`` is listed as incomplete and none
    of its numbers is used.

    Args:
        run_dirs: whole or compact runs.
        split_by: of `SPLITS`: what the runs of a profile may differ in; they then carry a label
            and belong to separate `Table.groups`.

    Raises:
        HarnessError: a file is missing, truncated, corrupt, not finite or of a version that isn't
            supported; a run is there twice; or runs of one profile differ in configuration, base
            model, data, engine, prompt or evaluated items, so that their numbers must not be
            averaged or compared.
    """
    reader = EvaluationReader()
    runs = [read_run(f, reader) for f in sorted({Path(path) for path in run_dirs})]
    table = table_of(runs, split_by)
    for first, second in pairwise(table.runs):
        if first.key == second.key:
            raise HarnessError(
                f"{second.folder}: the same run as {first.folder} (method, profile, seed and "
                "configuration agree); leave one of them out, or join the folders with "
                "`leaderboard merge`"
            )
    return table


def table_of(runs: Iterable[Run], split_by: Sequence[str] = ()) -> Table:
    """Runs as a sorted table, labelled by what it is split by; duplicates are left in it.

    Raises:
        HarnessError: there are none, or they can't be compared.
    """
    labelled = _labelled(list(runs), split_names(split_by))
    if not labelled:
        raise HarnessError("no run folders to collect; train something first or give --runs")
    labelled.sort(key=lambda run: (*run.key, str(run.folder)))
    _refuse_mixed(labelled)
    return Table(tuple(labelled))


def _labelled(runs: list[Run], split_by: Sequence[str]) -> list[Run]:
    """The runs with their group's label: what their profile's runs differ in, of ``split_by``."""
    differing = {
        profile: [
            name
            for name in split_by
            if len({SPLITS[name](r) for r in runs if r.manifest.profile == profile}) > 1
        ]
        for profile in {run.manifest.profile for run in runs}
    }
    return [
        replace(
            run,
            split=", ".join(f"{n}={SPLITS[n](run)}" for n in differing[run.manifest.profile]),
        )
        for run in runs
    ]


_COMPARABLE: Mapping[str, tuple[Callable[[Run], str], str]] = {
    "config_hash": (lambda r: r.manifest.config_hash, "config"),
    "base_model_hash": (lambda r: r.manifest.base_model_hash, "base"),
    "data_hashes": (lambda r: schema.short_hash(r.manifest.data_hashes), "data"),
    "suite": (lambda r: r.manifest.suite, ""),
    "evaluated items": (lambda r: r.items, "data"),
    "prompt_hash": (lambda r: schema.short_hash(r.manifest.prompt_hash), "prompt"),
    "engine": (lambda r: schema.short_hash(r.manifest.engine), "engine"),
    "plugin_hash": (lambda r: r.manifest.plugin_hash or "", ""),
}
"""What decides what a number means, and what splits runs that differ in it."""


def _refuse_mixed(runs: Sequence[Run]) -> None:
    """Runs of one profile and split must agree in all that decides what their numbers mean."""
    first: dict[tuple[str, ...], Run] = {}
    for run in runs:
        profile = run.manifest.profile
        for what, (value, split) in _COMPARABLE.items():
            if what == "evaluated items" and not value(run):
                continue
            scope = run.manifest.method if what == "plugin_hash" else ""  # each has its own file
            other = first.setdefault((profile, run.split, what, scope), run)
            if value(run) != value(other):
                remedy = f" or use --split-by {split}" if split else ""
                raise HarnessError(
                    f"{run.folder}: mixed {what} in profile {profile}: {value(run)!r} here, "
                    f"{value(other)!r} in {other.folder}; collect them apart{remedy}"
                )
