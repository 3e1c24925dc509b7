"""The kit's world: the shipped ladder at its smallest, and whole runs in it."""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.base import find_base
from harness.checker import Checker, load_checker
from harness.coevolution import Coevolution
from harness.config import RunConfig, load_config
from harness.diversity.embedders import Embedder, load_embedder
from harness.engines.base import Engine, LogitsRule, Rollouts, SamplingParams
from harness.engines.make import TorchEngines
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError, one_line
from harness.evaluation.runner import Evaluator
from harness.grading import Grader
from harness.masks import ProtectedSet, VocabMask, protected_set
from harness.methods import Method
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import format_strings
from harness.run import load_evaluator
from harness.store import RunFolder, Status
from harness.testing.results import as_base, first_difference, read_results
from harness.testing.watch import BrokenPromiseError, Watch

SMALLEST = (
    "iterations=2",
    "proposer.steps=1",
    "proposer.prompts_per_step=4",
    "proposer.group_size=4",
    "proposer.max_new_tokens=44",
    "proposer.minibatches=2",
    "proposer.micro_rows=4",
    "solver.steps=2",
    "solver.prompts_per_step=4",
    "solver.group_size=4",
    "solver.max_new_tokens=20",
    "solver.micro_rows=8",
    "solver.checkpoint_every=1",
    "votes.n=4",
    "votes.max_new_tokens=20",
    "curriculum.questions=24",
    "curriculum.batch_size=24",
    "curriculum.min_survivors=1",
    "diversity.n=6",
    "diversity.n_well_posed=3",
)
"""Overrides of the ladder profile: every phase has something to do, in a second an iteration."""


@dataclass(frozen=True)
class Parts:
    """What all runs share. The policy isn't to be trained in place."""

    config: RunConfig
    base: Path
    policy: Policy
    protected: ProtectedSet
    grader: Grader
    checker: Checker | None
    embedder: Embedder
    evaluator: Evaluator


@functools.cache
def parts() -> Parts:
    """The ladder's base model, grader and so on; loaded once per process."""
    config, _ = load_config("ladder", overrides=SMALLEST)
    base = find_base(config.model.path)
    policy = Policy.load(base)
    formats = format_strings(config.roles)
    return Parts(
        config=config,
        base=base,
        policy=policy,
        protected=protected_set(policy.tokenizer, config.protected, formats),
        grader=Grader(config.grader_workers, config.grader_deadline_s),
        checker=load_checker(config.checker),
        embedder=load_embedder(config.diversity.embedder),
        evaluator=load_evaluator(config),
    )


@dataclass(frozen=True)
class Sampled:
    """One call of an engine: in which phase of which iteration, under what, and what came of it."""

    iteration: int
    phase: str
    rollouts: Rollouts
    mask: VocabMask | None
    mask_rows: list[int]
    rule: LogitsRule | None

    @property
    def tokens(self) -> int:
        return int(self.rollouts.response_mask.sum())


class _RecordingEngine(TorchEngine):
    """Notes what it samples."""

    def __init__(self, policy: Policy, note: Callable[..., None], max_rows: int) -> None:
        super().__init__(policy.model, policy.tokenizer, max_rows)
        self.note = note

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        row_keys: Sequence[int],
        mask: VocabMask | None = None,
        mask_rows: Sequence[int] | None = None,
        logits_rule: LogitsRule | None = None,
    ) -> Rollouts:
        made = super().generate(
            prompts,
            params,
            row_keys=row_keys,
            mask=mask,
            mask_rows=mask_rows,
            logits_rule=logits_rule,
        )
        rows = list(mask_rows) if mask_rows is not None else [0] * len(made)
        self.note(made, mask, rows, logits_rule)
        return made


class Killed(Exception):  # noqa: N818  (stands for the end of the process)
    """The run ends here, whatever it was doing."""


class Folder(RunFolder):
    """A run folder that knows the phase, and may be made to end the run at its events."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.place = (0, "")
        self.survived: set[str] | None = None

    def event(self, kind: str, **fields: Any) -> None:
        if kind == "phase":
            self.place = (int(fields["iteration"]), str(fields["phase"]))
        mortal = kind == "phase_end" or (kind == "step" and fields["step"] > 0)
        if self.survived is None or not mortal:
            return
        moment = " ".join(
            f"{k}={fields[k]}" for k in ("iteration", "phase", "role", "step") if k in fields
        )
        if moment not in self.survived:
            self.survived.add(moment)
            raise Killed


@dataclass
class Bench(Workbench):
    """A run's parts whose engines note what they sample."""

    sampled: list[Sampled] = field(default_factory=list)
    only_one: bool = False
    """the first sample ends the run."""

    def engine(self, policy: Policy) -> Engine:
        return _RecordingEngine(policy, self._note, self.config.engine_rows)

    def _note(
        self, made: Rollouts, mask: VocabMask | None, rows: list[int], rule: LogitsRule | None
    ) -> None:
        assert isinstance(self.folder, Folder)
        self.sampled.append(Sampled(*self.folder.place, made, mask, rows, rule))
        if self.only_one:
            raise Killed


