"""The support that a truncation rule left to each response token, stored to be used again.

Behaviour support stored at sampling and reused in current and old token probabilities:
arXiv 2602.03195. A truncated support is small, so token ids are kept rather than [R, T, V] bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Support:
    """Kept token ids of N response tokens, row by row.

    Attributes:
        counts: long [N_r] for each of the R rows: how many ids each of its tokens keeps.
        ids: int32 [sum of counts] for each row.
    """

    counts: tuple[Tensor, ...]
    ids: tuple[Tensor, ...]

    @classmethod
    def of(cls, keeps: Sequence[Tensor], lengths: Sequence[int]) -> Support:
        """From the ids kept by each of N tokens, those of R rows of the given lengths in a line."""
        counts = torch.as_tensor([len(ids) for ids in keeps], dtype=torch.long)
        found, start = [], 0
        for n in lengths:
            ids = [*keeps[start : start + n], torch.zeros(0, dtype=torch.int32)]
            found.append(torch.cat(ids).to(torch.int32))
            start += n
        return cls(tuple(torch.split(counts, list(lengths))), tuple(found))

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, index: Sequence[int]) -> Support:
        """The given rows, in that order."""
        return Support(tuple(self.counts[i] for i in index), tuple(self.ids[i] for i in index))

    @classmethod
    def join(cls, parts: Sequence[Support]) -> Support:
        """The rows of several, one after the other."""
        return cls(
            tuple(c for part in parts for c in part.counts),
            tuple(i for part in parts for i in part.ids),
        )

    def flat(self) -> FlatSupport:
        """All rows' tokens in one line."""
        counts = torch.cat(self.counts) if self.counts else torch.zeros(0, dtype=torch.long)
        ids = torch.cat(self.ids) if self.ids else torch.zeros(0, dtype=torch.int32)
        ends = counts.cumsum(0)
        return FlatSupport(counts, ends - counts, ids.long())


@dataclass(frozen=True)
class FlatSupport:
    """As `Support`, for N tokens in a line: counts and starts long [N], ids long."""

    counts: Tensor
    starts: Tensor
    ids: Tensor

    def keep(self, index: Tensor, vocabulary: int) -> Tensor:
        """bool [n, V] on the device of ``index`` (long [n], consecutive tokens)."""
        first, last = int(index[0]), int(index[-1])
        counts = self.counts[first : last + 1]
        row = torch.repeat_interleave(torch.arange(len(counts)), counts)
        start = int(self.starts[first])
        keep = torch.zeros(len(counts), vocabulary, dtype=torch.bool)
        keep[row, self.ids[start : start + len(row)]] = True
        return keep.to(index.device)
