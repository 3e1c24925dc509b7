"""Running sweeps: which runs, in which order, their progress, and what is published."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import leaderboard as boards
from harness.cli.progress import SweepProgress
from harness.cli.publish import check_writable, publish
from harness.config import RunConfig, load_config
from harness.data import without_hub
from harness.errors import HarnessError, MissingDataError, one_line
from harness.launch import Outcome, Pool, launch
from harness.launch.choice import Launcher
from harness.launch.plan import print_plan
from harness.methods import build, entries, load_plugin
from harness.run import RunSpec, check_inputs, check_version, load_spec
from harness.store import RunFolder, Status
from harness.tracking import FOLDER, Tracker, Tracking, trackers

_MOST_SEEDS = 10_000
ALL = "all"
"""Stands for every registered entry."""


@dataclass(frozen=True)
class Log:
    """The experiment trackers that mirror the runs, and the folder of their files."""

    trackers: Sequence[Tracker] = ()
    folder: Path | None = None

    @classmethod
    def of(cls, asked: Sequence[str] | None, folder: Path | None) -> Log:
        """That of ``--log`` and ``--log-dir``.

        Raises:
            HarnessError: an unknown tracker, or one that can't be used here.
        """
        return cls(trackers(asked), folder)


@dataclass(frozen=True)
class Sweep:
    """Methods by seeds with their baseline, in the order in which they are run."""

    specs: list[RunSpec]
    baseline: str
    config: RunConfig
    plugins: list[str]
    results: Path | None = None
    launcher: Launcher = field(default_factory=Launcher)
    missing: str = ""
    """The data that a run would stop at, where `create` was told to go on without."""

    @classmethod
    def create(
        cls,
        methods: Sequence[str],
        seeds: str,
        profile: str,
        baseline: str | None,
        smoke: bool,
        settings: Sequence[str] | None,
        plugins: Sequence[str] | None,
        results: Path | None = None,
        *,
        launcher: Launcher | None = None,
        planned: bool = False,
    ) -> Sweep:
        """Check everything that can be checked before anything is written.

        Args:
            methods: entries; ``all`` stands for every registered one.
            results: folder of compact runs, which are not repeated and to which new ones are added.
            planned: only to be planned: missing data sets are noted, and nothing is fetched.

        Raises:
            HarnessError: an unknown name or a bad value.
        """
        for plugin in plugins or []:
            load_plugin(plugin)
        config, passed = load_config(profile, smoke=smoke, overrides=settings or [])
        missing = _missing_data(config) if planned else ""
        if not planned:
            check_inputs(config)
            (launcher or Launcher()).check(config)
        wanted = [baseline or config.baseline, *(m for m in methods if m != ALL)]
        built = [build(m) for m in wanted]
        for method, _ in built:
            method.check(config)
        base = built[0][1]
        every = _every_entry(config) if ALL in methods else []
        names = list(dict.fromkeys([*(name for _, name in built), *every]))
        specs = [
            RunSpec(name, seed, config, tuple(passed))
            for seed in parse_seeds(seeds)
            for name in names
        ]
        return cls(
            *(specs, base, config, list(plugins or []), results),
            launcher=launcher or Launcher(),
            missing=missing,
        )

    def plan(self, runs: Path, jobs: int, as_json: bool) -> int:
        """Print what would run."""
        with self.launcher.open(self._todo(runs), runs) as pool:
            side_by_side = pool.slots(jobs)
        print_plan(self.specs, self._places(runs), side_by_side, as_json, self.missing)
        return 0

    def _todo(self, runs: Path) -> list[RunSpec]:
        """The runs that no other folder has finished."""
        return [s for s in self.specs if s.find(self._places(runs)).path.parent == runs]

    def _places(self, runs: Path) -> list[Path]:
        return [runs] if self.results is None else [runs, self.results]

    def run(self, runs: Path, out: Path, jobs: int, as_json: bool, log: Log | None = None) -> int:
        """Do what is missing, then publish. Returns the exit code."""
        places = self._places(runs)
        for spec in self.specs:
            for place in places:
                check_version(spec.folder(place), spec)

        def keep(spec: RunSpec) -> None:
            if self.results is not None:
                boards.compact(spec.folder(runs).path, self.results)

        todo = self._todo(runs)
        with self.launcher.open(todo, runs) as pool:
            check_writable(out, *places)
            outcomes = run_all(todo, runs, jobs, self.plugins, pool, finished=keep, log=log)
        code = report_errors(outcomes)
        folders = boards.find_runs(
            *places, profile=self.config.profile, config_hash=self.specs[0].digest
        )
        if folders:
            publish(folders, out, self.baseline, as_json=as_json)
        return code


def _missing_data(config: RunConfig) -> str:
    """Check the inputs that are here; what is said about a data set that isn't."""
    try:
        with without_hub():
            check_inputs(config)
    except MissingDataError as error:
        return one_line(error)
    return ""


