"""Entropy bonuses: a constant one, and one that is adapted to a target entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from baselines._shared import Roles, plays
from harness.grpo import Coefficients
from harness.methods import HookContext, Method, MethodParams, register


@register("entropy_bonus")
class EntropyBonus(Method):
    """L' = L - c * mean_t H_t, with H_t the entropy in nats of the policy's softmax at token t.

    Equation: L' = L - c * mean_t H_t over the response tokens; H_t is exact, not -log p of the
        sampled token (arXiv 1602.01783 for actor-critic methods).
    Defaults: c = .001; values from .001 to .01 are usual for language models. R-Zero has none.
    Hook: `coefficients` (the loss holds the term), training of the proposer, the solver or both.
    Unconfirmed: no value is published for a co-evolution run, so c is our choice.
    """

    paper = "1602.01783"
    off: ClassVar[Mapping[str, Any]] = {"coef": 0.0}

    class Params(MethodParams):
        coef: float = Field(0.001, ge=0, description="c, per nat of mean token entropy")
        role: Roles = Field("both", description="whose training")

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        if not plays(self.params.role, ctx) or not self.params.coef:
            return coefficients
        ctx.count("steps_with_bonus")
        return replace(coefficients, entropy=coefficients.entropy + self.params.coef)


@register("adaptive_entropy")
class AdaptiveEntropy(Method):
    """c += delta if H < target else -delta, c in [0, c_max]; L' = L - c * H where H <= target.

    Equation: after each rollout step with mean token entropy H (nats, old policy):
        c <- clip(c + delta if H < target else c - delta, 0, c_max); L' = L - c * 1[H <= target] *
        mean_t H_t. One c per role, kept over the iterations.
    Defaults: target .2 nats, delta .005, c in [0, 1]: Skywork-OR1 (arXiv 2505.22312) as in the
        GRPO configuration of huggingface/trl. A policy that stays above the target is never
        touched.
    Hook: `coefficients` and `on_step_end`, training of the proposer, the solver or both.
    Unconfirmed: the start c = 0 (our adaptation). Coefficients are set before a step's rollouts, so
        a step's c comes from the entropy of the step before it (our adaptation).
    """

    paper = "2505.22312"
    off: ClassVar[Mapping[str, Any]] = {"delta": 0.0}
    active: ClassVar[Mapping[str, Any]] = {"target": 20.0}

    class Params(MethodParams):
        target: float = Field(0.2, ge=0, description="entropy in nats below which c grows")
        delta: float = Field(0.005, ge=0, description="change of c per step")
        c_max: float = Field(1.0, ge=0, description="largest c")
        role: Roles = Field("both", description="whose training")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._c: dict[str, float] = {}
        self._entropy: dict[str, float] = {}

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        c = self._c.get(ctx.role, 0.0)
        if not c or self._entropy[ctx.role] > self.params.target:
            return coefficients
        ctx.count("steps_with_bonus")
        return replace(coefficients, entropy=coefficients.entropy + c)

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        if not plays(self.params.role, ctx) or "entropy" not in metrics:
            return  # an empty batch has no entropy
        p, entropy = self.params, float(metrics["entropy"])
        change = p.delta if entropy < p.target else -p.delta
        self._c[ctx.role] = min(max(self._c.get(ctx.role, 0.0) + change, 0.0), p.c_max)
        self._entropy[ctx.role] = entropy

    def state_dict(self) -> dict[str, Any]:
        return {"c": dict(self._c), "entropy": dict(self._entropy)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._c, self._entropy = dict(state["c"]), dict(state["entropy"])
