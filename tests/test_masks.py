"""Masks as keys: the same bits everywhere, kept for good, with the promised retention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import HarnessError
from harness.masks import (
    Granularity,
    ProtectedSet,
    VocabMask,
    hash_numpy,
    hash_torch,
    protected_set,
    special_ids,
    uniforms,
)
from harness.policy import Policy
from harness.rng import keys64

NONE = ProtectedSet((), ())
keys = st.integers(0, 2**64 - 1)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def mask(**changes: object) -> VocabMask:
    values: dict[str, object] = {"key": 1, "alpha": 0.85, "protected": NONE, "vocab_size": 767}
    return VocabMask(**{**values, **changes})  # type: ignore[arg-type]


def mix(x: int) -> int:
    """lowbias32 in plain integers, written apart from the module under test."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def plain_hash(key: int, row: int, token: int) -> int:
    folded = mix(mix(mix((row + 0x9E3779B9) % 2**32) ^ (key % 2**32)) ^ (key >> 32))
    return mix(folded ^ mix((token + 0x9E3779B9) % 2**32))


@given(keys, st.integers(0, 2**32 - 1), st.integers(0, 2**20))
def test_hash_is_the_documented_integer_function(key: int, row: int, token: int) -> None:
    expected = plain_hash(key, row, token)
    assert hash_numpy(key, [row], [token]).tolist() == [expected]
    assert int(hash_torch(key, torch.tensor(row), torch.tensor(token))) == expected


def test_golden_vector() -> None:
    """Literal values: whatever changes them changes every published run."""
    key = 0x0123456789ABCDEF
    hashes = hash_numpy(key, [[0], [1]], [[0, 1, 2, 150_000]])
    assert hashes.tolist() == GOLDEN_HASHES
    keep = mask(key=key, alpha=0.75, vocab_size=48).keep_numpy([0, 7])
    assert ["".join("01"[int(b)] for b in row) for row in keep] == GOLDEN_KEEP
    names = VocabMask.create("a", 1, seed=3, alpha=0.5, protected=NONE, vocab_size=4)
    assert names.key == GOLDEN_NAMED_KEY


