"""One run folder, whole or compact, as a leaderboard sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.leaderboard.evaluations import Evaluation, EvaluationReader, Scores
from harness.leaderboard.schema import short_hash
from harness.store import RunFolder, Status
from harness.store import records as schema
from harness.store.run_folder import phase_seconds

Values = Mapping[str, float | None]

TRAINING_PHASES = ("propose", "curriculum", "solve")
"""The phases that a run needs; evaluating and measuring are the harness's own."""
_NOT_GENERATED = ("trained", "measured")
"""Purposes of tokens that a policy only read."""


def _nothing() -> Scores:
    return MappingProxyType({})


@dataclass(frozen=True)
class Point:
    """What a run had used and reached at an evaluation.

    Attributes:
        iteration: 0 is the base model.
        tokens: generated up to then by both roles, evaluations left out; None: not recorded.
        flops: model FLOPs up to then; None: not recorded.
        seconds: wall clock of proposing, making curricula and solving up to then; None: not
            recorded.
        metrics: the evaluation's ``solver/...`` values.
        seconds_exact: False where only the whole run's seconds are known and were spread by FLOPs.
    """

    iteration: int
    tokens: float | None
    flops: float | None
    seconds: float | None
    metrics: Values
    seconds_exact: bool = True


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
        base_scores, scores: mean score of each item, by (task, mode), ordered by doc_id, of the
            base model and at the run's last evaluation; empty where nothing was evaluated.
        trajectory: compute and accuracy, one point per evaluation.
        digests: identifies each evaluation's scores, by iteration.
        detail: why it ended as it did; for an incomplete run, how far it is.
        split: the group that a table was split into; "" without.
    """

    folder: Path
    manifest: schema.Manifest
    status: Status
    iterations: tuple[Values, ...] = ()
    base: Values | None = None
    base_digest: str = ""
    items: str = ""
    cost: schema.Cost | None = None
    base_scores: Scores = field(default_factory=_nothing, repr=False, compare=False)
    scores: Scores = field(default_factory=_nothing, repr=False, compare=False)
    trajectory: tuple[Point, ...] = field(default=(), repr=False)
    digests: Mapping[int, str] = field(default_factory=dict, repr=False)
    detail: str = ""
    split: str = ""

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What must be unique in a table."""
        m = self.manifest
        return (m.profile, self.split, m.method, m.seed, m.config_hash)

    @property
    def group(self) -> tuple[str, str, str]:
        """Suite, profile and split: what may stand in one table."""
        return (self.manifest.suite, self.manifest.profile, self.split)


SPLITS: Mapping[str, Callable[[Run], str]] = {
    "config": lambda run: run.manifest.config_hash,
    "base": lambda run: f"{run.manifest.base_model} {run.manifest.base_model_hash[:8]}".strip(),
    "data": lambda run: short_hash(run.manifest.data_hashes),
    "engine": lambda run: describe_engine(run.manifest.engine),
    "prompt": lambda run: short_hash(run.manifest.prompt_hash),
}
"""What tables may be split by: name, and how a run's value is shown."""


def describe_engine(engine: Mapping[str, Any] | str) -> str:
    """An engine in words, its name first."""
    if isinstance(engine, str):
        return engine
    rest = [f"{k}={v}" for k, v in sorted(engine.items()) if k != "name"]
    return " ".join([str(engine.get("name", "")), *rest]).strip()


def read_run(folder: Path, evaluations: EvaluationReader, *, same_items: bool = True) -> Run:
    """Read and validate a run folder.

    Args:
        folder: whole or compact; without ``done.json`` none of its numbers is used.
        evaluations: keeps what several runs share.
        same_items: refuse a run whose evaluations aren't all of the same items.

    Raises:
        HarnessError: a file is missing, truncated, corrupt, not finite or of another version.
    """
    if not (folder / "manifest.json").is_file():
        raise HarnessError(f"{folder}: no manifest.json; not a run folder")
    store = RunFolder(folder)
    manifest = schema.read_record(store.manifest_path, schema.MANIFEST)
    if not store.done_path.exists():
        return Run(folder, manifest, Status.INCOMPLETE, detail=_how_far(store, manifest))
    done = schema.read_record(store.done_path, schema.DONE)
    iterations = []
    for t in range(1, done.iterations + 1):
        iterations.append(schema.read_record(store.iteration(t) / "metrics.json", schema.METRICS))
        for path in sorted(store.iteration(t).glob("*.parquet")):
            _check_footer(path)
    evaluated = _evaluations(store, manifest, evaluations, same_items)
    first = evaluated.get(0)
    last = max((t for t in evaluated if 0 < t <= done.iterations), default=None)
    cost = read_cost(store)
    run = Run(
        folder=folder,
        manifest=manifest,
        status=Status(done.status),
        iterations=tuple(iterations),
        base=first.metrics if first else None,
        base_digest=first.digest if first else "",
        items=first.items if first else "",
        cost=cost,
        base_scores=first.scores if first else _nothing(),
        scores=evaluated[last].scores if last is not None else _nothing(),
        digests={t: evaluation.digest for t, evaluation in evaluated.items()},
        detail=done.detail,
    )
    return replace(run, trajectory=_trajectory(run))


