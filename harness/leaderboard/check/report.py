"""What a check found: differences named one by one, and what could not be checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_LONGEST = 80
"""Characters of a value that are shown: models wrote some of them."""


@dataclass(frozen=True)
class Difference:
    """A recorded value that isn't what it should be.

    Attributes:
        run: name of the run's folder; "" for a file of the whole submission.
        file: path within it.
        what: which value.
        recorded, recomputed: the value in the file, and the one from the raw samples.
        where: further keys: task, mode, doc_id, sample, answer, gold, question_id, metric, ...
    """

    run: str
    file: str
    what: str
    recorded: Any
    recomputed: Any
    where: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        place = "/".join(part for part in (self.run, self.file) if part)
        keys = "".join(f", {name} {_shown(value)}" for name, value in self.where.items())
        return (
            f"{_plain(place)}: {_plain(self.what)}{keys}: recorded {_shown(self.recorded)}, "
            f"recomputed {_shown(self.recomputed)}"
        )


def _plain(text: str) -> str:
    return ascii(text)[1:-1][:200]


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


@dataclass
class Report:
    """The outcome of a check, filled while it runs.

    Attributes:
        differences: all of them.
        unchecked: one line for each thing that can't be verified, and why.
        counts: how many of what were compared.
    """

    differences: list[Difference] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def skip(self, line: str) -> None:
        """Say once that something can't be verified."""
        if line not in self.unchecked:
            self.unchecked.append(line)

    def checked_lines(self) -> list[str]:
        """What was compared, a line each."""
        return [f"checked: {n} {what}" for what, n in self.counts.items() if n]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "checked": dict(self.counts),
            "not_checked": self.unchecked,
            "differences": [_finite(asdict(d)) for d in self.differences],
        }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Place:
    """A file that is being checked, and where its differences go."""

    report: Report
    folder: Path
    file: str

    @property
    def path(self) -> Path:
        return self.folder / self.file

    def at(self, file: str) -> Place:
        """Another file of the same run."""
        return Place(self.report, self.folder, file)

    def differs(self, what: str, recorded: Any, recomputed: Any, **where: Any) -> None:
        """Note a difference."""
        found = Difference(self.folder.name, self.file, what, recorded, recomputed, where)
        self.report.differences.append(found)

    def same(self, what: str, recorded: Any, recomputed: Any, **where: Any) -> None:
        """Note a difference where two values aren't equal; numbers may differ by rounding."""
        if not agree(recorded, recomputed):
            self.differs(what, recorded, recomputed, **where)

    def metrics(self, recorded: Mapping[str, Any], recomputed: Mapping[str, Any]) -> None:
        """Compare metrics by name; a metric that one side lacks is a difference, too."""
        for name in sorted({*recorded, *recomputed}):
            one, two = recorded.get(name, "absent"), recomputed.get(name, "absent")
            self.same("metric", one, two, metric=name)
        self.report.counts["metrics"] += len(recomputed)


def agree(a: Any, b: Any) -> bool:
    """Whether two values are equal; floats up to the rounding of sums, two NaN are equal."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        both = math.isnan(a) and math.isnan(b)
        return both or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return bool(a == b)
