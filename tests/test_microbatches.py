"""Micro-batches by rows and by tokens: every row once, in order, within the budget."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.microbatches import MicroLimit

LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), max_size=40)


def cost(rows: list[tuple[int, int]]) -> int:
    """Tokens of a micro-batch, padding included."""
    return len(rows) * (max(p for p, _ in rows) + max(r for _, r in rows))


def split(limit: MicroLimit, rows: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    parts = limit.split([p for p, _ in rows], [r for _, r in rows])
    assert [i for part in parts for i in part] == list(range(len(rows)))  # each once, in order
    return [[rows[i] for i in part] for part in parts]


@given(LENGTHS, st.integers(1, 400))
def test_by_tokens_each_part_fits_and_is_as_long_as_it_can_be(rows, budget) -> None:
    parts = split(MicroLimit(3, budget), rows)
    assert all(parts)
    assert all(cost(part) <= budget for part in parts if len(part) > 1)
    for part, following in itertools.pairwise(parts):
        assert cost([*part, following[0]]) > budget


@given(LENGTHS, st.integers(1, 50))
def test_by_rows(rows, size) -> None:
    parts = split(MicroLimit(size), rows)
    assert [len(part) for part in parts[:-1]] == [size] * max(0, len(parts) - 1)
    assert all(1 <= len(part) <= size for part in parts)


@pytest.mark.parametrize("limit", [MicroLimit(7), MicroLimit(7, 100)])
def test_halving_ends(limit: MicroLimit) -> None:
    sizes = []
    smaller: MicroLimit | None = limit
    while smaller is not None:
        sizes.append(smaller.tokens or smaller.rows)
        smaller = smaller.halved()
    assert sizes == ([7, 3, 1] if limit.tokens is None else [100, 50, 25, 12, 6, 3, 1])
    assert str(limit) == ("micro_rows=7" if limit.tokens is None else "micro_tokens=100")
    assert limit.times(2) == MicroLimit(14, None if limit.tokens is None else 200)
