"""Sampling by row keys inside somebody else's engine, as a step on a batch of logits.

An engine that calls `draw` before it samples greedily, and reports the logits that it saw, returns
the tokens and log-probs that `torch_engine` would: the row of a drawn token holds its log-prob at
that token and -inf elsewhere. So a row's sample is a function of its prompt, its key and the rule
alone here, too, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.engines.base import LogitsRule, SamplingParams
from harness.engines.sampling import sample
from harness.masks import ProtectedSet, VocabMask, uniforms

ARGUMENT = "coevolution"
"""Name of a request's own argument."""


@dataclass(frozen=True)
class Row:
    """What a request carries: the row's key, its mask row (None: no mask), how to sample."""

    key: int
    mask_row: int | None
    params: SamplingParams

    def as_argument(self) -> dict[str, Any]:
        """Plain data."""
        return {"key": self.key, "mask_row": self.mask_row, "params": asdict(self.params)}

    @classmethod
    def of_argument(cls, stated: Mapping[str, Any]) -> Row:
        """The row of `as_argument`."""
        return cls(int(stated["key"]), stated["mask_row"], params_of(stated["params"]))


def params_of(stated: Mapping[str, Any]) -> SamplingParams:
    """The parameters of ``asdict``, which JSON has made lists of tuples in."""
    plain: dict[str, Any] = {**stated, "stop": tuple(stated["stop"])}
    return SamplingParams(**plain)


@dataclass(frozen=True)
class Announced:
    """What all rows of a call share: its mask and its rule on the logits."""

    mask: VocabMask | None = None
    rule: LogitsRule | None = None


class Slot:
    """A row in the engine's batch.

    Args:
        row: what its request carries.
        mask: that of the call.
    """

    def __init__(self, row: Row, mask: VocabMask | None) -> None:
        self.row = row
        self._mask = mask if row.mask_row is not None else None
        self._keep: Tensor | None = None

    def keep(self, logits: Tensor) -> Tensor | None:
        """The tokens of its mask, bool [V]; None without one."""
        if self._mask is None or self.row.mask_row is None:
            return None
        if self._keep is None or self._keep.device != logits.device:
            rows = torch.as_tensor([self.row.mask_row], device=logits.device)
            self._keep = self._mask.keep(rows, logits.shape[-1])[0]
        return self._keep


def draw(
    logits: Tensor,
    slots: Sequence[Slot],
    positions: Sequence[int],
    prefixes: Sequence[Sequence[int]],
    rule: LogitsRule | None,
) -> Tensor:
    """Draw each row's token.

    Args:
        logits: float32 [b, V], as the model left them.
        slots, positions: each row's slot, and which token of its response this is, from 0.
        prefixes: the tokens of each row's response so far; read only where there is a rule.

    Returns:
        float32 [b, V]: the log-prob of the token that was drawn, under mask, rule and temperature,
        before truncation; -inf everywhere else.
    """
    keeps = [slot.keep(logits) for slot in slots]
    masked = [i for i, keep in enumerate(keeps) if keep is not None]
    if masked:
        table = torch.stack([keep for keep in keeps if keep is not None])
        index = torch.as_tensor(masked, device=logits.device)
        logits = logits.index_copy(0, index, logits[index].masked_fill(~table, -torch.inf))
    if rule is not None:
        logits = _ruled(logits, slots, positions, prefixes, rule)
    drawn = torch.full_like(logits, -torch.inf)
    for params, part in _by_params(slots).items():
        index = torch.as_tensor(part, device=logits.device)
        keys = np.asarray([slots[i].row.key for i in part], dtype=np.uint64)
        uniform = uniforms(keys, np.asarray([positions[i] for i in part]))
        token, logprob = sample(logits[index], params, uniform)
        drawn[index, token] = logprob
    return drawn


def _ruled(
    logits: Tensor,
    slots: Sequence[Slot],
    positions: Sequence[int],
    prefixes: Sequence[Sequence[int]],
    rule: LogitsRule,
) -> Tensor:
    """The rule on the rows of each position, since it takes prefixes of one length."""
    ruled = logits.clone()
    for t in sorted(set(positions)):
        part = [i for i, position in enumerate(positions) if position == t]
        prefix = torch.as_tensor([list(prefixes[i])[:t] for i in part], dtype=torch.long)
        prefix = prefix.reshape(len(part), t).to(logits.device)
        keys = [slots[i].row.key for i in part]
        ruled[part] = rule(logits[part], prefix, keys)
    return ruled


def _by_params(slots: Sequence[Slot]) -> dict[SamplingParams, list[int]]:
    found: dict[SamplingParams, list[int]] = {}
    for i, slot in enumerate(slots):
        found.setdefault(slot.row.params, []).append(i)
    return found


def mask_record(mask: VocabMask) -> dict[str, Any]:
    """A mask as plain data."""
    stated = {f.name: getattr(mask, f.name) for f in fields(mask)}
    return {**stated, "protected": asdict(mask.protected)}


def mask_of(stated: Mapping[str, Any]) -> VocabMask:
    """The mask of `mask_record`."""
    protected = stated["protected"]
    counts = tuple((str(k), int(v)) for k, v in protected["counts"])
    return VocabMask(**{**stated, "protected": ProtectedSet(tuple(protected["ids"]), counts)})
