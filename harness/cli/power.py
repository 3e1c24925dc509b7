"""How many seeds a difference needs, from the spread that finished runs have shown."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from harness import leaderboard as boards
from harness.errors import HarnessError
from harness.statistics import (
    MOST_SEEDS,
    NoiseFloor,
    noise_floor,
    pooled_sd,
    power_welch,
    sd_interval,
    seeds_needed,
    smallest_effect,
)
from harness.store import Status

SEEDS = range(2, 21)
"""Rows of the table: seeds per method."""


@dataclass(frozen=True)
class Question:
    """What is asked: `effect` in percentage points where the metric is a share, else in its unit.

    Raises:
        HarnessError: an effect that is not above 0, or a power or level outside (0, 1).
    """

    effect: float
    metric: str
    power: float
    level: float

    def __post_init__(self) -> None:
        if not 0 < self.effect < math.inf:
            raise HarnessError(f"--effect {self.effect:g}: give a difference above 0, such as 4.4")
        for name, value in (("power", self.power), ("level", self.level)):
            if not 0 < value < 1:
                raise HarnessError(f"--{name} {value:g}: must be above 0 and below 1")
        if self.power <= 1 - self.level:
            raise HarnessError(
                f"--power {self.power:g}: no more than the test's size, 1 - level; ask for more"
            )

    @property
    def scale(self) -> float:
        """What a value of the metric is multiplied by to be shown."""
        return 100.0 if boards.describe(self.metric).unit == "share" else 1.0

    @property
    def unit(self) -> str:
        unit = boards.describe(self.metric).unit
        return "points" if unit == "share" else unit or "units"


@dataclass(frozen=True)
class Measured:
    """What one table has of a metric.

    Attributes:
        name: where it is from.
        final: per method, each finished run's last measured value.
        repeats: a value of the base model for each sampling seed.
    """

    name: str
    final: dict[str, list[float]]
    repeats: list[float]


@dataclass(frozen=True)
class Row:
    """What a number of seeds per method can show; the smallest effect as the effect is given."""

    seeds: int
    power: float
    smallest_effect: float


@dataclass(frozen=True)
class Plan:
    """The answer from one table; deviations and effects in the unit that the effect is given in.

    Attributes:
        sd, sd_low, sd_high, df: between-seed standard deviation pooled over methods, its interval.
        sd_methods: smallest and largest standard deviation of a single method.
        seeds: seeds per method that are needed; None for more than can sensibly be run.
        seeds_low, seeds_high: the same at either end of the interval of the standard deviation.
        noise: noise floor; None where the base model wasn't evaluated twice.
    """

    table: str
    metric: str
    unit: str
    effect: float
    wanted_power: float
    level: float
    methods: int
    runs: int
    sd: float
    sd_low: float
    sd_high: float
    df: int
    sd_methods: tuple[float, float]
    seeds: int | None
    seeds_low: int | None
    seeds_high: int | None
    noise: NoiseFloor | None
    rows: tuple[Row, ...]


def show_power(question: Question, board: Sequence[Path], runs: Path | None, as_json: bool) -> None:
    """Print the seeds needed, from per-run CSVs or from run folders.

    Raises:
        HarnessError: no runs, an unknown metric, or too few seeds in every table.
    """
    plans, problems = [], []
    for name, frame in _frames(board, runs):
        try:
            plans.append(plan(measured(frame, name, question.metric), question))
        except HarnessError as error:
            problems.append(error)
    if not plans:
        raise problems[0]
    if as_json:
        print(json.dumps([asdict(p) for p in plans], indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for answer in plans:
        for line in _lines(answer):
            console.print(line, markup=False)
        console.print(_table(answer))
    for problem in problems:
        console.print(f"left out: {problem}", markup=False)


def measured(frame: pd.DataFrame, name: str, metric: str) -> Measured:
    """Each run's last value of a metric, and the base model's.

    Args:
        frame: rows of `harness.leaderboard.per_run`. Empty values were not measured; incomplete
            runs are left out.

    Raises:
        HarnessError: an unknown metric, the same run twice, or a value that is infinite.
    """
    frame = frame[frame["status"] != Status.INCOMPLETE]
    own = frame[frame["metric"] == metric]
    if own.empty:
        near = difflib.get_close_matches(metric, sorted(set(frame["metric"])), n=3, cutoff=0.3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise HarnessError(f"{name}: no metric {metric!r} in it{hint}")
    own = own.dropna(subset="value").sort_values(["method", "seed", "iteration"])
    if (twice := own.duplicated(["method", "seed", "iteration"])).any():
        row = own[twice].iloc[0]
        raise HarnessError(f"{name}: {row['method']}, seed {row['seed']} is there twice; keep one")
    if not (finite := own["value"].abs() < math.inf).all():
        row = own[~finite].iloc[0]
        raise HarnessError(f"{name}: {metric} of {row['method']}, seed {row['seed']} is infinite")
    trained = own[own["iteration"] > 0].groupby(["method", "seed"])["value"].last()
    base = own[own["iteration"] == 0].groupby("seed")["value"].mean()
    final = {str(method): values.tolist() for method, values in trained.groupby(level="method")}
    return Measured(name, final, base.tolist())


def plan(found: Measured, question: Question) -> Plan:
    """The seeds that a difference needs, by Welch's test at the spread of these runs.

    Raises:
        HarnessError: no method has 2 runs, or no two runs differ.
    """
    scale, level = question.scale, question.level
    groups = [[scale * v for v in values] for values in found.final.values() if len(values) > 1]
    if not groups:
        raise HarnessError(
            f"{found.name}: no method has 2 finished runs with {question.metric}; run more seeds"
        )
    spread = pooled_sd(groups)
    if spread.sd == 0:
        raise HarnessError(
            f"{found.name}: no two seeds differ in {question.metric}; there is no spread to plan by"
        )
    low, high = sd_interval(spread.sd, spread.df, level)
    single = [pooled_sd([group]).sd for group in groups]
    repeats = [scale * value for value in found.repeats]
    return Plan(
        table=found.name,
        metric=question.metric,
        unit=question.unit,
        effect=question.effect,
        wanted_power=question.power,
        level=level,
        methods=len(groups),
        runs=sum(map(len, groups)),
        sd=spread.sd,
        sd_low=low,
        sd_high=high,
        df=spread.df,
        sd_methods=(min(single), max(single)),
        seeds=_seeds(question, spread.sd),
        seeds_low=_seeds(question, low),
        seeds_high=_seeds(question, high),
        noise=noise_floor([repeats], level) if len(repeats) > 1 else None,
        rows=tuple(_row(question, spread.sd, n) for n in SEEDS),
    )


def _row(question: Question, sd: float, n: int) -> Row:
    power = power_welch(question.effect, sd, sd, n, n, question.level)
    return Row(n, power, smallest_effect(sd, n, question.power, question.level))


def _seeds(question: Question, sd: float) -> int | None:
    try:
        return seeds_needed(question.effect, sd, question.power, question.level)
    except HarnessError:  # more than it counts to
        return None


_COLUMNS = ("method", "seed", "status", "iteration", "metric", "value")


def _frames(board: Sequence[Path], runs: Path | None) -> list[tuple[str, pd.DataFrame]]:
    """Per-run tables by name: of run folders, of the files given, or of the leaderboards here."""
    if runs is not None and board:
        raise HarnessError("--runs and --board: give one of them")
    if runs is not None:
        folders = boards.find_runs(runs)
        if not folders:
            raise HarnessError(f"{runs}: no run folders here; give --runs DIR or --board FILE")
        parts = boards.collect(folders).groups
        return [(" ".join(filter(None, part.names)), boards.per_run(part)) for part in parts]
    paths = list(board) or sorted(Path("leaderboards").glob("*.runs.csv"))
    if not paths:
        raise HarnessError(
            "leaderboards/*.runs.csv: no such file; give --runs DIR or --board RUNS_CSV, or make "
            "it with 'leaderboard collect'"
        )
    return [(str(path), _read(path)) for path in paths]


def _read(path: Path) -> pd.DataFrame:
    """A per-run CSV.

    Raises:
        HarnessError: missing, or not such a table.
    """
    wanted = "give a .runs.csv as 'leaderboard collect' writes it"
    try:
        frame = pd.read_csv(path, dtype={"method": str, "status": str, "metric": str})
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file; {wanted}") from None
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise HarnessError(f"{path}: not readable as CSV ({error}); {wanted}") from error
    if lacking := [c for c in _COLUMNS if c not in frame.columns]:
        raise HarnessError(f"{path}: no column {', '.join(lacking)}; {wanted}")
    if frame.empty:
        raise HarnessError(f"{path}: no runs in it; {wanted}")
    for column in ("seed", "iteration", "value"):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise HarnessError(f"{path}: column {column} is not all numbers; {wanted}")
    return frame


def _lines(p: Plan) -> list[str]:
    percent = f"{100 * p.level:g} %"
    lines = [
        f"{p.table}: {p.metric}, {p.methods} methods with {p.runs} runs",
        f"between-seed standard deviation, pooled over the methods: {p.sd:.3g} {p.unit} "
        f"[{percent} interval {p.sd_low:.3g} to {p.sd_high:.3g}; single methods "
        f"{p.sd_methods[0]:.3g} to {p.sd_methods[1]:.3g}]",
        f"seeds per method to find a true difference of {p.effect:g} {p.unit} with "
        f"{100 * p.wanted_power:g} % power: {_count(p.seeds)} "
        f"[{_count(p.seeds_low)} to {_count(p.seeds_high)}, as the interval has it]",
    ]
    return [*lines, _noise(p, percent)]


def _noise(p: Plan, percent: str) -> str:
    """The noise floor in words."""
    if p.noise is None:
        return "noise floor: not known; the base model wasn't evaluated twice in this metric"
    again = f"noise floor: the untrained base model, evaluated with {p.noise.df + 1} sampling seeds"
    if p.noise.sd == 0:
        return f"{again}, gave the same value each time"
    return (
        f"{again}, varies with a standard deviation of {p.noise.sd:.3g} {p.unit}: from sampling "
        f"alone two evaluations of the same weights may differ by {p.noise.difference:.3g} "
        f"({percent}); the spread between seeds has this noise in it"
    )


def _count(seeds: int | None) -> str:
    return f"more than {MOST_SEEDS}" if seeds is None else str(seeds)


def _table(p: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("seeds per method", justify="right")
    table.add_column(f"power for {p.effect:g}", justify="right")
    table.add_column(
        f"smallest effect with {100 * p.wanted_power:g} % power, {p.unit}", justify="right"
    )
    for row in p.rows:
        table.add_row(str(row.seeds), f"{100 * row.power:.0f} %", f"{row.smallest_effect:.3g}")
    return table
