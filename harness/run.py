"""From a resolved configuration to a finished run folder."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness import __version__
from harness.base import ROOT, describe_base, find_base, read_warm_start, resolve
from harness.checker import load_checker
from harness.coevolution import Coevolution
from harness.config.schema import RunConfig
from harness.diversity.embedders import load_embedder
from harness.diversity.topics import labelled_problems, load_topics
from harness.engines.base import Engines
from harness.engines.make import make_engines
from harness.errors import HarnessError
from harness.evaluation.runner import Evaluator
from harness.grading import Grader
from harness.learner import check_training
from harness.loading import load_tokenizer
from harness.masks import protected_set
from harness.methods import build, plugin_hash
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import format_strings
from harness.store import RunFolder, Status, read_json
from harness.store.records import COST, SCHEMA, write_record
from harness.store.run_folder import config_hash, phase_seconds
from harness.versions import package_versions


@dataclass(frozen=True)
class RunSpec:
    """One run: a method's entry, a seed, and everything else.

    Attributes:
        method: canonical entry, e.g. ``vocab_dropout:alpha=0.75``.
        passed: configuration keys that were passed rather than defaulted.
    """

    method: str
    seed: int
    config: RunConfig
    passed: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all that may change results but method and seed."""
        return config_hash(self.config.identity())

    def folder(self, runs: Path) -> RunFolder:
        """Where this run lives."""
        return RunFolder.named(runs, self.method, self.config.profile, self.seed, self.digest)

    def find(self, places: Sequence[Path]) -> RunFolder:
        """The first of some folders' copies that is finished; else where it would be run."""
        folders = [self.folder(place) for place in places]
        finished = (f for f in folders if f.status is not Status.INCOMPLETE)
        return next(finished, folders[0])


def execute(spec: RunSpec, runs: Path) -> Status:
    """Do a run, or what is left of it; a finished one is left as it is.

    Raises:
        RunLockedError: another process works on it.
        HarnessError: anything a person has to mend.
    """
    folder = spec.folder(runs)
    with folder.locked():
        check_version(folder, spec)
        if folder.status is not Status.INCOMPLETE:
            return folder.status
        check_machine(spec.config)
        if _edited(folder, spec):  # an unfinished run of what the file said before
            folder.restart()
        torch.set_num_threads(spec.config.threads)
        started = time.perf_counter(), time.process_time()
        method, canonical = build(spec.method)
        base = find_base(spec.config.model.path)
        load = partial(_load, spec.config)
        policy = load(base)
        embedder = load_embedder(spec.config.diversity.embedder)
        engines = _engines(spec.config, folder)
        with (
            contextlib.closing(engines),
            Grader(spec.config.grader_workers, spec.config.grader_deadline_s) as grader,
        ):
            bench = Workbench(
                config=spec.config,
                seed=spec.seed,
                method=method,
                entry=canonical,
                folder=folder,
                tokenizer=policy.tokenizer,
                protected=protected_set(
                    policy.tokenizer, spec.config.protected, format_strings(spec.config.roles)
                ),
                grader=grader,
                checker=load_checker(spec.config.checker),
                embedder=embedder,
                topics=load_topics(spec.config.diversity.topics, embedder),
                evaluator=load_evaluator(spec.config),
                engines=engines,
                parameters=policy.parameters,
            )
            commit = getattr(policy.model.config, "_commit_hash", None)
            model = spec.config.model
            about = describe_base(model.path, base, model.revision, commit)
            folder.open(_manifest(spec, canonical, about, bench))
            folder.event("start", process=os.getpid())
            ending = Coevolution(bench, base, load).run()
        _record_cost(folder, started)
        folder.finish(ending.status, ending.iterations, ending.detail)
        folder.event("done", status=str(ending.status))
        return ending.status


def check_inputs(config: RunConfig) -> None:
    """Check what needs no training to check, before anything is written.

    Raises:
        HarnessError: no base model, tokenizer or checker; an unknown task or set of topics, or one
            without its data.
    """
    base = find_base(config.model.path)
    if base.exists():
        load_tokenizer(base)
        read_warm_start(base)
    load_checker(config.checker)
    if config.diversity.topics is not None:
        labelled_problems(config.diversity.topics)
    load_evaluator(config).task_hashes()


def check_machine(config: RunConfig) -> None:
    """Check what the machine that does the run must have, before anything is written.

    Raises:
        HarnessError: too few GPUs, a missing package, no vLLM.
    """
    check_training(config.training)
    if config.engine.name != "torch":
        with contextlib.closing(_engines(config)) as engines:
            _ = engines.about


