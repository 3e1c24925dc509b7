"""Rank intervals and tie groups, against scipy's Welch test pair by pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import HarnessError
from harness.rng import stream
from harness.statistics import Rank, rank_intervals, tie_groups, welch

Values = dict[str, list[float]]

runs = st.lists(st.floats(-3, 3).map(lambda x: round(x, 2)), min_size=1, max_size=5)
tables = st.dictionaries(st.sampled_from("pqrstuvwxyz"), runs, min_size=1, max_size=9)


def tied(a: list[float], b: list[float], level: float) -> bool:
    found = welch(a, b, level)
    return found.low is None or found.high is None or found.low <= 0 <= found.high


@settings(deadline=None, max_examples=200)
@given(tables, st.booleans(), st.sampled_from([0.5, 0.95]))
def test_methods_share_a_letter_if_and_only_if_they_are_not_ordered(
    values: Values, higher: bool, level: float
) -> None:
    groups = tie_groups(values, higher=higher, level=level)
    assert list(groups) == list(values)
    assert all(groups.values())
    for a, b in itertools.combinations(values, 2):
        shared = set(groups[a]) & set(groups[b])
        assert bool(shared) == tied(values[a], values[b], level)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 5), st.sampled_from([0.5, 0.95]))
def test_rank_intervals_count_scipys_welch_tests(seed: int, n: int, level: float) -> None:
    rng = stream(seed, "values")
    values = {str(i): rng.normal(i / 4, 1, n).tolist() for i in range(8)}
    ranks = rank_intervals(values, level=level)
    for name, own in values.items():
        better = worse = 0
        for other in values.values():
            if other is own:
                continue
            between = stats.ttest_ind(other, own, equal_var=False).confidence_interval(level)
            better += between.low > 0
            worse += between.high < 0
        assert (ranks[name].low, ranks[name].high) == (1 + better, 8 - worse)


@settings(deadline=None, max_examples=200)
@given(tables, st.booleans())
def test_an_interval_contains_its_rank(values: Values, higher: bool) -> None:
    ranks = rank_intervals(values, higher=higher)
    assert list(ranks) == list(values)
    assert sum(r.rank for r in ranks.values()) == len(values) * (len(values) + 1) / 2
    for name, found in ranks.items():
        if len(values[name]) < 2:
            assert (found.low, found.high) == (None, None)
            continue
        assert found.low is not None
        assert found.high is not None
        assert 1 <= found.low <= found.rank <= found.high <= len(values)


@settings(deadline=None)
@given(tables)
def test_lower_is_better_mirrors_and_order_does_not_matter(values: Values) -> None:
    mirrored = {name: [-v for v in x] for name, x in values.items()}
    assert rank_intervals(mirrored, higher=False) == rank_intervals(values)
    assert tie_groups(mirrored, higher=False) == tie_groups(values)
    moved = {name: sorted(values[name]) for name in sorted(values, reverse=True)}
    assert rank_intervals(moved) == rank_intervals(values)
    assert tie_groups(moved) == tie_groups(values)


def test_methods_far_apart_are_ordered() -> None:
    values = {"worst": [0.1, 0.11, 0.12], "best": [0.8, 0.81, 0.82], "mid": [0.5, 0.51, 0.49]}
    assert rank_intervals(values) == {
        "worst": Rank(3.0, 3, 3),
        "best": Rank(1.0, 1, 1),
        "mid": Rank(2.0, 2, 2),
    }
    assert tie_groups(values) == {"worst": "c", "best": "a", "mid": "b"}


def test_ties_are_not_transitive() -> None:
    """The middle one is tied with both ends, which are not tied: two letters."""
    values = {"a": [1.0, 1.1, 1.2], "b": [0.5, 0.9, 1.3], "c": [0.7, 0.8, 0.75]}
    assert not tied(values["a"], values["c"], 0.95)
    assert tie_groups(values) == {"a": "a", "b": "ab", "c": "b"}
    ranks = rank_intervals(values)
    assert [(ranks[m].low, ranks[m].high) for m in "abc"] == [(1, 2), (1, 3), (2, 3)]


def test_a_single_run_is_ordered_against_nothing() -> None:
    values = {"one": [9.0], "a": [1.0, 1.1], "b": [5.0, 5.1]}
    ranks = rank_intervals(values)
    assert ranks["one"] == Rank(1.0, None, None)
    assert (ranks["b"].low, ranks["b"].high) == (1, 2)
    groups = tie_groups(values)
    assert set(groups["one"]) == set(groups["a"] + groups["b"])


def test_runs_without_spread() -> None:
    values = {"a": [0.5, 0.5], "b": [0.5, 0.5], "c": [0.4, 0.4]}
    assert tie_groups(values) == {"a": "a", "b": "a", "c": "b"}
    assert rank_intervals(values)["a"] == Rank(1.5, 1, 2)
    # 0.1 + 0.2 and 0.3 differ by rounding only, which orders nothing.
    assert set(tie_groups({"a": [0.1 + 0.2] * 2, "b": [0.3] * 2}).values()) == {"a"}


def test_more_groups_than_the_alphabet() -> None:
    values = {f"m{i:02}": [float(i), i + 0.001, i - 0.001] for i in range(80)}
    groups = tie_groups(values)
    assert len(set(groups.values())) == 80
    assert all(len(letters) == 1 and letters.isalpha() for letters in groups.values())
    assert groups["m79"] == "a"
    assert groups["m28"] == "Z"


def test_letters_stay_few_where_a_chain_overlaps() -> None:
    """Neighbours tie, others don't: one letter for each pair of neighbours, no more."""
    values = {str(i): [i - 0.2, i, i + 0.2] for i in np.arange(0, 5, 0.4).tolist()}
    pairs = sum(tied(a, b, 0.95) for a, b in itertools.combinations(values.values(), 2))
    assert pairs == len(values) - 1
    assert len(set("".join(tie_groups(values).values()))) == pairs


def test_bad_values_are_refused() -> None:
    for function in (rank_intervals, tie_groups):
        with pytest.raises(HarnessError, match="b has no run"):
            function({"a": [1.0, 2.0], "b": []})
        with pytest.raises(HarnessError, match="NaN"):
            function({"a": [1.0, float("nan")]})
        with pytest.raises(HarnessError, match="level"):
            function({"a": [1.0, 2.0]}, level=95)
        assert function({}) == {}
