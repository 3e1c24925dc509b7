"""Vocabulary masks as keys, never as stored tensors.

Token ``v`` is kept iff it is protected or ``hash(key, row, v) < alpha * 2**32``. The hash is a
fixed sequence of 32-bit integer operations, so NumPy, torch on any device and any other engine
give the same bits, and a trainer can regenerate the mask under which a rollout was sampled
(sampling support = training support).

Vocabulary dropout: arXiv 2604.03472 (b_v ~ Bernoulli(alpha) for v outside the protected set F).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.rng import key64

Granularity = Literal["step", "mini", "group", "sequence"]
ProtectedKind = Literal["format", "digits", "punctuation", "single_characters"]

_NOWHERE: Mapping[int, int] = MappingProxyType({})
_LOW32 = 0xFFFFFFFF
_M1 = 0x7FEB352D
_M2 = 0x846CA68B
_GOLDEN = 0x9E3779B9


def _mix(x: Any) -> Any:
    """The 32-bit mixer 'lowbias32' on int64/uint64 arrays or tensors holding 32-bit values."""
    x = x ^ (x >> 16)
    x = (x * _M1) & _LOW32
    x = x ^ (x >> 15)
    x = (x * _M2) & _LOW32
    return x ^ (x >> 16)


def _fold(key: int, row: Any) -> Any:
    """Fold a 64-bit key into each 32-bit row id."""
    h = _mix((row + _GOLDEN) & _LOW32)
    h = _mix(h ^ (key & _LOW32))
    return _mix(h ^ ((key >> 32) & _LOW32))


def hash_numpy(key: int, row: npt.ArrayLike, token: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The 32-bit hash of (key, row, token), broadcast, as int64 in [0, 2**32)."""
    h = _fold(key, np.asarray(row, dtype=np.int64))
    t = _mix((np.asarray(token, dtype=np.int64) + _GOLDEN) & _LOW32)
    return cast("npt.NDArray[np.int64]", _mix(h ^ t))


def hash_torch(key: int, row: Tensor, token: Tensor) -> Tensor:
    """As `hash_numpy`, for int64 tensors on any device."""
    return cast(Tensor, _mix(_fold(key, row) ^ _mix((token + _GOLDEN) & _LOW32)))


def uniforms(
    keys: npt.NDArray[np.uint64], position: int | npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """One uniform in [0, 1) for each row key at its token position; 53 bits, order-free."""
    # The 64-bit key is split in two 32-bit words that never meet in one product.
    low = (keys & np.uint64(_LOW32)).astype(np.int64)
    high = (keys >> np.uint64(32)).astype(np.int64)
    h = _mix(_mix((low + _GOLDEN) & _LOW32) ^ high)
    lane = 2 * np.atleast_1d(np.asarray(position, dtype=np.int64))
    first, second = (_mix(h ^ _mix((lane + i) & _LOW32)) for i in (0, 1))
    return np.asarray((first << 21) + (second >> 11), dtype=np.float64) / 2.0**53


@dataclass(frozen=True)
class ProtectedSet:
    """The tokens F that no mask may drop, and where they came from."""

    ids: tuple[int, ...]
    counts: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.ids)


def special_ids(tokenizer: Any) -> set[int]:
    """Every special token, the chat template's role tokens included.

    ``all_special_ids`` alone names only those with a role of their own (end, padding...).
    """
    added = tokenizer.added_tokens_decoder
    return {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}