def make_bench(method: Method, folder: Folder, seed: int = 0, **changes: Any) -> Bench:
    """The parts of one run in ``folder``; ``changes`` replace fields of its configuration."""
    p = parts()
    return Bench(
        config=p.config.model_copy(update=changes),
        seed=seed,
        method=method,
        entry=method.name or "composite",
        folder=folder,
        tokenizer=p.policy.tokenizer,
        protected=p.protected,
        grader=p.grader,
        checker=p.checker,
        embedder=p.embedder,
        evaluator=p.evaluator,
        engines=TorchEngines(p.config.model.dtype, p.config.engine_rows),
        parameters=p.policy.parameters,
    )


@contextmanager
def scratch() -> Iterator[Folder]:
    """A run folder of a moment; one torch thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="conformance-") as path:
            yield Folder(Path(path) / "run")
    finally:
        torch.set_num_threads(threads)


@dataclass
class Run:
    """What a small run left.

    Attributes:
        status: `Status`, or ``crashed``; ``detail`` says why.
        refused: the method's `check` refuses the kit's configuration.
        results: as `read_results` gives them.
        metrics: of each whole iteration.
        watch: what hooks did that they shouldn't; of a watched run.
        starts: how often it was started until it ended.
    """

    status: str = "crashed"
    detail: str = ""
    refused: bool = False
    broken: BrokenPromiseError | None = None
    results: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float | None]] = field(default_factory=list)
    sampled: list[Sampled] = field(default_factory=list)
    watch: Watch | None = None
    starts: int = 0

    @property
    def trouble(self) -> bool:
        """Whether it ended without results."""
        return self.status not in (Status.COMPLETED, Status.CURRICULUM_EXHAUSTED)

    @property
    def counts(self) -> Counter[str]:
        """What the method reported to have touched, over all iterations."""
        total: Counter[str] = Counter()
        for metrics in self.metrics:
            for key, value in metrics.items():
                if key.startswith("method/"):
                    total[key.removeprefix("method/")] += value or 0.0  # type: ignore[assignment]
        return total

    def differs(self, other: Run) -> str:
        """The first result in which two runs of one method differ; "" where there is none."""
        if self.status != other.status:
            return f"it ends as {self.status} ({self.detail}), not as {other.status}"
        return first_difference(self.results, other.results)

    def differs_from_base(self, base: Run) -> str:
        """As `differs`, for samples, rewards, losses and weights alone: not what a method notes."""
        if self.status != base.status:
            return f"it ends as {self.status} ({self.detail}), not as {base.status}"
        own = {n: as_base(v, base.results[n]) for n, v in self.results.items() if n in base.results}
        return first_difference(own, {n: as_base(v, v) for n, v in base.results.items()})


def small_run(make: Callable[[], Method], *, watched: bool = False, killed: bool = False) -> Run:
    """A whole run of the loop.

    Args:
        make: the method, anew for each start of the run.
        killed: end the run after every phase and every step but a stage's last, and start again.
    """
    run = Run(watch=Watch() if watched else None)
    with scratch() as folder:
        folder.survived = set() if killed else None
        ended = False
        while not ended:
            run.starts += 1
            ended = _start(run, make, folder)
        run.results = read_results(folder.path)
        run.metrics = [v for k, v in run.results.items() if k.endswith("metrics.json")]
    return run


def _start(run: Run, make: Callable[[], Method], folder: Folder) -> bool:
    """Start a run, or go on with it; True if it has ended for good."""
    try:
        method = make()
        bench = make_bench(run.watch.over(method) if run.watch else method, folder)
        bench.sampled = run.sampled
        try:
            method.check(bench.config)
        except HarnessError as error:
            run.refused, run.detail = True, one_line(error)
            return True
        ending = _Loop(bench).run()
        run.status, run.detail = str(ending.status), ending.detail
    except Killed:
        return False
    except BrokenPromiseError as error:
        run.broken, run.detail = error, one_line(error)
    except Exception as error:  # whatever a method does is a finding, not the kit's end
        run.detail = f"{type(error).__name__}: {one_line(error)}"
    return True


def first_sample(make: Callable[[], Method], seed: int) -> Rollouts:
    """The first rollouts of a run with this seed."""
    with scratch() as folder:
        bench = make_bench(make(), folder, seed)
        bench.only_one = True
        with contextlib.suppress(Killed):
            _Loop(bench).run()
    return bench.sampled[0].rollouts


@functools.cache
def base_run() -> Run:
    """The run of the base method."""
    return small_run(Method)


class _Loop(Coevolution):
    """The loop without its evaluations, in which no hook takes part."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, parts().base, _load)

    def _evaluate(self, t: int) -> None:
        del t


def _load(path: Path) -> Policy:
    """As `Policy.load`, in less time: only the weights are read."""
    shared = parts().policy
    policy = Policy(copy.deepcopy(shared.model), shared.tokenizer)
    if path != parts().base:
        policy.model.load_state_dict(load_file(path / "model.safetensors"), strict=False)
    return policy
