"""How a token is drawn from logits: by inverting the cumulative distribution at a given uniform.

One function for every engine, so that a row's draws are the same wherever it is sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.engines.base import SamplingParams


def sample(
    logits: Tensor, params: SamplingParams, uniform: np.ndarray[Any, np.dtype[np.float64]]
) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the cumulative distribution.

    Args:
        logits: float32 [b, V]; masked entries are -inf.
        params: temperature, then top-k, top-p and min-p truncation.
        uniform: float64 [b] in [0, 1).

    Returns:
        token (long [b]) and its log-probability (float32 [b]) under temperature, not truncation.
    """
    if params.temperature == 0:
        token = logits.argmax(dim=-1)
        logprob = torch.log_softmax(logits, dim=-1).gather(1, token[:, None])[:, 0]
        return token, logprob
    logp = torch.log_softmax(logits / params.temperature, dim=-1)
    probs = truncate(logp.exp(), params)
    cdf = probs.double().cumsum(dim=-1)
    u = torch.as_tensor(uniform, device=logits.device)[:, None] * cdf[:, -1:]
    token = torch.searchsorted(cdf, u, right=True).clamp(max=logits.shape[-1] - 1)[:, 0]
    # Rounding may land on the end of the line; its last token with mass is meant.
    empty = probs.gather(1, token[:, None])[:, 0] == 0
    if bool(empty.any()):
        last = torch.arange(logits.shape[-1], device=logits.device).expand_as(probs)
        last = last.masked_fill(probs == 0, -1).amax(dim=-1)
        token = torch.where(empty, last, token)
    return token, logp.gather(1, token[:, None])[:, 0]


def truncate(probs: Tensor, params: SamplingParams) -> Tensor:
    """Zero the tokens [b, V] outside top-k, then top-p, then min-p; not renormalised."""
    if params.top_k and params.top_k < probs.shape[-1]:
        floor = probs.topk(params.top_k, dim=-1).values[:, -1:]
        probs = probs.masked_fill(probs < floor, 0.0)
    if params.top_p < 1.0:
        ordered, order = probs.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        total = ordered.sum(dim=-1, keepdim=True)
        ordered = ordered.masked_fill(before >= params.top_p * total, 0.0)
        probs = torch.zeros_like(probs).scatter(1, order, ordered)
    if params.min_p:
        floor = params.min_p * probs.amax(dim=-1, keepdim=True)
        probs = probs.masked_fill(probs < floor, 0.0)
    return probs