def protected_set(
    tokenizer: Any, kinds: Iterable[ProtectedKind], format_strings: Sequence[str]
) -> ProtectedSet:
    """Derive F from the tokenizer and from the strings that a valid response must spell.

    Args:
        tokenizer: a Hugging Face tokenizer.
        kinds: which classes are protected; ``format`` covers special tokens, end of sequence and
            every token met when tokenising the format strings in their leading-space variants.
        format_strings: the tags and boxes of the response format.

    Raises:
        HarnessError: an unknown kind.
    """
    vocabulary = len(tokenizer)
    texts = tokenizer.batch_decode([[i] for i in range(vocabulary)])
    raw = tokenizer.convert_ids_to_tokens(list(range(vocabulary)))
    found: dict[str, set[int]] = {}
    for kind in kinds:
        if kind == "format":
            ids = special_ids(tokenizer)
            for text in format_strings:
                for variant in (text, f" {text}", f"\n{text}", f"{text}\n"):
                    ids.update(tokenizer(variant, add_special_tokens=False)["input_ids"])
        elif kind == "digits":
            ids = {i for i, t in enumerate(texts) if t.strip().isdigit()}
        elif kind == "punctuation":
            ids = {i for i, t in enumerate(texts) if t.strip() and not any(map(str.isalnum, t))}
        elif kind == "single_characters":
            pairs = enumerate(zip(texts, raw, strict=True))
            ids = {i for i, (text, token) in pairs if 1 in (len(text), len(token))}
        else:
            raise HarnessError(
                f"protected: unknown kind {kind!r}; choose among format, digits, punctuation, "
                "single_characters"
            )
        found[kind] = ids
    union = tuple(sorted(set().union(*found.values()))) if found else ()
    return ProtectedSet(union, tuple((k, len(v)) for k, v in found.items()))


@dataclass(frozen=True)
class VocabMask:
    """A random vocabulary mask, given by its key.

    Attributes:
        key: 64-bit key of (seed, stream, iteration, step).
        alpha: retention probability of an unprotected token, in (0, 1].
        protected: the set F.
        vocab_size: the tokenizer's size; logits beyond it (padding of the head) are dropped.
        granularity: what shares one mask: the whole step, the groups of one optimiser update, a
            group, or nothing (each sequence).
        in_logprobs: whether log-probabilities are computed under the mask (`behaviour`) or under
            the full softmax (`none`).
    """

    key: int
    alpha: float
    protected: ProtectedSet
    vocab_size: int
    granularity: Granularity = "step"
    in_logprobs: bool = True

    @classmethod
    def create(
        cls,
        *names: str | int,
        seed: int,
        alpha: float,
        protected: ProtectedSet,
        vocab_size: int,
        granularity: Granularity = "step",
        in_logprobs: bool = True,
    ) -> VocabMask:
        """The mask of the stream ``names`` under ``seed``."""
        if not 0.0 < alpha <= 1.0:
            raise HarnessError(f"mask: alpha must lie in (0, 1], got {alpha}")
        key = key64(seed, "mask", *names)
        return cls(key, alpha, protected, vocab_size, granularity, in_logprobs)

    @property
    def shared(self) -> bool:
        """Whether every row has the same mask."""
        return self.granularity == "step"

    def row_ids(
        self, group_id: Sequence[int], minibatch: Mapping[int, int] = _NOWHERE
    ) -> list[int]:
        """The mask row of each rollout [R], from its group and the update that group belongs to."""
        if self.granularity == "step":
            return [0] * len(group_id)
        if self.granularity == "mini":
            return [minibatch.get(group, 0) for group in group_id]
        return list(group_id) if self.granularity == "group" else list(range(len(group_id)))

    @property
    def threshold(self) -> int:
        return round(self.alpha * 2**32)

    def keep_numpy(self, rows: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which tokens are kept, for each mask row: bool [len(rows), vocab_size]."""
        row = np.asarray(rows, dtype=np.int64)[:, None]
        keep = hash_numpy(self.key, row, np.arange(self.vocab_size)[None, :]) < self.threshold
        keep[:, list(self.protected.ids)] = True
        return keep

    def keep(self, rows: Tensor, logits_size: int) -> Tensor:
        """Which logits are kept: bool [b, logits_size] on the device of ``rows`` (int64 [b])."""
        token = torch.arange(self.vocab_size, device=rows.device)
        keep = torch.zeros(len(rows), logits_size, dtype=torch.bool, device=rows.device)
        keep[:, : self.vocab_size] = hash_torch(self.key, rows[:, None], token) < self.threshold
        keep[:, torch.as_tensor(self.protected.ids, dtype=torch.long, device=rows.device)] = True
        return keep
