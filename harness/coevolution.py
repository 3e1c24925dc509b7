"""Co-evolution of a proposer and a solver: Algorithm 1 of arXiv 2604.03472 on R-Zero's loop
(arXiv 2508.05004), read top to bottom. No method and no task is named here.

Every phase leaves its result in the run folder before the next one starts. A run that was killed
repeats the phase it was in from that phase's named random streams, so it ends in the same files.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError, RunFailedError
from harness.evaluation.summary import summary
from harness.phases.curriculum import make_curriculum
from harness.phases.measure import checks_table, measure_questions, read_snapshot
from harness.phases.propose import train_proposer
from harness.phases.solve import train_solver
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import Role
from harness.store import Status, atomic_folder, read_json, read_parquet, write_json
from harness.store.layouts import CHECKS, CURRICULUM, EVALUATION, QUESTIONS, VOTES, write_table
from harness.store.records import METRICS, write_record
from harness.training import DivergedError

Metrics = dict[str, float | None]
_TABLES = ("questions.parquet", "votes.parquet", "curriculum.parquet")


@dataclass(frozen=True)
class Ending:
    """How a run ended, after how many whole iterations, and why."""

    status: Status
    iterations: int
    detail: str = ""


class Coevolution:
    """One run of one method with one seed.

    Args:
        bench: the run's parts.
        base: where the base model of both roles lies.
        load: how a policy is loaded from a folder.
    """

    def __init__(self, bench: Workbench, base: Path, load: Callable[[Path], Policy]) -> None:
        self.bench = bench
        self.base = base
        self.load = load

    def run(self) -> Ending:
        """Algorithm 1, from wherever the run folder stands."""
        status, detail = Status.COMPLETED, ""
        self._evaluate(0)
        last = 0
        for t in range(1, self.bench.config.iterations + 1):
            try:
                exhausted = self._iteration(t)
            except DivergedError as error:
                status, detail = Status.DIVERGED, str(error)
                break
            except RunFailedError as error:
                status, detail = Status.FAILED, str(error)
                break
            last = t
            if exhausted:
                status, detail = Status.CURRICULUM_EXHAUSTED, f"iteration {t}: too few survivors"
                break
        self._evaluate(last)
        self._merge_evaluation(last)
        return Ending(status, last, detail)

    def _iteration(self, t: int) -> bool:
        """One iteration; True if too few questions survived for the solver to train."""
        bench, folder = self.bench, self.bench.folder.iteration(t)

        # 1  the proposer is trained against the frozen solver
        self._phase(t, "propose", lambda: self._propose(t))
        # 2-4  the curriculum is generated, labelled by majority vote, and selected
        made = self._phase(t, "curriculum", lambda: self._curriculum(t), _TABLES)
        exhausted = bool(made["exhausted"])
        # 5  the solver is trained on it; one that can't be trained is carried over
        self._phase(t, "solve", lambda: self._carry(t) if exhausted else self._solve(t))
        # 6  diversity of the proposer, accuracy of the solver
        if not exhausted and self._evaluation_due(t):
            self._evaluate(t)
        questions = read_parquet(folder / "questions.parquet")
        snapshot = read_snapshot(bench, questions)
        self._phase(t, "measure", lambda: self._measure(t, questions, snapshot))
        if not (folder / "metrics.json").exists():
            metrics = self._iteration_metrics(t)
            bench.folder.event("metrics", iteration=t, metrics=metrics)
            write_record(folder / "metrics.json", metrics, METRICS)
        bench.method.on_iteration_end(
            bench.context("solver", "train", t), read_json(folder / "metrics.json")
        )
        bench.archive.append(snapshot)
        self._tidy(t)
        return exhausted

    # The phases, each from the files of the ones before it.

    def _propose(self, t: int) -> Metrics:
        proposer = self._policy("proposer", t - 1)
        solvers = [self._policy("solver", snapshot) for snapshot in self._jury(t)]
        metrics = train_proposer(self.bench, t, proposer, solvers)
        self._save("proposer", t, proposer)
        return dict(metrics)

    def _curriculum(self, t: int) -> Metrics:
        tables = make_curriculum(
            self.bench, t, self._policy("proposer", t), self._policy("solver", t - 1)
        )
        folder = self.bench.folder.iteration(t)
        write_table(folder / "questions.parquet", tables.questions, QUESTIONS)
        write_table(folder / "votes.parquet", tables.votes, VOTES)
        write_table(folder / "curriculum.parquet", tables.curriculum, CURRICULUM)
        return {**tables.metrics, "exhausted": float(tables.exhausted)}

    def _solve(self, t: int) -> Metrics:
        solver = self._policy("solver", t - 1)
        curriculum = read_parquet(self.bench.folder.iteration(t) / "curriculum.parquet")
        metrics = train_solver(self.bench, t, solver, curriculum)
        self._save("solver", t, solver)
        return dict(metrics)

    def _carry(self, t: int) -> Metrics:
        """Too little to train on: the solver stays as it is."""
        self._save("solver", t, self._policy("solver", t - 1))
        return {}

    def _measure(self, t: int, questions: pd.DataFrame, snapshot: Any) -> Metrics:
        folder = self.bench.folder.iteration(t)
        checks = checks_table(self.bench, questions)
        if checks is not None:
            write_table(folder / "checks.parquet", checks, CHECKS)
        votes = read_parquet(folder / "votes.parquet")
        curriculum = read_parquet(folder / "curriculum.parquet")
        return measure_questions(self.bench, questions, votes, curriculum, snapshot)

    # Bookkeeping.

    def _phase(
        self,
        t: int,
        name: str,
        work: Callable[[], Mapping[str, float | None]],
        tables: Sequence[str] = (),
    ) -> Metrics:
        """Do a phase once: its record is written last and brings back the method's state.

        A phase whose ``tables`` somebody removed is done again.
        """
        bench, folder = self.bench, self.bench.folder.iteration(t)
        path = folder / f"{name}.json"
        if not all(p.exists() for p in (path, *(folder / table for table in tables))):
            bench.counts = Counter()
            bench.folder.event("phase", iteration=t, phase=name)
            started = time.perf_counter(), time.process_time()
            metrics = {**work(), **{f"method/{k}": float(v) for k, v in bench.counts.items()}}
            write_json(path, {"metrics": metrics, "method": bench.method.state_dict()})
            bench.folder.event(
                "phase_end",
                iteration=t,
                phase=name,
                seconds=round(time.perf_counter() - started[0], 3),
                cpu_seconds=round(time.process_time() - started[1], 3),
            )
        record = read_json(path)
        bench.method.load_state_dict(record["method"])
        metrics = record["metrics"]
        return dict(metrics)

    def _iteration_metrics(self, t: int) -> Metrics:
        """All phases' metrics as one flat record; compute and counts add up."""
        folder = self.bench.folder.iteration(t)
        total: Metrics = {}
        for name in ("propose", "curriculum", "solve", "measure"):
            for key, value in read_json(folder / f"{name}.json")["metrics"].items():
                if key in total and value is not None:
                    total[key] = (total[key] or 0.0) + value
                else:
                    total[key] = value
        total.pop("exhausted", None)
        return {**total, **self._accuracy(t)}

    def _evaluation_due(self, t: int) -> bool:
        every = self.bench.config.evaluation.every
        return t == self.bench.config.iterations or bool(every and t % every == 0)

    def _evaluate(self, t: int) -> None:
        """Item-level evaluation of the solver of iteration ``t`` (0: the base model)."""
        path = self.bench.folder.evaluation(t)
        if path.exists():
            return
        self.bench.folder.event("phase", iteration=t, phase="evaluate")
        started = time.perf_counter(), time.process_time()
        engine = self.bench.engine(self._policy("solver", t))
        frame = self.bench.evaluator.evaluate(
            engine, self.bench.seed, limit=self.bench.config.evaluation.limit
        )
        if t == 0:  # the base's; those of an iteration are among its metrics
            self.bench.folder.event("metrics", iteration=0, metrics=summary(frame))
        write_table(path, frame, EVALUATION)
        self.bench.folder.event(
            "phase_end",
            iteration=t,
            phase="evaluate",
            seconds=round(time.perf_counter() - started[0], 3),
            cpu_seconds=round(time.process_time() - started[1], 3),
        )

    def _accuracy(self, t: int) -> Metrics:
        path = self.bench.folder.evaluation(t)
        return dict(summary(read_parquet(path))) if path.exists() else {}

    def _merge_evaluation(self, t: int) -> None:
        """A run that ended early has its last solver evaluated after its metrics were written."""
        path = self.bench.folder.iteration(t) / "metrics.json"
        if t and path.exists():
            before = read_json(path)
            metrics = {**before, **self._accuracy(t)}
            if metrics != before:
                self.bench.folder.event("metrics", iteration=t, metrics=metrics)
            write_json(path, metrics)

    def _policy(self, role: Role, t: int) -> Policy:
        """A role's policy after iteration ``t``; the base model before the first.

        Raises:
            HarnessError: its checkpoint is gone, so that the iteration can't be done again.
        """
        path = self.bench.folder.iteration(t) / role if t else self.base
        if not path.exists() and t:
            raise HarnessError(
                f"{path}: the checkpoint is gone; remove {self.bench.folder} and run the same "
                "command again"
            )
        return self.load(path)

    def _jury(self, t: int) -> tuple[int, ...]:
        """The iterations whose solvers vote in the proposer's reward of iteration ``t``.

        Raises:
            HarnessError: the method names none, or one that isn't there yet.
        """
        jury = self.bench.method.jury(self.bench.context("proposer", "train", t), (t - 1,))
        if not jury or not set(jury) <= set(range(t)):
            raise HarnessError(
                f"iteration {t}: the method asks solvers {jury} to vote; there are 0 to {t - 1}"
            )
        return jury

    def _save(self, role: Role, t: int, policy: Policy) -> None:
        with atomic_folder(self.bench.folder.iteration(t) / role) as path:
            policy.save(path)
        self.bench.folder.discard("iterations", f"{t:02d}", f"{role}.stage")

    def _tidy(self, t: int) -> None:
        """Drop the checkpoints that nothing will read again."""
        if self.bench.config.keep_checkpoints != "last":
            return
        wanted = {"proposer": {t}, "solver": {t, *self._jury(t + 1)}}
        for role, kept in wanted.items():
            if (self.bench.folder.iteration(t) / role).exists():
                for old in set(range(1, t)) - kept:
                    self.bench.folder.discard("iterations", f"{old:02d}", role)