def _every_entry(config: RunConfig) -> list[str]:
    """All registered entries but those that this profile can't carry, which are named."""
    found = []
    for entry in entries():
        try:
            entry.cls().check(config)
        except HarnessError as error:
            print(f"left out: {one_line(error)}", file=sys.stderr)
        else:
            found.append(entry.name)
    return found


def run_all(
    specs: Sequence[RunSpec],
    runs: Path,
    jobs: int,
    plugins: Sequence[str],
    pool: Pool,
    finished: Callable[[RunSpec], None] = lambda spec: None,
    log: Log | None = None,
) -> list[Outcome]:
    """Launch the runs that aren't done, with a table of those in progress."""
    log = log or Log()
    folders = [spec.folder(runs).path for spec in specs]
    with (
        SweepProgress(specs, runs, pool.slots(jobs)) as progress,
        Tracking(log.trackers, log.folder or runs / FOLDER, lambda: folders),
    ):
        return launch(
            specs,
            runs,
            jobs=jobs,
            plugins=plugins,
            watch=progress.update,
            finished=finished,
            pool=pool,
        )


def resume_runs(
    runs: Path,
    jobs: int,
    plugins: Sequence[str],
    as_json: bool,
    log: Log | None = None,
    launcher: Launcher | None = None,
) -> int:
    """Finish the incomplete runs of a folder."""
    for plugin in plugins:
        load_plugin(plugin)
    folders = [RunFolder(p.parent) for p in sorted(runs.glob("*/manifest.json"))]
    if not folders:
        raise HarnessError(f"{runs}: no run folders here; give --runs DIR")
    specs = []
    for folder in folders:
        if folder.status is not Status.INCOMPLETE:
            continue
        spec = load_spec(folder.path)
        build(spec.method)[0].check(spec.config)
        check_inputs(spec.config)
        (launcher or Launcher()).check(spec.config)
        if spec.folder(runs).path != folder.path:
            raise HarnessError(
                f"{folder}: its manifest belongs in {spec.folder(runs).path.name}; rename it back"
            )
        specs.append(spec)
    with (launcher or Launcher()).open(specs, runs) as pool:
        outcomes = run_all(specs, runs, jobs, plugins, pool, log=log) if specs else []
    rows = [{"run": str(o.spec.folder(runs)), "status": str(o.status)} for o in outcomes]
    print(json.dumps(rows) if as_json else f"{len(folders)} runs, {len(specs)} resumed")
    return report_errors(outcomes)


def report_errors(outcomes: Sequence[Outcome]) -> int:
    """One line for each run that an error stopped; the exit code."""
    failed = [o for o in outcomes if o.exit_code]
    for o in failed:
        reason = one_line(o.error)
        print(f"error: {o.spec.method}, seed {o.spec.seed}: {reason}", file=sys.stderr)
    return max((o.exit_code for o in failed if o.exit_code > 0), default=1) if failed else 0


def parse_seeds(text: str) -> list[int]:
    """``3`` -> 0, 1, 2; ``0,3,7`` -> those; ``7,`` -> 7 alone.

    Raises:
        HarnessError: not a count and not a list of different seeds.
    """
    try:
        values = [int(x) for x in text.removesuffix(",").split(",")]
    except ValueError:
        raise HarnessError(f"--seeds {text!r}: a count (3) or a list (0,3,7)") from None
    if "," not in text:
        values = list(range(min(values[0], _MOST_SEEDS + 1)))
    if not 0 < len(values) <= _MOST_SEEDS or min(values) < 0 or len(set(values)) < len(values):
        raise HarnessError(f"--seeds {text!r}: a count >= 1 or a list of different seeds >= 0")
    return values