def read_cost(store: RunFolder) -> schema.Cost | None:
    """A run's cost; seconds by iteration come from its events where the record has none."""
    if not store.cost_path.exists():
        return None
    cost = schema.read_record(store.cost_path, schema.COST)
    if not cost.iterations and (found := phase_seconds(store.events())):
        cost = cost.model_copy(update={"iterations": found})
    return cost


def _how_far(store: RunFolder, manifest: schema.Manifest) -> str:
    done = len(list(store.path.glob("iterations/*/metrics.json")))
    planned = manifest.config.get("iterations")
    return f"{done} of {planned} iterations" if isinstance(planned, int) else f"{done} iterations"


def _evaluations(
    store: RunFolder, manifest: schema.Manifest, reader: EvaluationReader, same_items: bool
) -> dict[int, Evaluation]:
    """The evaluations by iteration."""
    base = store.evaluation(0)
    if manifest.evaluates and not base.exists():
        raise HarnessError(
            f"{base}: missing; remove the run's folder and run again, or leave it out"
        )
    found: dict[int, Evaluation] = {}
    for t, path in store.evaluations().items():
        found[t] = reader.read(path, manifest.schema_version, shared=not t)
        if same_items and found[min(found)].items != found[t].items:
            raise HarnessError(f"{path}: other items than in eval/00.parquet; evaluate again")
    return found if base.exists() else {}


def _check_footer(path: Path) -> None:
    try:
        pq.read_metadata(path)
    except Exception as error:  # pyarrow raises several kinds
        raise HarnessError(
            f"{path}: truncated or corrupt parquet; remove the run's folder and run again, or "
            "leave it out"
        ) from error


def _trajectory(run: Run) -> tuple[Point, ...]:
    """A point at the base model's evaluation and at every later one."""
    spent = [_Spent(0.0, 0.0), *map(_spent, run.iterations)]
    tokens = _cumulative([s.tokens for s in spent])
    flops = _cumulative([s.flops for s in spent])
    seconds, exact = _seconds(run.cost, flops)
    points = []
    for t, metrics in enumerate([run.base or {}, *run.iterations]):
        accuracy = {name: v for name, v in metrics.items() if name.startswith("solver/")}
        if accuracy:
            points.append(Point(t, tokens[t], flops[t], seconds[t], accuracy, exact))
    return tuple(points)


@dataclass(frozen=True)
class _Spent:
    tokens: float | None
    flops: float | None


def _spent(metrics: Values) -> _Spent:
    """What one iteration generated and computed; None where it isn't recorded."""
    generated = [
        value
        for name, value in metrics.items()
        if value is not None
        and name.startswith("compute/")
        and name.endswith("/tokens")
        and name.split("/")[-2] not in _NOT_GENERATED
    ]
    return _Spent(sum(generated) if generated else None, metrics.get("compute/flops"))


def _cumulative(values: list[float | None]) -> list[float | None]:
    """Running sums, None from the first unknown value on."""
    total: float | None = 0.0
    sums: list[float | None] = []
    for value in values:
        total = None if total is None or value is None else total + value
        sums.append(total)
    return sums


def _seconds(
    cost: schema.Cost | None, flops: list[float | None]
) -> tuple[list[float | None], bool]:
    """Seconds of training up to each iteration, and whether they were measured there."""
    last = len(flops) - 1
    if cost is not None and all(t in cost.iterations for t in range(1, last + 1)):
        known = cost.iterations
        per = [sum(known[t].get(p, 0.0) for p in TRAINING_PHASES) for t in range(1, last + 1)]
        return _cumulative([0.0, *per]), True
    total = sum(cost.phases.get(p, 0.0) for p in TRAINING_PHASES) if cost is not None else 0.0
    if not total or not flops[last]:
        return [0.0, *[None] * last], not last
    # Only the run's total is known: an iteration's share is taken to be that of its FLOPs.
    whole = flops[last] or 1.0
    return [None if f is None else total * f / whole for f in flops], False
