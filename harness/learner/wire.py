"""Micro-batches and scores as frames (`harness.child`): records and named tensors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from harness.child import Frame, Record
from harness.engines.base import replay_of
from harness.errors import HarnessError
from harness.learner.base import Grads
from harness.masks import ProtectedSet, VocabMask
from harness.policy import Scores, TokenBatch
from harness.support import Support

NO_MEMORY = "out of memory"
"""How a shard's error ends that says so."""


def pack_part(part: TokenBatch, candidates: Tensor | None = None) -> Frame:
    """A micro-batch; a mask travels as its key, a rule as the support that it left.

    Raises:
        HarnessError: a rule that would have to be applied anew, which is code.
    """
    rule = part.logits_rule
    if replay_of(rule) == "current":
        raise HarnessError(
            f"training.processes: the rule {type(rule).__name__} on the logits is applied anew to "
            "each policy, which other processes can't do; set training.processes=1"
        )
    record: Record = {"prompts": part.prompt_ids, "temperature": part.temperature}
    tensors = {"ids": part.response_ids, "mask": part.response_mask}
    if part.mask is not None:
        assert part.mask_rows is not None
        record["mask"] = asdict(part.mask)
        tensors["mask_rows"] = part.mask_rows
    if part.support is not None:
        tensors["counts"] = torch.cat(part.support.counts)
        tensors["kept"] = torch.cat(part.support.ids)
    if candidates is not None:
        tensors["candidates"] = candidates
    return record, tensors


def unpack_part(record: Record, tensors: dict[str, Tensor]) -> tuple[TokenBatch, Tensor | None]:
    """What `pack_part` packed."""
    mask = None
    if "mask" in record:
        said: dict[str, Any] = dict(record["mask"])
        protected = said.pop("protected")
        counts = tuple((str(k), int(n)) for k, n in protected["counts"])
        mask = VocabMask(protected=ProtectedSet(tuple(protected["ids"]), counts), **said)
    support = None
    if "counts" in tensors:
        lengths = tensors["mask"].sum(dim=1).tolist()
        counts_of = torch.split(tensors["counts"], lengths)
        kept = torch.split(tensors["kept"], [int(c.sum()) for c in counts_of])
        support = Support(tuple(counts_of), tuple(kept))
    part = TokenBatch(
        prompt_ids=record["prompts"],
        response_ids=tensors["ids"],
        response_mask=tensors["mask"],
        temperature=record["temperature"],
        mask=mask,
        mask_rows=tensors.get("mask_rows"),
        support=support,
    )
    return part, tensors.get("candidates")


def idle_part() -> TokenBatch:
    """One row, for a process that has none while the others have: all must do the same passes."""
    return TokenBatch([[0]], torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1).bool())


def pack_values(values: Scores | Grads) -> dict[str, Tensor]:
    """Scores, or their gradients; what is None isn't there."""
    named = {"logp": values.logp, "entropy": values.entropy, "candidates": values.candidates}
    return {k: v for k, v in named.items() if v is not None}


def unpack_scores(tensors: dict[str, Tensor]) -> Scores:
    return Scores(tensors["logp"], tensors["entropy"], tensors.get("candidates"))


def unpack_grads(tensors: dict[str, Tensor], device: torch.device) -> Grads:
    found = {k: v.to(device) for k, v in tensors.items()}
    return Grads(found.get("logp"), found.get("entropy"), found.get("candidates"))
