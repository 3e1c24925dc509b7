"""Sampling temperature, the simplest diversity control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from baselines._decoding import DecodingParams, decodes
from harness.engines import SamplingParams
from harness.methods import HookContext, Method, register


@register("temperature")
class Temperature(Method):
    """p = softmax(z / tau), in sampling and in the trainer's log-probs alike.

    Equation: p_v proportional to exp(z_v / tau); the trainer divides old, current and reference
    logits by the same tau, as R-Zero's does (arXiv 2508.05004).
    Defaults: tau 1.2 is ours; R-Zero samples at 1, a sweep of .7 to 1.5 is usual.
    Hook: `sampling`; proposer, training and generation (each by itself through `phases`).
    Unconfirmed: nothing; there is no paper to follow.
    """

    off: ClassVar[Mapping[str, Any]] = {"tau": None}

    class Params(DecodingParams):
        tau: float | None = Field(1.2, gt=0, le=10, description="None: the profile's")

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        tau = self.params.tau
        if tau is None or tau == params.temperature or not decodes(self.params, ctx):
            return params
        ctx.count("batches_at_tau")
        return replace(params, temperature=tau)