@pytest.mark.parametrize("device", DEVICES)
@given(
    key=keys,
    alpha=st.floats(1e-6, 1.0),
    rows=st.lists(st.integers(0, 2**31), min_size=1, max_size=5),
    size=st.integers(1, 900),
    extra=st.integers(0, 70),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_numpy_and_torch_agree_bit_by_bit(device, key, alpha, rows, size, extra, data) -> None:
    ids = data.draw(st.sets(st.integers(0, size - 1), max_size=5))
    m = mask(key=key, alpha=alpha, vocab_size=size, protected=ProtectedSet(tuple(sorted(ids)), ()))
    by_numpy = m.keep_numpy(rows)
    by_torch = m.keep(torch.tensor(rows, device=device), size + extra).cpu().numpy()
    assert (by_torch[:, :size] == by_numpy).all()
    assert not by_torch[:, size:].any()  # the head's padding is no token
    assert by_numpy[:, sorted(ids)].all()


@given(key=keys, alpha=st.sampled_from([0.05, 0.5, 0.75, 0.85, 0.99]))
@settings(max_examples=25, deadline=None)
def test_retention_is_alpha(key: int, alpha: float) -> None:
    n = 50_000
    kept = int(mask(key=key, alpha=alpha, vocab_size=n).keep_numpy([0]).sum())
    assert stats.binomtest(kept, n, alpha).pvalue > 1e-7


def test_rows_and_tokens_are_independent() -> None:
    """Two rows agree on a token with probability a^2 + (1-a)^2; so do neighbours in one row."""
    alpha, n = 0.7, 40_000
    agree = alpha**2 + (1 - alpha) ** 2
    slack = 5 * math.sqrt(agree * (1 - agree) / n)
    for key in keys64(5, "independent", n=4):
        first, second = mask(key=key, alpha=alpha, vocab_size=n).keep_numpy([0, 1])
        assert abs((first == second).mean() - agree) < slack
        assert abs((first[1:] == first[:-1]).mean() - agree) < slack


@given(key=keys, rows=st.lists(st.integers(0, 2**31), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_alpha_one_keeps_every_token(key: int, rows: list[int]) -> None:
    m = mask(key=key, alpha=1.0)
    assert m.keep_numpy(rows).all()
    assert m.keep(torch.tensor(rows), 800).sum(dim=1).tolist() == [767] * len(rows)


@given(key=keys, low=st.floats(0.01, 0.99), more=st.floats(0.0, 0.5))
@settings(max_examples=20, deadline=None)
def test_a_larger_alpha_only_adds_tokens(key: int, low: float, more: float) -> None:
    small = mask(key=key, alpha=low).keep_numpy([2])
    large = mask(key=key, alpha=min(1.0, low + more)).keep_numpy([2])
    assert (large | ~small).all()


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(HarnessError, match=r"alpha must lie in \(0, 1\]"):
        VocabMask.create("x", seed=0, alpha=alpha, protected=NONE, vocab_size=10)


def test_seed_iteration_and_step_each_give_another_mask() -> None:
    places = [(s, i, t) for s in range(3) for i in range(3) for t in range(3)]
    drawn = {
        VocabMask.create(i, t, seed=s, alpha=0.85, protected=NONE, vocab_size=767)
        .keep_numpy([0])
        .tobytes()
        for s, i, t in places
    }
    assert len(drawn) == len(places)


@pytest.mark.parametrize(
    ("granularity", "rows", "shared"),
    [("step", [0] * 5, True), ("group", [4, 4, 7, 7, 4], False), ("sequence", [*range(5)], False)],
)
def test_what_shares_a_mask(granularity: Granularity, rows: list[int], shared: bool) -> None:
    m = mask(granularity=granularity)
    assert m.row_ids([4, 4, 7, 7, 4]) == rows
    assert m.shared is shared
    keep = m.keep_numpy(rows)
    assert len({row.tobytes() for row in keep}) == len(set(rows))


def test_groups_of_one_update_share_a_mask() -> None:
    """Groups 4 and 9 are of update 1, group 7 of update 0, group 12 of none that is known."""
    m = mask(granularity="mini")
    assert m.row_ids([4, 4, 7, 9, 12], {4: 1, 7: 0, 9: 1}) == [1, 1, 0, 1, 0]
    assert m.row_ids([4, 4, 7]) == [0, 0, 0]
    assert not m.shared
    keep = m.keep_numpy([1, 0])
    assert keep[0].tobytes() != keep[1].tobytes()


class TestProtectedSet:
    STRINGS = ("<question>", "</question>", "\\boxed{", "}")

    def tokens(self, policy: Policy, *kinds: str) -> set[str]:
        found = protected_set(policy.tokenizer, kinds, self.STRINGS)  # type: ignore[arg-type]
        assert list(found.ids) == sorted(set(found.ids))
        assert len(found) == len(found.ids)
        return set(policy.tokenizer.convert_ids_to_tokens(list(found.ids)))

    def test_format_covers_tags_box_and_every_special_token(self, base_policy: Policy) -> None:
        tokens = self.tokens(base_policy, "format")
        assert {*self.STRINGS, "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"} <= tokens

    def test_a_format_string_of_many_tokens_is_covered(self, base_policy: Policy) -> None:
        tokenizer = base_policy.tokenizer
        found = protected_set(tokenizer, ["format"], ["<think>"])
        for text in ("<think>", " <think>", "\n<think>", "<think>\n"):
            assert set(tokenizer(text, add_special_tokens=False)["input_ids"]) <= set(found.ids)

    def test_digits(self, base_policy: Policy) -> None:
        assert self.tokens(base_policy, "digits") == set("0123456789")

    def test_punctuation_holds_no_letter(self, base_policy: Policy) -> None:
        tokens = self.tokens(base_policy, "punctuation")
        assert {".", ",", "?", "+", "="} <= tokens
        assert not any(c.isalnum() for t in tokens if not t.startswith("<") for c in t)

    def test_single_characters_spell_any_ascii_text(self, base_policy: Policy) -> None:
        printable = {chr(c) for c in range(32, 127)} - {"}"}
        assert printable <= self.tokens(base_policy, "single_characters") | {"}"}

    def test_kinds_are_counted_and_joined(self, base_policy: Policy) -> None:
        tokenizer = base_policy.tokenizer
        found = protected_set(tokenizer, ("digits", "single_characters"), ())
        alone = protected_set(tokenizer, ("single_characters",), ())
        assert dict(found.counts) == {"digits": 10, "single_characters": len(alone)}
        assert found.ids == alone.ids  # the digits are single characters
        assert len(protected_set(tokenizer, (), ())) == 0

    def test_unknown_kind(self, base_policy: Policy) -> None:
        with pytest.raises(HarnessError, match="unknown kind 'vowels'"):
            protected_set(base_policy.tokenizer, ["vowels"], ())  # type: ignore[list-item]

    def test_special_ids_include_the_chat_template_s(self, base_policy: Policy) -> None:
        tokens = base_policy.tokenizer.convert_ids_to_tokens(
            sorted(special_ids(base_policy.tokenizer))
        )
        assert set(tokens) == {
            "<|pad|>", "<|end|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>",
        }  # fmt: skip


class TestUniforms:
    @given(st.lists(keys, min_size=1, max_size=20), st.integers(0, 2**30))
    def test_range_and_order(self, row_keys: list[int], position: int) -> None:
        drawn = uniforms(np.array(row_keys, dtype=np.uint64), position)
        assert ((drawn >= 0) & (drawn < 1)).all()
        alone = [uniforms(np.array([k], dtype=np.uint64), position)[0] for k in row_keys]
        assert drawn.tolist() == alone

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_uniform_over_keys_and_over_positions(self, seed: int) -> None:
        row_keys = np.array(keys64(seed, "uniforms", n=4000), dtype=np.uint64)
        over_keys = uniforms(row_keys, 3)
        over_positions = np.array([uniforms(row_keys[:1], t)[0] for t in range(4000)])
        for drawn in (over_keys, over_positions):
            assert stats.kstest(drawn, "uniform").pvalue > 1e-4
            lag = np.corrcoef(drawn[1:], drawn[:-1])[0, 1]
            assert abs(lag) < 5 / math.sqrt(len(drawn))

    def test_neighbouring_keys_and_positions_are_unrelated(self) -> None:
        row_keys = np.arange(5000, dtype=np.uint64)
        now, later = uniforms(row_keys, 0), uniforms(row_keys, 1)
        assert abs(np.corrcoef(now, later)[0, 1]) < 5 / math.sqrt(5000)
        assert stats.kstest(now, "uniform").pvalue > 1e-4
        assert len(np.unique(now)) == 5000

    def test_golden_vector(self) -> None:
        drawn = uniforms(np.array([0, 0x0123456789ABCDEF], dtype=np.uint64), 7)
        assert [float(u).hex() for u in drawn] == GOLDEN_UNIFORMS

    def test_every_key_bit_counts(self) -> None:
        one = np.array([0x0123456789ABCDEF], dtype=np.uint64)
        flipped = {float(uniforms(one ^ np.uint64(1 << bit), 5)[0]) for bit in range(64)} | {
            float(uniforms(one, 5)[0])
        }
        assert len(flipped) == 65


GOLDEN_HASHES = [
    [418481348, 1764050324, 2183758668, 3888324393],
    [157224589, 1013873074, 2141103573, 1728433761],
]
GOLDEN_KEEP = [
    "111010111101101111010111101100101111101111110111",
    "011010011101101011111110011111111100101010111110",
]
GOLDEN_NAMED_KEY = 8357334795262265935
GOLDEN_UNIFORMS = ["0x1.722c8694fb130p-4", "0x1.f44ee695d366ep-1"]
