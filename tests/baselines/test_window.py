"""The difficulty window with other bounds."""

from __future__ import annotations

import numpy as np
import pools
import pytest
import tiny

from harness.errors import HarnessError
from harness.methods import Curriculum, build


def test_defaults_are_narrower_than_the_papers() -> None:
    params = build("window")[0].params
    assert (params.low, params.high) == (0.4, 0.6)


def test_keeps_both_bounds_and_only_what_has_a_label() -> None:
    # of 10 votes: 3 4 5 6 7, and 5 without a label; the baseline's window keeps 3 to 7
    pool = pools.make([3, 4, 5, 6, 7, 5], unlabelled=[5])
    base = Curriculum(np.arange(5))
    ctx = pools.context(min_survivors=1)
    found = build("window")[0].select(ctx, pool, base)
    assert found.index.tolist() == [1, 2, 3]
    assert ctx.counts["questions_dropped"] == 2
    assert ctx.counts["questions_added"] == ctx.counts["kept_for_min_survivors"] == 0


def test_a_wider_window_reaches_beyond_the_baselines() -> None:
    pool = pools.make([1, 2, 5, 9, 10])
    ctx = pools.context(min_survivors=1)
    found = build("window:low=0.1,high=0.9")[0].select(ctx, pool, Curriculum(np.array([2])))
    assert found.index.tolist() == [0, 1, 2, 3]
    assert ctx.counts["questions_added"] == 3


def test_one_bound_may_stay_the_profiles() -> None:
    # the ladder's window ends at .75
    pool = pools.make([3, 5, 7, 8])
    found = build("window:low=0.5,high=null")[0].select(
        pools.context(min_survivors=1), pool, Curriculum(np.array([0, 1, 2]))
    )
    assert found.index.tolist() == [1, 2]


def test_the_nearest_are_kept_where_a_narrow_window_would_end_the_run() -> None:
    # .4 to .6 keeps one of five; at least three are needed: .4 - .3 = .1 and .7 - .6 = .1 are
    # nearer than .4 - .25 = .15, which the profile's window has, too
    pool = pools.make([5, 2.5, 3, 7, 7.4])
    ctx = pools.context(min_survivors=3)
    found = build("window")[0].select(ctx, pool, Curriculum(np.arange(5)))
    assert found.index.tolist() == [0, 2, 3]
    assert ctx.counts["kept_for_min_survivors"] == 2


def test_it_keeps_no_more_than_the_profiles_window_has() -> None:
    pool = pools.make([5, 3, 9])
    found = build("window")[0].select(
        pools.context(min_survivors=30), pool, Curriculum(np.array([0, 1]))
    )
    assert found.index.tolist() == [0, 1]


def test_off_is_the_profiles() -> None:
    base = Curriculum(np.array([0]))
    ctx = tiny.make_context(role="solver", phase="label")
    method = build("window:low=null,high=null")[0]
    assert method.select(ctx, pools.make([5, 1]), base) is base
    assert not ctx.counts


@pytest.mark.parametrize("entry", ["window:low=0.7,high=0.6", "window:low=-1", "window:high=1.1"])
def test_bad_bounds_are_refused(entry: str) -> None:
    with pytest.raises(HarnessError, match="window"):
        build(entry)
