"""How often intervals contain the truth: a simulation of seeds, suites and items.

    python benchmarks/coverage.py [--groups 4000]

A model's chance on item i of suite s, trained with seed r, is logistic in
level + item_i + seed_r + seed x suite_rs + seed x item_ri. Sizes and effects resemble maths
suites: two large ones and three small ones. An interval over seeds is about the mean over seeds of
the macro-average over suites on items that stay; one for new items is about the mean over items,
too, and every experiment draws its own. Gauss-Hermite quadrature gives both exactly.

Ranks: methods whose true means have a given spread, in between-seed standard deviations; what is
counted is the share of methods whose true place lies in its interval.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.rng import stream
from harness.statistics import (
    Difference,
    Interval,
    new_items_difference,
    new_items_interval,
    rank_intervals,
    t_interval,
    welch,
)

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]
SPREADS = (0.0, 0.5, 1.0, 3.0)
"""Between methods, in between-seed standard deviations; 0 stands for near ties."""


@dataclass(frozen=True)
class World:
    """Suite sizes and the standard deviations of the effects, in logits."""

    items: tuple[int, ...] = (500, 1319, 40, 30, 30)
    item: float = 1.5
    seed: float = 0.20
    seed_suite: float = 0.20
    seed_item: float = 0.6

    def difficulty(self, rng: np.random.Generator, groups: int) -> list[Array]:
        """Item effects of each suite [groups, items]."""
        return [rng.normal(0, self.item, (groups, n)) for n in self.items]

    def truth(self, level: float, difficulty: Sequence[Array] | None) -> float:
        """Mean over seeds, on items of these difficulties [1, items]; None: over items, too."""
        spread = np.sqrt(self.seed**2 + self.seed_suite**2 + self.seed_item**2)
        if difficulty is None:
            difficulty, spread = [np.zeros((1, 1))], np.hypot(spread, self.item)
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        weights = weights / weights.sum()
        suites = [(sigmoid(level + d[0][:, None] + spread * nodes) @ weights) for d in difficulty]
        return float(np.mean([suite.mean() for suite in suites]))


@dataclass(frozen=True)
class Experiments:
    """Item scores of each suite [groups, seeds, items], 0 or 1."""

    scores: list[NDArray[np.bool_]]

    @property
    def suites(self) -> Array:
        """Means over items [groups, seeds, suites]."""
        return np.stack([s.mean(axis=2) for s in self.scores], axis=2)

    @property
    def macro(self) -> Array:
        """Macro-averages [groups, seeds]."""
        return np.asarray(self.suites.mean(axis=2))

    def group(self, index: int) -> dict[str, NDArray[np.bool_]]:
        """One experiment, as the harness has it: suite to [seeds, items]."""
        return {str(i): s[index] for i, s in enumerate(self.scores)}


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def simulate(
    world: World,
    difficulty: Sequence[Array],
    groups: int,
    seeds: int,
    rng: np.random.Generator,
    level: float = 0.0,
) -> Experiments:
    """Experiments with `seeds` runs each, on items of these difficulties [groups or 1, items]."""
    seed = rng.normal(0, world.seed, (groups, seeds, 1))
    scores = []
    for d in difficulty:
        logits = level + d[:, None, :] + seed + rng.normal(0, world.seed_suite, (groups, seeds, 1))
        logits = logits + rng.normal(0, world.seed_item, logits.shape)
        scores.append(rng.random(logits.shape) < sigmoid(logits))
    return Experiments(scores)


def bootstrap(macro: Array, rng: np.random.Generator, draws: int = 1000) -> Array:
    """Means of resampled seeds [groups, draws]."""
    seeds = macro.shape[1]
    resampled: Array = macro[:, rng.integers(seeds, size=(draws, seeds))].mean(axis=2)
    return resampled


def stratified_bootstrap(suites: Array, rng: np.random.Generator) -> Bounds:
    """Percentiles of means of seeds resampled independently per suite, as rliable does."""
    means = [bootstrap(suites[:, :, i], rng) for i in range(suites.shape[2])]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5], axis=1)
    return low, high


def ours(intervals: Iterable[Interval | Difference]) -> Bounds:
    """The bounds of the harness's own intervals."""
    bounds = [(i.low, i.high) for i in intervals]
    low, high = np.array(bounds, dtype=np.float64).T
    return low, high


