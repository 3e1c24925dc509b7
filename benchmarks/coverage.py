"""How often intervals contain the truth: a simulation of seeds, suites and items.

    python benchmarks/coverage.py [--groups 4000]

A model's chance on item i of suite s, trained with seed r, is logistic in
level + item_i + seed_r + seed x suite_rs + seed x item_ri. Items are frozen; what an interval is
about is the mean over seeds of the macro-average over suites, which Gauss-Hermite quadrature
gives exactly. Sizes and effects resemble maths suites: two large ones and three small ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.statistics import t_interval, welch

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]


@dataclass(frozen=True)
class World:
    """Suite sizes and the standard deviations of the effects, in logits."""

    items: tuple[int, ...] = (500, 1319, 40, 30, 30)
    item: float = 1.5
    seed: float = 0.20
    seed_suite: float = 0.20
    seed_item: float = 0.6


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def simulate(
    world: World, groups: int, seeds: int, rng: np.random.Generator, level: float = 0.0
) -> tuple[Array, Array, float]:
    """Experiments with `seeds` runs each, on one frozen draw of items.

    Returns:
        Macro scores [groups, seeds]; per-item mean scores over each group's seeds [groups, items];
        and the true mean over seeds.
    """
    frozen = np.random.default_rng(7)
    difficulty = [frozen.normal(0, world.item, n) for n in world.items]
    macro = np.zeros((groups, seeds))
    item_means = []
    seed = rng.normal(0, world.seed, (groups, seeds, 1))
    for d in difficulty:
        logits = level + d + seed + rng.normal(0, world.seed_suite, (groups, seeds, 1))
        logits = logits + rng.normal(0, world.seed_item, (groups, seeds, len(d)))
        score = rng.random(logits.shape) < sigmoid(logits)
        macro += score.mean(axis=2) / len(difficulty)
        item_means.append(score.mean(axis=1))
    spread = np.sqrt(world.seed**2 + world.seed_suite**2 + world.seed_item**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    truth = np.mean(
        [
            (sigmoid(level + d[:, None] + spread * nodes) @ weights / weights.sum()).mean()
            for d in difficulty
        ]
    )
    return macro, np.concatenate(item_means, axis=1), float(truth)


def bootstrap(macro: Array, rng: np.random.Generator, draws: int = 1000) -> Array:
    """Means of resampled seeds [groups, draws]."""
    seeds = macro.shape[1]
    resampled: Array = macro[:, rng.integers(seeds, size=(draws, seeds))].mean(axis=2)
    return resampled


def mean_intervals(macro: Array, rng: np.random.Generator) -> dict[str, Bounds]:
    """95 % intervals of each group's mean, by several methods."""
    mean, error = macro.mean(1), macro.std(1, ddof=1) / np.sqrt(macro.shape[1])
    z = float(stats.norm.ppf(0.975))
    low, high = np.percentile(bootstrap(macro, rng), [2.5, 97.5], axis=1)
    ours = [t_interval(row) for row in macro]
    return {
        "+- 1 SE": (mean - error, mean + error),
        "percentile bootstrap over seeds": (low, high),
        "z over seeds": (mean - z * error, mean + z * error),
        "t over seeds (default)": (
            np.array([i.low for i in ours], dtype=np.float64),
            np.array([i.high for i in ours], dtype=np.float64),
        ),
    }


def difference_intervals(
    a: Array, b: Array, items_a: Array, items_b: Array, world: World, rng: np.random.Generator
) -> dict[str, Bounds]:
    """95 % intervals of the difference of each pair of groups."""
    diff = a.mean(1) - b.mean(1)
    z = float(stats.norm.ppf(0.975))
    variance, start = np.zeros(len(a)), 0
    for n in world.items:
        paired = items_a[:, start : start + n] - items_b[:, start : start + n]
        variance += paired.var(axis=1, ddof=1) / n / len(world.items) ** 2
        start += n
    paired_error = np.sqrt(variance)
    resampled = bootstrap(a, rng) - bootstrap(b, rng)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    ours = [welch(x, y) for x, y in zip(a, b, strict=True)]
    return {
        "difference, paired items only": (diff - z * paired_error, diff + z * paired_error),
        "difference, bootstrap": (low, high),
        "difference, Welch t (default)": (
            np.array([d.low for d in ours], dtype=np.float64),
            np.array([d.high for d in ours], dtype=np.float64),
        ),
    }


def coverage(bounds: Bounds, truth: float) -> float:
    """Share of intervals that contain the truth."""
    return float(np.mean((bounds[0] <= truth) & (truth <= bounds[1])))


def table(world: World, groups: int, seeds: int, seed: int) -> dict[str, float]:
    """Coverage of every interval with `seeds` runs per method."""
    rng = np.random.default_rng([seed, seeds])
    batches: dict[str, list[float]] = {}
    add: Callable[[str, float], None] = lambda k, v: batches.setdefault(k, []).append(v)  # noqa: E731
    size = 250  # bounds memory: size x seeds x items numbers at once
    for _ in range(max(1, groups // size)):
        a, items_a, truth_a = simulate(world, size, seeds, rng)
        b, items_b, truth_b = simulate(world, size, seeds, rng, level=-0.2)
        for name, bounds in mean_intervals(a, rng).items():
            add(name, coverage(bounds, truth_a))
        pairs = difference_intervals(a, b, items_a, items_b, world, rng)
        for name, bounds in pairs.items():
            add(name, coverage(bounds, truth_a - truth_b))
    return {name: float(np.mean(values)) for name, values in batches.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=int, default=4000, help="experiments per column")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    columns = {r: table(World(), arguments.groups, r, arguments.seed) for r in (3, 5, 10)}
    print("| interval (95 % nominal) | " + " | ".join(f"R={r}" for r in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in columns[3]:
        cells = " | ".join(f"{100 * column[name]:.1f}" for column in columns.values())
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
