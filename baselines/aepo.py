"""AEPO, Arbitrary Entropy Policy Optimization (arXiv 2510.08141)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from baselines._groups import group_rows
from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.grpo import group_advantages
from harness.methods import HookContext, MethodParams, RolloutBatch, RolloutTools, register

MARK = "aepo_advantage"


@register("aepo")
class Aepo(PublishedSettings):
    """n rows give way to good rows sampled at T_high (entropy <= H0) or T_low, advantage 1.

    Equation: grad J_GRPO + alpha E_{o ~ pi^T} [grad log pi(o) R(o)]. Per step: the first quarter of
    the prompts is sampled again (G each) at T_high if H <= H0, else T_low; rows with a group
    advantage above .05 (for the proposer: and a valid question) are kept; the first n of them, or
    n / 2 if H > H0, take the place of the batch's first rows with advantage 1. All other rows keep
    the advantages of the batch before that. H is the previous step's -mean log-prob of the sampled
    tokens (not the true entropy), 0 at the start.
    Defaults: T 1.2 / .8, H0 .5 (the README's best: .75), n = 60 of 2560 rows, threshold .05, clip
    .2/.2, no KL (597358816/AEPO at b353a05).
    Hook: `after_rollout`, `advantage`, `on_step_end`, `coefficients`; proposer, phase train.
    State: H of each role.
    Unconfirmed: nothing. Our adaptation: n as a fraction of R, at least 1; the control rows of the
    proposer are rewarded as a batch of their own, repetition share included; where too few pass,
    fewer rows are replaced (the published code stops). All control tokens are in the ledger.
    """

    paper = "2510.08141"
    off: ClassVar[Mapping[str, Any]] = {"replaced_fraction": 0.0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"clip_low": 0.2, "clip_high": 0.2, "kl": 0.0}

    class Params(MethodParams):
        temperature_high: float = Field(1.2, gt=0, description="T of the control rows, H <= H0")
        temperature_low: float = Field(0.8, gt=0, description="T of the control rows, H > H0")
        entropy_base: float = Field(0.5, ge=0, description="H0, nats per token")
        replaced_fraction: float = Field(60 / 2560, ge=0, le=1, description="n / R; 0: off")
        low_share: float = Field(0.5, gt=0, le=1, description="of n, where H > H0")
        prompt_fraction: float = Field(0.25, gt=0, le=1, description="of the prompts, sampled anew")
        min_advantage: float = Field(0.05, ge=0, description="control rows above it pass")
        role: Roles = "proposer"
        settings: Settings = Field("paper", description="clip and KL")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self.entropy = {"proposer": 0.0, "solver": 0.0}

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        p = self.params
        if not p.replaced_fraction or not plays(p.role, ctx) or not len(batch):
            return batch
        assert batch.rewards is not None
        cool = self.entropy[ctx.role] <= p.entropy_base
        groups = group_rows(batch.group_id)
        first = [rows[0] for rows in groups[: max(1, int(len(groups) * p.prompt_fraction))]]
        params = replace(
            tools.params, temperature=p.temperature_high if cool else p.temperature_low
        )
        control = tools.score(tools.resample(batch, first, params, None))
        assert control.rewards is not None
        ctx.count("control_rows", len(control))
        good = group_advantages(control.rewards.total, control.group_id)[0] > p.min_advantage
        if ctx.role == "proposer":
            good &= control.valid
        n = max(1, math.floor(p.replaced_fraction * len(batch) + 0.5))
        n = n if cool else max(1, int(n * p.low_share))
        taken = np.flatnonzero(good)[:n].tolist()
        ctx.count("rows_replaced", len(taken))
        if not taken:
            ctx.count("steps_without_control_rows")
            return batch
        base = group_advantages(batch.rewards.total, batch.group_id)[0]
        main = replace(batch, marks={**batch.marks, MARK: base.tolist()})
        new = control.select(taken)
        # A new row joins the group whose row it replaces, so that updates keep their sizes.
        new = replace(new, group_id=batch.group_id[: len(taken)], marks={MARK: [1.0] * len(taken)})
        places = [len(batch) + i for i in range(len(taken))] + [*range(len(taken), len(batch))]
        return tools.join([main, new]).select(places)

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        if MARK not in batch.marks:
            return advantages, blend
        mark = torch.as_tensor(batch.marks[MARK], dtype=torch.float32)[None, :, None]
        noted = mark * batch.tokens.response_mask
        return torch.where(torch.isnan(mark), advantages, noted.expand_as(advantages)), blend

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        self.entropy[ctx.role] = float(metrics.get("surprisal", self.entropy[ctx.role]))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.entropy)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.entropy = {role: float(state[role]) for role in ("proposer", "solver")}


@register("aepo_control")
class AepoControl(SettingsControl):
    """AEPO's clip (.2/.2) without KL, no control rows.

    Equation: R-Zero's loss. Defaults: those of `aepo` (arXiv 2510.08141).
    Hook: `coefficients`; proposer, phase train.
    Unconfirmed: nothing beyond `aepo`.
    """

    paper = "2510.08141"
    published = Aepo.published

    class Params(SettingsControl.Params):
        role: Roles = Field("proposer", description="whose coefficients")
