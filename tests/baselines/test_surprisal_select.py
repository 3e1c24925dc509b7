"""The least expected questions of the window."""

from __future__ import annotations

import numpy as np
import pools

from harness.methods import Curriculum, build


def test_default() -> None:
    assert build("surprisal_select")[0].params.share == 0.5


def test_the_highest_surprisal_within_the_window_in_the_pools_order() -> None:
    # the window holds rows 0 2 3 5; half of them are two; row 1 is the highest, but outside
    pool = pools.make([5] * 6, surprisal=[0.3, 9.0, 0.1, 0.7, 8.0, 0.5])
    ctx = pools.context()
    base = Curriculum(np.array([0, 2, 3, 5]))
    found = build("surprisal_select")[0].select(ctx, pool, base)
    assert found.index.tolist() == [3, 5]
    assert ctx.counts["questions_dropped"] == 2


def test_ties_fall_to_the_earlier_row() -> None:
    pool = pools.make([5] * 4, surprisal=[1, 1, 1, 1])
    found = build("surprisal_select")[0].select(pools.context(), pool, Curriculum(np.arange(4)))
    assert found.index.tolist() == [0, 1]


def test_enough_are_kept_for_the_run_to_go_on() -> None:
    pool = pools.make([5] * 6, surprisal=[6, 5, 4, 3, 2, 1])
    ctx = pools.context(min_survivors=5)
    found = build("surprisal_select:share=0.1")[0].select(ctx, pool, Curriculum(np.arange(6)))
    assert found.index.tolist() == [0, 1, 2, 3, 4]
    assert ctx.counts["kept_for_min_survivors"] == 4  # round(.6) = 1 was wanted


def test_off_and_an_empty_window_are_the_base() -> None:
    base = Curriculum(np.arange(3))
    pool = pools.make([5] * 3)
    method = build("surprisal_select:share=1")[0]
    assert method.select(pools.context(), pool, base) is base
    empty = Curriculum(np.zeros(0, dtype=np.int64))
    assert build("surprisal_select")[0].select(pools.context(), pool, empty) is empty
