"""Named streams: pure functions of seed and names, independent of each other."""

from __future__ import annotations

import hashlib
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.rng import key64, keys64, stream

seeds = st.integers(-(2**40), 2**40)
names = st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4)


def test_key_is_the_documented_hash() -> None:
    """The path is seed and typed names joined by the unit separator; 8 bytes, little-endian."""
    digest = hashlib.sha256(b"7\x1fstr:rows\x1fint:3").digest()
    assert key64(7, "rows", 3) == int.from_bytes(digest[:8], "little")


def test_keys_of_old_runs_stay_what_they_were() -> None:
    assert key64(0) == GOLDEN_KEYS[0]
    assert key64(1, "mask", "vocab_dropout", 2) == GOLDEN_KEYS[1]


@given(seeds, names, names)
def test_different_paths_have_different_keys(seed: int, a: list[int | str], b: list[int | str]):
    assert 0 <= key64(seed, *a) < 2**64
    if [(type(x), x) for x in a] != [(type(x), x) for x in b] and "\x1f" not in "".join(
        str(x) for x in [*a, *b]
    ):
        assert key64(seed, *a) != key64(seed, *b)


def test_a_number_and_its_spelling_are_different_names() -> None:
    assert key64(0, 1) != key64(0, "1")


@given(seeds, st.integers(0, 20))
def test_keys64_counts_the_last_name(seed: int, n: int) -> None:
    assert keys64(seed, "rows", n=n) == [key64(seed, "rows", i) for i in range(n)]


@given(seeds)
def test_streams_repeat_and_leave_the_global_state_alone(seed: int) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again = stream(seed, "x").random(4), stream(seed, "x").random(4)
    other = stream(seed, "y").random(4)
    assert (first == again).all()
    assert (first != other).all()
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


GOLDEN_KEYS = (4066689987807800415, 17772929750189421449)
