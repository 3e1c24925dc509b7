"""How far executions of the same method, seed and configuration lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.leaderboard.evaluations import EvaluationReader
from harness.leaderboard.merge import find_all
from harness.leaderboard.metrics import describe
from harness.leaderboard.runs import Run, read_run
from harness.statistics import noise_floor


@dataclass(frozen=True)
class Noise:
    """One metric's noise floor after the last iteration.

    Attributes:
        groups: runs (method, seed and configuration) that were executed several times.
        executions: of those runs, all together.
        sd: standard deviation between executions, pooled over the runs, in the metric's unit.
        difference: what two single executions may differ by from noise alone.
    """

    metric: str
    unit: str
    groups: int
    executions: int
    sd: float
    difference: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def noise(places: Sequence[Path], metric: str | None = None, level: float = 0.95) -> list[Noise]:
    """The noise floor of every metric, or of one, from runs that were executed several times.

    Args:
        places: folders of runs; a run counts once per folder it lies in.
        metric: name of a metric; None for all.
        level: of the interval that ``difference`` comes from.

    Raises:
        HarnessError: a run can't be read, nothing was executed twice, or nothing has the metric.
    """
    reader = EvaluationReader()
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in (read_run(folder, reader) for folder in find_all(places)):
        if run.iterations:
            m = run.manifest
            same = (m.base_model_hash, str(sorted(m.data_hashes.items())), m.plugin_hash)
            groups.setdefault((*run.key, *same), []).append(run)
    repeated = [runs for runs in map(_executions, groups.values()) if len(runs) > 1]
    if not repeated:
        raise HarnessError(
            "noise: no run was executed twice in "
            f"{', '.join(map(str, places))}; name folders that hold the same method and seed"
        )
    names = sorted({name for runs in repeated for run in runs for name in run.iterations[-1]})
    if metric is not None and metric not in names:
        raise HarnessError(f"noise: no run measured {metric!r}; it may be, e.g., {names[-1]!r}")
    found = []
    for name in [metric] if metric is not None else names:
        values = [[run.iterations[-1].get(name) for run in runs] for runs in repeated]
        known = [[v for v in group if v is not None] for group in values]
        known = [group for group in known if len(group) > 1]
        if known:
            floor = noise_floor(known, level)
            size = sum(map(len, known))
            unit = describe(name).unit
            found.append(Noise(name, unit, len(known), size, floor.sd, floor.difference))
    return found


def _executions(runs: Sequence[Run]) -> list[Run]:
    """The runs without copies of one execution, which no two others take the same time for."""
    found: dict[object, Run] = {}
    for run in runs:
        took = run.cost and (run.cost.wall_seconds, run.cost.cpu_seconds)
        found.setdefault(took or run.folder, run)
    return list(found.values())
