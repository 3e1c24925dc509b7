"""How far a run is, and what it measured last, from its events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.tracking.events import (
    Event,
    EventReader,
    Scalars,
    count,
    number,
    read_object,
    scalars,
)

PHASES = ("propose", "curriculum", "solve", "evaluate", "measure")
_SECONDS = {"propose": 15.0, "curriculum": 7.5, "solve": 15.0, "evaluate": 14.0, "measure": 0.3}
"""Rough proportions of the phases; only the bar's evenness depends on them."""
_TOO_EARLY = 0.02
"""Share of a run before which its own pace says nothing about its end."""
GREEDY, SAMPLED = "solver/macro/greedy", "solver/macro/sampled"
TOPICS, VENDI = "diversity/functional/topic_entropy", "diversity/semantic/vendi"
WELL_POSED = "proposer/well_posed"
_KEPT = (GREEDY, SAMPLED, TOPICS, VENDI, WELL_POSED)


@dataclass(frozen=True)
class Plan:
    """The phases of a whole run, weighted by the seconds that one of each takes."""

    iterations: int
    every: int = 0
    """evaluations every so many iterations, besides the base's and the last; 0: no others"""
    seconds: Mapping[str, float] = field(default_factory=lambda: _SECONDS)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Plan:
        """That of a run, as far as what its manifest says makes sense."""
        config = manifest.get("config")
        config = config if isinstance(config, dict) else {}
        evaluation = config.get("evaluation")
        every = evaluation.get("every") if isinstance(evaluation, dict) else 0
        return cls(max(1, count(config.get("iterations")) or 1), count(every) or 0)

    def share(self, iteration: int, phase: str, within: float) -> float:
        """Share of the run that is done, 0 to 1, when ``within`` of a phase is."""
        if phase not in PHASES:
            return 0.0
        place = PHASES.index(phase)
        done = sum(self._weight(p, iteration) for p in PHASES[:place]) if iteration else 0.0
        done += self._before(iteration) + within * self._weight(phase, iteration)
        return min(1.0, done / self._before(self.iterations + 1))

    def _before(self, iteration: int) -> float:
        """Seconds of all before an iteration."""
        if iteration == 0:
            return 0.0
        whole = iteration - 1
        evaluations = 1 + (whole // self.every if self.every else 0)
        if whole == self.iterations and not (self.every and whole % self.every == 0):
            evaluations += 1
        rest = sum(self.seconds[p] for p in PHASES if p != "evaluate")
        return whole * rest + evaluations * self.seconds["evaluate"]

    def _weight(self, phase: str, iteration: int) -> float:
        due = iteration in (0, self.iterations) or (self.every and iteration % self.every == 0)
        return self.seconds[phase] if phase != "evaluate" or due else 0.0


class RunProgress:
    """One run folder, read again and again at the price of what is new in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.iteration, self.phase, self.within = 0, "", 0.0
        self.metrics: dict[str, float] = {}
        """The last known value of what the table shows."""
        self.base: dict[str, float] = {}
        self.last_event: float | None = None
        self._reader = EventReader(folder / "events.jsonl")
        self._of = 1
        self._since: float | None = None
        self._seconds: dict[tuple[int, str], float] = {}
        self._measured: set[int] = set()
        self._told: set[int] = set()

    @property
    def offset(self) -> int:
        """Bytes of the events read so far."""
        return self._reader.offset

    def refresh(self, *, ended: bool = False) -> list[Scalars]:
        """Read what is new; its scalars, those that repeat earlier ones included.

        Args:
            ended: nothing will be added; a run without events is read from its metrics.
        """
        found = []
        for event in self._reader.new():
            found += self._untold(event)
            found += [known] if (known := self._apply(event)) is not None else []
        if ended:
            if self.last_event is None and not self._told:
                paths = (self.folder / "iterations").glob("*/metrics.json")
                self._measured = {int(p.parent.name) for p in paths if p.parent.name.isdecimal()}
            found += self._untold({"event": "done"})
        return found

    def share(self, plan: Plan) -> float:
        """Share of the run that is done; below 1 until it has ended."""
        return min(plan.share(self.iteration, self.phase, self.within), 0.999)

    def seconds(self, now: float | None = None) -> float:
        """Seconds in the phases so far, repeated ones counted once.

        Args:
            now: the time, where the run is in progress: the phase that hasn't ended counts.
        """
        open_phase = max(0.0, now - self._since) if now and self._since is not None else 0.0
        return sum(self._seconds.values()) + open_phase

    def left(self, plan: Plan, now: float, typical: float | None) -> float | None:
        """Estimated seconds to the end: its own pace, the more it has done the more of that.

        Args:
            typical: seconds of a run like it, from those that have ended.
        """
        share = self.share(plan)
        if share < _TOO_EARLY:
            return None if typical is None else typical * (1 - share)
        own = self.seconds(now) / share
        return (own if typical is None else share * own + (1 - share) * typical) * (1 - share)

    def _apply(self, event: Event) -> Scalars | None:
        kind, at = event.get("event"), number(event.get("time"))
        self.last_event = at if at is not None else self.last_event
        if kind == "start":
            self._since = None
        elif kind in ("phase", "phase_end"):
            self._turn(str(kind), event, at)
        elif kind == "step":
            self._of = max(1, count(event.get("of")) or 1)
            self.within = min(1.0, (count(event.get("step")) or 0) / self._of)
        elif kind == "step_end":
            self.within = min(1.0, ((count(event.get("step")) or 0) + 1) / self._of)
        known = scalars(event)
        if known is not None and known.kind == "metrics":
            self._told.add(known.iteration)
            shown = {k: v for k, v in known.values.items() if k in _KEPT}
            if known.iteration == 0:
                self.base = shown
            else:
                self.metrics |= shown
        return known

    def _turn(self, kind: str, event: Event, at: float | None) -> None:
        iteration, phase = count(event.get("iteration")), event.get("phase")
        if iteration is None or phase not in PHASES:
            return
        if kind == "phase":
            self.iteration, self.phase, self.within = iteration, str(phase), 0.0
            self._since = at
            return
        self._seconds[iteration, str(phase)] = max(0.0, number(event.get("seconds")) or 0.0)
        self._since = None
        if (iteration, phase) == (self.iteration, self.phase):
            self.within = 1.0
        if phase == "measure" and iteration > 0:
            self._measured.add(iteration)

    def _untold(self, event: Event) -> list[Scalars]:
        """Metrics that no event told, as in runs by earlier versions: read from their files."""
        if event.get("event") not in ("phase", "done") or self._measured <= self._told:
            return []
        found = []
        for t in sorted(self._measured - self._told):
            path = self.folder / "iterations" / f"{t:02d}" / "metrics.json"
            written = {"event": "metrics", "iteration": t, "metrics": read_object(path)}
            known = self._apply({**written, "time": event.get("time")})
            self._told.add(t)
            found += [known] if known is not None else []
        return found


@dataclass(frozen=True)
class RunView:
    """One line of the table: a run, where it stands and what it measured last.

    Attributes:
        state: running, interrupted, waiting, error, or a final status.
        share: share of the run that is done, 0 to 1.
        seconds: spent in its phases.
        left: estimated seconds to its end.
        accuracy: of the solver, mean over tasks, by mode; shares. ``base``: the base model's.
        diversity: metric and last value.
        well_posed: share of the last questions that are.
        ended: when it ended, in seconds since 1970.
    """

    run: str
    method: str
    seed: int | None
    state: str
    iteration: int = 0
    iterations: int | None = None
    phase: str = ""
    share: float = 0.0
    seconds: float = 0.0
    left: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    base: Mapping[str, float] = field(default_factory=dict)
    diversity: tuple[str, float] | None = None
    well_posed: float | None = None
    ended: float | None = None
    last_event: float | None = None


def view(
    progress: RunProgress,
    plan: Plan,
    *,
    method: str,
    seed: int | None,
    state: str,
    typical: float | None = None,
    now: float | None = None,
) -> RunView:
    """The line of a run whose events were just read."""
    now = time.time() if now is None else now
    running, told = state == "running", progress.metrics
    ended = state not in ("running", "interrupted", "waiting", "error")
    diversity = next(((name, told[name]) for name in (TOPICS, VENDI) if name in told), None)
    return RunView(
        run=progress.folder.name,
        method=method,
        seed=seed,
        state=state,
        iteration=progress.iteration,
        iterations=plan.iterations,
        phase=progress.phase,
        share=1.0 if ended else progress.share(plan),
        seconds=progress.seconds(now if running else None),
        left=progress.left(plan, now, typical) if running else None,
        accuracy=_modes(told),
        base=_modes(progress.base),
        diversity=diversity,
        well_posed=told.get(WELL_POSED),
        ended=progress.last_event if ended else None,
        last_event=progress.last_event,
    )


def _modes(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"sampled": SAMPLED, "greedy": GREEDY}
    return {mode: metrics[name] for mode, name in names.items() if name in metrics}
