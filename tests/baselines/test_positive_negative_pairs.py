"""As many hard questions as easy ones."""

from __future__ import annotations

import numpy as np
import pools
import pytest

from harness.errors import HarnessError
from harness.methods import Curriculum, build

BASE = Curriculum(np.array([2, 3]))
# of 10 votes; hard: rows 0 1 2, easy: rows 4 5; the rest is in neither bin
VOTES = [1, 2, 3, 5, 7, 9, 10, 0.5]


def test_defaults() -> None:
    p = build("positive_negative_pairs")[0].params
    assert (p.hard_low, p.hard_high, p.easy_low, p.easy_high) == (0.1, 0.3, 0.7, 0.9)
    assert p.max_pairs is None


def test_as_many_of_both_interleaved() -> None:
    ctx = pools.context()
    found = build("positive_negative_pairs")[0].select(ctx, pools.make(VOTES), BASE).index.tolist()
    assert len(found) == 4
    assert set(found[::2]) < {0, 1, 2}
    assert set(found[1::2]) == {4, 5}
    assert len(set(found)) == 4
    assert ctx.counts["pairs"] == 2
    assert ctx.counts["questions_dropped"] == len({2, 3} - set(found))


def test_which_of_the_larger_bin_depends_on_the_place_in_the_run_only() -> None:
    method = build("positive_negative_pairs:max_pairs=1")[0]

    def drawn(seed: int) -> tuple[int, ...]:
        return tuple(method.select(pools.context(seed=seed), pools.make(VOTES), BASE).index)

    assert len({drawn(seed) for seed in range(12)}) > 1
    assert drawn(3) == drawn(3)


def test_without_a_label_a_question_is_in_no_pair() -> None:
    ctx = pools.context()
    pool = pools.make([2, 8, 3], unlabelled=[0])
    found = build("positive_negative_pairs")[0].select(ctx, pool, Curriculum(np.array([2])))
    assert found.index.tolist() == [2, 1]


def test_the_window_fills_up_what_the_run_needs() -> None:
    ctx = pools.context(min_survivors=3)
    pool = pools.make([5, 6, 5, 2, 8])
    method = build("positive_negative_pairs")[0]
    found = method.select(ctx, pool, Curriculum(np.array([0, 1, 2])))
    assert found.index.tolist() == [3, 4, 0]
    assert ctx.counts["kept_for_min_survivors"] == 1


def test_without_pairs_the_window_remains_as_far_as_needed() -> None:
    ctx = pools.context(min_survivors=2)
    found = build("positive_negative_pairs")[0].select(
        ctx, pools.make([5, 5, 5]), Curriculum(np.arange(3))
    )
    assert found.index.tolist() == [0, 1]
    assert ctx.counts["pairs"] == 0


def test_an_empty_pool_and_off() -> None:
    empty = Curriculum(np.zeros(0, dtype=np.int64))
    method = build("positive_negative_pairs")[0]
    assert len(method.select(pools.context(), pools.make([]), empty)) == 0
    off = build("positive_negative_pairs:max_pairs=0")[0]
    assert off.select(pools.context(), pools.make(VOTES), BASE) is BASE


def test_bins_in_disorder_are_refused() -> None:
    with pytest.raises(HarnessError, match="hard_low <= hard_high < easy_low <= easy_high"):
        build("positive_negative_pairs:hard_high=0.8")
