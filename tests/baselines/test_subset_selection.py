"""Diverse subsets: the greedy DPP against brute force, and farthest points by hand."""

from __future__ import annotations

import numpy as np
import pools
import pytest

from baselines.subset_selection import greedy_map, k_center
from harness.methods import Curriculum, build
from harness.rng import stream


def random_rows(seed: int, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    draw = stream(seed, "dpp test")
    rows = draw.standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), draw.uniform(0.2, 1.0, n)


@pytest.mark.parametrize("seed", range(20))
def test_every_step_is_the_best_determinant_of_all_next_rows(seed: int) -> None:
    rows, quality = random_rows(seed, 9, 6)
    kernel = np.outer(quality, quality) * (rows @ rows.T)
    picked: list[int] = []
    for _ in range(5):
        dets = {
            j: np.linalg.det(kernel[np.ix_([*picked, j], [*picked, j])])
            for j in range(9)
            if j not in picked
        }
        picked.append(max(dets, key=lambda j: dets[j]))
    assert greedy_map(rows, quality, 5) == picked


def test_a_small_kernel_by_hand() -> None:
    # e0 = (1, 0) with quality 1, e1 = (.8, .6) with .9, e2 = (0, 1) with .5. First e0 (L_00 = 1).
    # Then det with e1: .81 - (.9 * .8)^2 = .81 - .5184 = .2916; with e2: .25 - 0 = .25. So e1,
    # although e2 is orthogonal; with equal qualities 1 - .64 = .36 < 1 makes it e2.
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1]])
    assert greedy_map(rows, np.array([1.0, 0.9, 0.5]), 2) == [0, 1]
    assert greedy_map(rows, np.ones(3), 2) == [0, 2]


def test_copies_and_a_full_rank_end_the_greedy_choice() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]])
    assert greedy_map(rows, np.ones(4), 4) == [0, 2]
    assert greedy_map(rows, np.zeros(4), 2) == []
    assert greedy_map(rows[:0], np.ones(0), 3) == []


def test_farthest_points_by_hand() -> None:
    # from (1, 0): distances 1 - cos are .2, 1, 2, so (-1, 0) comes next; then the least distances
    # to the two are .2 for (.8, .6) and 1 for (0, 1)
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    assert k_center(rows, 0, 3) == [0, 3, 2]
    assert k_center(rows, 0, 9) == [0, 3, 2, 1]


def test_copies_come_last_but_never_twice() -> None:
    rows = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    assert k_center(rows, 1, 4) == [1, 3, 0, 2]


PLACES = {"q0": [1, 0], "q1": [1, 0], "q2": [0.8, 0.6], "q3": [0, 1]}


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        # learnability of 5 of 10 votes is 1, of 3 votes .84: q1 first, then the orthogonal q3
        ("dpp_select", [1, 3]),
        ("dpp_select:quality_weight=0", [0, 3]),
        ("farthest_point", [1, 3]),
    ],
)
def test_half_of_the_window_by_sense(entry: str, wanted: list[int]) -> None:
    ctx = pools.context(embed=pools.places(PLACES))
    pool = pools.make([3, 5, 3, 3])
    found = build(entry)[0].select(ctx, pool, Curriculum(np.arange(4)))
    assert found.index.tolist() == wanted
    assert ctx.counts["questions_dropped"] == 2


def test_only_questions_of_the_window_are_embedded() -> None:
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.append(list(texts))
        return pools.places(PLACES)(texts)

    ctx = pools.context(embed=embed)
    found = build("farthest_point")[0].select(
        ctx, pools.make([5] * 4), Curriculum(np.array([1, 3]))
    )
    assert asked == [["q1", "q3"]]
    assert found.index.tolist() == [1]


def test_the_rest_is_filled_by_learnability() -> None:
    # two directions for three places: q0 and q3, then the most learnable of q1 (.64) and q2 (.96)
    ctx = pools.context(embed=pools.places({**PLACES, "q2": [1, 0]}))
    pool = pools.make([5, 2, 4, 5])
    found = build("dpp_select:share=0.75")[0].select(ctx, pool, Curriculum(np.arange(4)))
    assert found.index.tolist() == [0, 2, 3]
    assert ctx.counts["filled_by_learnability"] == 1


@pytest.mark.parametrize("name", ["dpp_select", "farthest_point"])
def test_defaults_off_and_small_windows(name: str) -> None:
    method = build(name)[0]
    assert method.params.share == 0.5
    pool = pools.make([5] * 4)
    ctx = pools.context(min_survivors=4, embed=pools.places(PLACES))
    base = Curriculum(np.arange(4))
    assert build(f"{name}:share=1")[0].select(ctx, pool, base) is base
    assert method.select(ctx, pool, base) is base  # all four are needed
    assert ctx.counts["kept_for_min_survivors"] == 2
    empty = Curriculum(np.zeros(0, dtype=np.int64))
    assert method.select(ctx, pool, empty) is empty