def check_version(folder: RunFolder, spec: RunSpec) -> None:
    """A finished run of a method whose file was edited since isn't this method's run.

    Raises:
        HarnessError: finished, and with another version of the plugin file.
    """
    if folder.status is not Status.INCOMPLETE and _edited(folder, spec):
        raise HarnessError(
            f"{folder}: made with another version of the method's file; remove it or choose "
            "another --runs folder"
        )


def _edited(folder: RunFolder, spec: RunSpec) -> bool:
    """Whether the folder was made with another version of the method's plugin file."""
    if not folder.manifest_path.exists():
        return False
    manifest = read_json(folder.manifest_path)
    recorded = manifest.get("plugin_hash") if isinstance(manifest, dict) else None
    return bool(recorded != plugin_hash(spec.method))


def _engines(config: RunConfig, folder: RunFolder | None = None) -> Engines:
    """A run's engines; what happens to them goes into the folder's events."""

    def tell(kind: str, what: Mapping[str, Any]) -> None:
        if folder is not None:
            folder.event(kind, **what)

    return make_engines(
        config.engine,
        config.model.dtype,
        config.engine_rows,
        tell,
        trainers=config.training.processes,
    )


def load_evaluator(config: RunConfig) -> Evaluator:
    """The evaluator of a configuration; its tasks are loaded at first use."""
    said = config.evaluation
    return Evaluator(
        said.tasks,
        resolve(said.include_path),
        max_new_tokens=said.max_new_tokens,
        samples=said.samples,
    )


def _load(config: RunConfig, path: Path) -> Policy:
    extra: dict[str, Any] = {}
    if config.model.revision and str(path) == config.model.path:
        extra["revision"] = config.model.revision
    policy = Policy.load(path, getattr(torch, config.model.dtype), **extra)
    if config.model.device == "auto" and torch.cuda.is_available():
        policy.model.to("cuda:0")
    return policy


def _manifest(
    spec: RunSpec, canonical: str, base: dict[str, Any], bench: Workbench
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "harness": __version__,
        "method": canonical,
        "profile": spec.config.profile,
        "suite": spec.config.suite,
        "seed": spec.seed,
        "config": spec.config.model_dump(mode="json"),
        "passed": list(spec.passed),
        "config_hash": spec.digest,
        "plugin_hash": plugin_hash(canonical),
        **base,
        "data_hashes": bench.evaluator.task_hashes(),
        "prompt_hash": bench.evaluator.prompt_hashes(bench.tokenizer),
        "protected": {"size": len(bench.protected), **dict(bench.protected.counts)},
        "vocabulary": len(bench.tokenizer),
        "engine": bench.engines.about,
        "versions": package_versions(),
        "hardware": {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "git": _git(),
    }


def _git() -> dict[str, Any]:
    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _record_cost(folder: RunFolder, started: tuple[float, float]) -> None:
    """Seconds and memory, resumed parts included; kept apart from the deterministic results."""
    phases: dict[str, float] = {}
    cpu = wall = 0.0
    for event in folder.events():
        if event.get("event") == "phase_end":
            name = str(event["phase"])
            phases[name] = round(phases.get(name, 0.0) + float(event["seconds"]), 3)
            cpu += float(event["cpu_seconds"])
            wall += float(event["seconds"])
    scale = 1 if sys.platform == "darwin" else 1024
    by_iteration = phase_seconds(folder.events())
    write_record(
        folder.cost_path,
        {
            "phases": phases,
            "iterations": {str(t): seconds for t, seconds in by_iteration.items()},
            "cpu_seconds": round(max(cpu, time.process_time() - started[1]), 3),
            "wall_seconds": round(max(wall, time.perf_counter() - started[0]), 3),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
        },
        COST,
    )


def load_spec(folder: Path) -> RunSpec:
    """The spec that made a run folder, from its manifest.

    Raises:
        HarnessError: no readable manifest.
    """
    manifest = read_json(folder / "manifest.json")
    try:
        stated = manifest["config"]
        stated["model"].pop("zero_data", None)  # since derived from the base's own declaration
        config = RunConfig.model_validate(stated)
        passed: Sequence[str] = manifest["passed"]
        return RunSpec(str(manifest["method"]), int(manifest["seed"]), config, tuple(passed))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise HarnessError(
            f"{folder}/manifest.json: not a manifest of this version ({reason}); remove the "
            "folder or choose another --runs"
        ) from error
