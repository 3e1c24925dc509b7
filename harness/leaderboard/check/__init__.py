"""Validating a submitted folder from its raw samples, and saying precisely what differs.

Nothing of what was submitted is run: tasks, methods and embedders are those of this installation,
and answers are graded in killable workers.
"""

from __future__ import annotations

from pathlib import Path

from harness.base import find_base, resolve
from harness.errors import HarnessError, one_line
from harness.evaluation.rescore import Rescorer
from harness.evaluation.runner import Evaluator
from harness.leaderboard.check.evaluations import check_evaluations
from harness.leaderboard.check.questions import check_questions
from harness.leaderboard.check.report import Difference, Place, Report
from harness.leaderboard.check.tables import check_tables
from harness.leaderboard.evaluations import EvaluationReader
from harness.leaderboard.runs import Run, read_run
from harness.loading import load_tokenizer
from harness.store import Status

__all__ = ["Difference", "Report", "check_folder"]

TASKS = "tasks"


def check_folder(folder: Path, include: str = TASKS) -> Report:
    """Check a run folder, or a folder of them with the leaderboard files that lie in it.

    Args:
        folder: a run; or a folder with runs in it, or in folders in it.
        include: folder of this installation's task YAMLs. What a manifest names isn't read: a task
            may hold code.

    Raises:
        HarnessError: no run is there, one can't be read, or data is missing.
    """
    report = Report()
    reader = EvaluationReader()
    runs = [read_run(path, reader, same_items=False) for path in submitted(folder)]
    tasks = _Tasks(include)
    for run in runs:
        report.counts["runs"] += 1
        place = Place(report, run.folder, "")
        if run.status is Status.INCOMPLETE:
            report.skip(f"{run.folder.name}: incomplete, {run.detail}; none of it is used")
            continue
        rescorer = tasks.of(run, report)
        if rescorer is not None:
            _hashes(place.at("manifest.json"), run, *tasks.hashes(run))
        check_evaluations(place, run, rescorer)
        check_questions(place, run)
    if not (folder / "manifest.json").is_file():
        check_tables(Place(report, folder, ""), runs)
    return report


def submitted(folder: Path) -> list[Path]:
    """The runs of a submission: the folder itself, those in it, and those one level deeper.

    Raises:
        HarnessError: there are none.
    """
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such folder; name a run, or a folder of runs")
    if (folder / "manifest.json").is_file():
        return [folder]
    if found := [*folder.glob("*/manifest.json"), *folder.glob("*/*/manifest.json")]:
        return sorted(path.parent for path in found)
    raise HarnessError(f"{folder}: no run folders here; name a run, or a folder of runs")


class _Tasks:
    """This installation's tasks, loaded once for each choice of them."""

    def __init__(self, include: str) -> None:
        self.include = resolve(include)
        self._evaluators: dict[tuple[object, ...], Evaluator] = {}
        self._rescorers: dict[tuple[object, ...], Rescorer] = {}
        self._hashes: dict[tuple[object, ...], dict[str, str]] = {}

    def of(self, run: Run, report: Report) -> Rescorer | None:
        """What scores a run's responses; None where its tasks can't be told."""
        key = _choice(run)
        if key is None:
            report.skip(f"{run.folder.name}: its configuration names no evaluation tasks")
            return None
        if key not in self._rescorers:
            names, limit, samples = key
            evaluator = Evaluator(list(names), self.include, max_new_tokens=limit, samples=samples)
            self._evaluators[key] = evaluator
            self._rescorers[key] = Rescorer(evaluator)
            self._hashes[key] = evaluator.task_hashes()
        return self._rescorers[key]

    def hashes(self, run: Run) -> tuple[dict[str, str], dict[str, str] | str]:
        """Hashes of the run's tasks here, and of their prompts, or why there are none."""
        key = _choice(run)
        assert key is not None  # `of` was asked before
        return self._hashes[key], _prompt_hashes(run, self._evaluators[key])


def _choice(run: Run) -> tuple[tuple[str, ...], int | None, int | None] | None:
    """Tasks, limit of tokens and samples that a run's configuration names."""
    said = run.manifest.config.get("evaluation")
    names = said.get("tasks") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(names, list) or not names:
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    numbers = [said.get(name) for name in ("max_new_tokens", "samples")]
    limit, samples = (n if isinstance(n, int) else None for n in numbers)
    return tuple(names), limit, samples


def _prompt_hashes(run: Run, evaluator: Evaluator) -> dict[str, str] | str:
    model = run.manifest.config.get("model")
    path = model.get("path") if isinstance(model, dict) else None
    try:
        base = find_base(str(path))
        if not base.is_dir():  # nothing is fetched for a check
            raise HarnessError("the base model isn't on this machine")
        return evaluator.prompt_hashes(load_tokenizer(base))
    except HarnessError as error:
        return one_line(error)


def _hashes(at: Place, run: Run, tasks: dict[str, str], prompts: dict[str, str] | str) -> None:
    """The data and the prompts are those of this installation."""
    manifest = run.manifest
    _compare(at, "data_hashes", manifest.data_hashes, tasks)
    if isinstance(prompts, str):
        at.report.skip(f"prompt hashes: {prompts}")
    elif isinstance(manifest.prompt_hash, dict):
        _compare(at, "prompt_hash", manifest.prompt_hash, prompts)


def _compare(at: Place, what: str, recorded: dict[str, object], here: dict[str, str]) -> None:
    for name in sorted({*recorded, *here}):
        at.same(what, recorded.get(name, "absent"), here.get(name, "absent"), task=name)
    at.report.counts["data and prompt hashes"] += len(here)
