"""The clip range of PPO, which R-Zero and DAPO widen upwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from baselines._shared import Roles, plays
from harness.grpo import Coefficients
from harness.methods import HookContext, Method, MethodParams, register


@register("clip_symmetric")
class ClipSymmetric(Method):
    """The ratio is clipped to [1 - low, 1 + high] with low = high = .2, without 'clip-higher'.

    Equation: L = max(-A rho, -A clip(rho, 1 - low, 1 + high)). R-Zero clips to [.8, 1.3]; DAPO
        (arXiv 2503.14476), to [.8, 1.28], against the loss of entropy under a symmetric clip. This
        ablation is the symmetric clip.
    Defaults: low = high = .2, the value that DAPO starts from. The dual clip stays the baseline's.
    Hook: `coefficients`, training of the proposer, the solver or both.
    Unconfirmed: nothing.
    """

    paper = "2503.14476"
    off: ClassVar[Mapping[str, Any]] = {"low": None, "high": None}

    class Params(MethodParams):
        low: float | None = Field(0.2, gt=0, description="clip below 1; None: the baseline's")
        high: float | None = Field(0.2, gt=0, description="clip above 1; None: the baseline's")
        role: Roles = Field("both", description="whose training")

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        p = self.params
        if not plays(p.role, ctx):
            return coefficients
        changed = replace(
            coefficients,
            clip_low=coefficients.clip_low if p.low is None else p.low,
            clip_high=coefficients.clip_high if p.high is None else p.high,
        )
        ctx.count("steps_with_another_clip", changed != coefficients)
        return changed