def mean_intervals(found: Experiments, rng: np.random.Generator) -> dict[str, Bounds]:
    """95 % intervals of each group's mean, by several methods."""
    macro = found.macro
    mean, error = macro.mean(1), macro.std(1, ddof=1) / np.sqrt(macro.shape[1])
    z = float(stats.norm.ppf(0.975))
    low, high = np.percentile(bootstrap(macro, rng), [2.5, 97.5], axis=1)
    return {
        "+- 1 SE": (mean - error, mean + error),
        "stratified bootstrap (seeds per suite)": stratified_bootstrap(found.suites, rng),
        "percentile bootstrap over seeds": (low, high),
        "z over seeds": (mean - z * error, mean + z * error),
        "t over seeds (default)": ours(t_interval(row) for row in macro),
    }


def difference_intervals(
    a: Experiments, b: Experiments, rng: np.random.Generator
) -> dict[str, Bounds]:
    """95 % intervals of the difference of each pair of groups."""
    diff = a.macro.mean(1) - b.macro.mean(1)
    z = float(stats.norm.ppf(0.975))
    paired = [x.mean(axis=1) - y.mean(axis=1) for x, y in zip(a.scores, b.scores, strict=True)]
    parts = [d.var(axis=1, ddof=1) / d.shape[1] / len(paired) ** 2 for d in paired]
    error = np.sqrt(np.sum(parts, axis=0))
    resampled = bootstrap(a.macro, rng) - bootstrap(b.macro, rng)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    return {
        "difference, paired items only": (diff - z * error, diff + z * error),
        "difference, bootstrap": (low, high),
        "difference, Welch t (default)": ours(map(welch, a.macro, b.macro)),
    }


def plain_satterthwaite(scores: dict[str, NDArray[np.bool_]]) -> Interval:
    """The interval for new items without its floor at the width of Student's interval."""
    macro = np.mean([s.mean(axis=1) for s in scores.values()], axis=0)
    items = [s.mean(axis=0) for s in scores.values()]
    parts = [(float(macro.var(ddof=1)) / len(macro), len(macro) - 1)]
    parts += [(float(x.var(ddof=1)) / len(x) / len(items) ** 2, len(x) - 1) for x in items]
    total = sum(v for v, _ in parts)
    df = total**2 / sum(v**2 / f for v, f in parts)
    mean, half = float(macro.mean()), float(stats.t.ppf(0.975, df)) * math.sqrt(total)
    return Interval(mean, mean - half, mean + half, len(macro))


def new_item_intervals(a: Experiments, b: Experiments) -> tuple[dict[str, Bounds], ...]:
    """95 % intervals of each group's mean and of each difference, to hold for new items."""
    groups = range(len(a.macro))
    means = {
        "new items: t over seeds": ours(t_interval(row) for row in a.macro),
        "new items: Satterthwaite, no floor": ours(plain_satterthwaite(a.group(g)) for g in groups),
        "new items too (default)": ours(new_items_interval(a.group(g)) for g in groups),
    }
    differences = {
        "new items: difference, Welch t": ours(map(welch, a.macro, b.macro)),
        "difference, new items too (default)": ours(
            new_items_difference(a.group(g), b.group(g)) for g in groups
        ),
    }
    return means, differences


def coverage(bounds: Bounds, truth: float) -> float:
    """Share of intervals that contain the truth."""
    return float(np.mean((bounds[0] <= truth) & (truth <= bounds[1])))


