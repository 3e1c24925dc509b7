"""What several methods share: whose rollouts they touch, and a paper's settings beside its idea."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.grpo import Coefficients
from harness.methods import HookContext, Method, MethodParams

Roles = Literal["proposer", "solver", "both"]
"""Whose training or sampling a method changes."""
Settings = Literal["paper", "rzero"]
"""Clip and KL: the paper's own, or the baseline's, so that the mechanism stands alone."""


def plays(role: Roles, ctx: HookContext) -> bool:
    """Whether a method with this ``role`` parameter is meant here."""
    return role in ("both", ctx.role)


def largest(values: Tensor, mask: Tensor, n: int) -> Tensor:
    """The ``n`` tokens of ``mask`` with the largest ``values``; all [m, T], masks bool."""
    flat = values.masked_fill(~mask, -torch.inf).flatten()
    chosen = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    chosen[flat.topk(n).indices] = True
    return chosen.reshape(mask.shape)


class PublishedSettings(Method):
    """A method whose paper changes clip, KL or entropy coefficients beside its mechanism.

    Class attribute ``published``: the coefficients that the paper states, by field of
    `Coefficients`. They are in force where the parameter ``settings`` is ``paper``.
    """

    published: ClassVar[dict[str, Any]] = {}

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        if self.params.settings != "paper" or not plays(self.params.role, ctx):
            return coefficients
        return replace(coefficients, **self.published)


class SettingsControl(PublishedSettings):
    """The control of such a method: the paper's settings with the mechanism off.

    A subclass takes ``published`` from the method that it is the control of, and may set another
    default ``role``.
    """

    off: ClassVar[Mapping[str, Any]] = {"settings": "rzero"}

    class Params(MethodParams):
        role: Roles = Field("both", description="whose coefficients")
        settings: Settings = Field("paper", description="'rzero' leaves the baseline's")

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        changed = super().coefficients(ctx, coefficients)
        ctx.count("steps_with_other_coefficients", changed != coefficients)
        return changed
