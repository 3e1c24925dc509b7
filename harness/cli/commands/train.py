"""Commands that train: which runs, how many at once, and where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import (
    METHOD_HELP,
    AsJson,
    Baseline,
    Cpus,
    Data,
    Gpus,
    Jobs,
    LauncherName,
    LogDir,
    Memory,
    Out,
    Plugins,
    Profile,
    RayAddress,
    Results,
    Runs,
    Seeds,
    Settings,
    Smoke,
    Trackers,
    app,
)
from harness.errors import HarnessError


@app.command()
def run(
    method: Annotated[str, typer.Option(help=METHOD_HELP)],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    results: Results = None,
    data: Data = None,
    out: Out = Path("leaderboards"),
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    log: Trackers = None,
    log_dir: LogDir = None,
    launcher: LauncherName = "local",
    ray_address: RayAddress = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
) -> int:
    """Train a method and its missing baseline runs, evaluate, and write the leaderboard."""
    from harness.cli.sweep import Log, Sweep
    from harness.data import use_folder
    from harness.launch.choice import Launcher

    use_folder(data)
    mirrored = Log.of(log, log_dir)
    where = Launcher.of(launcher, ray_address, cpus, gpus, memory)
    made = Sweep.create(
        *([method], seeds, profile, baseline, smoke, settings, plugin, results),
        launcher=where,
        planned=dry_run,
    )
    if dry_run:
        return made.plan(runs, jobs, as_json)
    return made.run(runs, out, jobs, as_json, mirrored)


@app.command()
def sweep(
    methods: Annotated[
        str, typer.Option(help="Entries, separated by spaces; 'all' for every one.")
    ],
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    results: Results = None,
    data: Data = None,
    out: Out = Path("leaderboards"),
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    log: Trackers = None,
    log_dir: LogDir = None,
    launcher: LauncherName = "local",
    ray_address: RayAddress = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
) -> int:
    """As `run`, for several methods with one baseline."""
    from harness.cli.sweep import Log, Sweep
    from harness.data import use_folder
    from harness.launch.choice import Launcher

    use_folder(data)
    if not methods.split():
        raise HarnessError("--methods: name at least one method")
    mirrored = Log.of(log, log_dir)
    where = Launcher.of(launcher, ray_address, cpus, gpus, memory)
    made = Sweep.create(
        *(methods.split(), seeds, profile, baseline, smoke, settings, plugin, results),
        launcher=where,
        planned=dry_run,
    )
    if dry_run:
        return made.plan(runs, jobs, as_json)
    return made.run(runs, out, jobs, as_json, mirrored)


@app.command()
def plan(
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help=f"{METHOD_HELP} Default: the baseline alone."),
    ] = None,
    seeds: Seeds = "3",
    profile: Profile = "ladder",
    baseline: Baseline = None,
    runs: Runs = Path("runs"),
    results: Results = None,
    data: Data = None,
    jobs: Jobs = 0,
    smoke: Smoke = False,
    settings: Settings = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """What `run` would do: runs done and missing, tokens, time, memory, GPU-hours.

    Changes and fetches nothing; where the profile follows a paper, it is printed beside it.
    """
    from harness.cli.sweep import Sweep
    from harness.data import use_folder

    use_folder(data)
    methods = [] if method is None else [method]
    sweep = Sweep.create(
        methods, seeds, profile, baseline, smoke, settings, plugin, results, planned=True
    )
    return sweep.plan(runs, jobs, as_json)


@app.command()
def resume(
    runs: Runs = Path("runs"),
    jobs: Jobs = 0,
    data: Data = None,
    plugin: Plugins = None,
    log: Trackers = None,
    log_dir: LogDir = None,
    launcher: LauncherName = "local",
    ray_address: RayAddress = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> int:
    """Finish every incomplete run of a folder as its own manifest says."""
    from harness.cli.sweep import Log, resume_runs
    from harness.data import use_folder
    from harness.launch.choice import Launcher

    use_folder(data)
    mirrored = Log.of(log, log_dir)
    where = Launcher.of(launcher, ray_address, cpus, gpus, memory)
    return resume_runs(runs, jobs, plugin or [], as_json, mirrored, where)


@app.command()
def watch(
    runs: Runs = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Print the table and end.")] = False,
    log: Trackers = None,
    log_dir: LogDir = None,
    as_json: AsJson = False,
) -> int:
    """Show the runs of a folder while they go on, from another terminal or afterwards."""
    from harness.cli.watch import watch as watch_runs

    return watch_runs(runs, once=once, as_json=as_json, log=log, log_dir=log_dir)