def table(world: World, groups: int, seeds: int, seed: int) -> dict[str, float]:
    """Coverage of every interval with `seeds` runs per method."""
    rng = stream(seed, "coverage", seeds)
    frozen = world.difficulty(stream(7, "frozen items"), 1)
    batches: dict[str, list[float]] = {}
    size = 250  # bounds memory: size x seeds x items numbers at once

    def judge(intervals: dict[str, Bounds], truth: float) -> None:
        for name, bounds in intervals.items():
            batches.setdefault(name, []).append(coverage(bounds, truth))

    for _ in range(max(1, groups // size)):
        a = simulate(world, frozen, size, seeds, rng)
        b = simulate(world, frozen, size, seeds, rng, level=-0.2)
        truth_a, truth_b = world.truth(0.0, frozen), world.truth(-0.2, frozen)
        judge(mean_intervals(a, rng), truth_a)
        judge(difference_intervals(a, b, rng), truth_a - truth_b)
        fresh = world.difficulty(rng, size)
        a = simulate(world, fresh, size, seeds, rng)
        b = simulate(world, fresh, size, seeds, rng, level=-0.2)
        truth_a, truth_b = world.truth(0.0, None), world.truth(-0.2, None)
        means, differences = new_item_intervals(a, b)
        judge(means, truth_a)
        judge(differences, truth_a - truth_b)
    return {name: float(np.mean(values)) for name, values in batches.items()}


def resampled_places(x: Array, rng: np.random.Generator, draws: int = 1000) -> Bounds:
    """95 % of the places that methods [methods, seeds] take when their runs are resampled."""
    methods, seeds = x.shape
    chosen = rng.integers(seeds, size=(draws, methods, seeds))
    return _quantiles(x[np.arange(methods)[:, None], chosen].mean(axis=2))


def redrawn_places(x: Array, rng: np.random.Generator, draws: int = 1000) -> Bounds:
    """The same with means redrawn from Student's t about the measured ones."""
    methods, seeds = x.shape
    error = x.std(axis=1, ddof=1) / np.sqrt(seeds)
    return _quantiles(x.mean(axis=1) + error * rng.standard_t(seeds - 1, (draws, methods)))


def _quantiles(means: Array) -> Bounds:
    """2.5 and 97.5 % quantiles of places, place 1 being the largest mean, rounded outwards."""
    places = stats.rankdata(-means, axis=1)
    low, high = np.quantile(places, [0.025, 0.975], axis=0)
    return np.floor(low), np.ceil(high)


def own_places(x: Array, rng: np.random.Generator) -> Bounds:
    """The harness's intervals of places."""
    del rng  # nothing is drawn
    ranks = rank_intervals({str(i): row.tolist() for i, row in enumerate(x)})
    low, high = np.array([(r.low, r.high) for r in ranks.values()], dtype=np.float64).T
    return low, high


RANKS: dict[str, Callable[[Array, np.random.Generator], Bounds]] = {
    "runs resampled": resampled_places,
    "means redrawn from t": redrawn_places,
    "pairwise Welch (default)": own_places,
}


def rank_table(
    groups: int, seeds: int, seed: int, methods: int = 20, spread: float = 1.0
) -> dict[str, tuple[float, float]]:
    """Share of methods whose true place is in its interval, and the mean width / methods.

    Half of the methods have half the others' between-seed standard deviation.
    """
    rng = stream(seed, "ranks", seeds, methods)
    found: dict[str, list[tuple[float, float]]] = {}
    sd = np.where(np.arange(methods) % 2, 0.5, 1.0)[:, None]
    for _ in range(groups):
        truth = rng.normal(0, spread or 1e-6, methods)
        x = truth[:, None] + sd * rng.normal(size=(methods, seeds))
        place = stats.rankdata(-truth)
        for name, intervals in RANKS.items():
            low, high = intervals(x, rng)
            inside = float(np.mean((low <= place) & (place <= high)))
            found.setdefault(name, []).append((inside, float(np.mean(high - low + 1)) / methods))
    return {
        name: (float(np.mean([c for c, _ in v])), float(np.mean([w for _, w in v])))
        for name, v in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=int, default=4000, help="experiments per column")
    parser.add_argument("--ranks", type=int, default=200, help="experiments with ranks per cell")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = (3, 5, 10)
    columns = {r: table(World(), arguments.groups, r, arguments.seed) for r in counts}
    print("| interval (95 % nominal) | " + " | ".join(f"R={r}" for r in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for name in columns[3]:
        cells = " | ".join(f"{100 * column[name]:.1f}" for column in columns.values())
        print(f"| {name} | {cells} |")
    print("\nTrue places inside (and mean width, of all places), 20 and 65 methods\n")
    heads = " | ".join(f"{m} methods, R={r}" for m in (20, 65) for r in counts[:2])
    print(f"| interval of the rank, spread of the methods | {heads} |")
    print("|---|" + "---|" * 4)
    for spread in SPREADS:
        cells_of: dict[str, list[str]] = {name: [] for name in RANKS}
        for methods in (20, 65):
            for r in counts[:2]:
                groups = max(1, arguments.ranks * 20 // methods)
                found = rank_table(groups, r, arguments.seed, methods, spread)
                for name, (inside, width) in found.items():
                    cells_of[name].append(f"{100 * inside:.1f} ({100 * width:.0f})")
        for name, found_cells in cells_of.items():
            print(f"| {name}, {spread or 'near ties'} | {' | '.join(found_cells)} |")


if __name__ == "__main__":
    main()
