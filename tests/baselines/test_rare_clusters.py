"""Questions outside the biggest cluster, repeated."""

from __future__ import annotations

import numpy as np
import pools

from baselines._selection import clusters
from harness.methods import Curriculum, build

# three of one kind, two of another, one of a third
PLACES = {
    "q0": [1, 0, 0],
    "q1": [0, 1, 0],
    "q2": [1, 0, 0],
    "q3": [0, 0, 1],
    "q4": [0.96, 0.28, 0],
    "q5": [0, 1, 0],
}


def test_defaults() -> None:
    params = build("rare_cluster_upsampling")[0].params
    assert (params.k, params.factor) == (8, 2)


def test_what_is_outside_the_biggest_cluster_occurs_factor_times() -> None:
    ctx = pools.context(embed=pools.places(PLACES))
    method = build("rare_cluster_upsampling:k=3,factor=3")[0]
    found = method.select(ctx, pools.make([5] * 6), Curriculum(np.arange(6)))
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5, 1, 1, 3, 3, 5, 5]
    assert ctx.counts["questions_repeated"] == 6
    assert ctx.counts["questions_dropped"] == ctx.counts["questions_added"] == 0


def test_rows_of_the_curriculum_are_rows_of_the_pool() -> None:
    ctx = pools.context(embed=pools.places(PLACES))
    method = build("rare_cluster_upsampling:k=2")[0]
    found = method.select(ctx, pools.make([5] * 6), Curriculum(np.array([2, 3, 4])))
    assert found.index.tolist() == [2, 3, 4, 3]


def test_clusters_of_copies_and_of_few_texts() -> None:
    same = np.tile([1.0, 0.0], (4, 1))
    assert clusters(same, 3).tolist() == [0, 0, 0, 0]
    assert clusters(same[:1], 3).tolist() == [0]
    assert clusters(same[:0], 3).tolist() == []
    two = clusters(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), 8)
    assert two[0] == two[2] != two[1]


def test_repeats_never_stand_in_for_missing_questions() -> None:
    base = Curriculum(np.arange(6))
    method = build("rare_cluster_upsampling:k=3")[0]
    ctx = pools.context(min_survivors=7, embed=pools.places(PLACES))
    assert method.select(ctx, pools.make([5] * 6), base) is base


def test_off_and_an_empty_window_are_the_base() -> None:
    ctx = pools.context(embed=pools.places(PLACES))
    base = Curriculum(np.arange(6))
    pool = pools.make([5] * 6)
    assert build("rare_cluster_upsampling:factor=1")[0].select(ctx, pool, base) is base
    empty = Curriculum(np.zeros(0, dtype=np.int64))
    assert build("rare_cluster_upsampling")[0].select(ctx, pool, empty) is empty
