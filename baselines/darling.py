"""DARLING (arXiv 2509.02534; facebookresearch/darling at c07a323): quality times diversity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from baselines._rewards import (
    Array,
    Index,
    SetScope,
    changed,
    embeddings,
    questions_of,
    sets_of,
    spread,
    valid_rows,
    without_std,
)
from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.methods import HookContext, MethodParams, RolloutBatch, register
from harness.roles import Rewards

SHORT = 5
"""Words up to which a text is compared by its words instead of its embedding."""
FLOOR = 0.1
"""The least diversity."""


@register("darling")
class Darling(PublishedSettings):
    """r = quality * div, div_i = max(0.1, (n - |cluster_i|) / (n - 1)) among the n of a set.

    Equation: clusters are the connected components of pairwise sameness. As quality may be
        negative, which would reward copies, it is taken above the set's minimum b (the code's
        add_bias): r_i = b + (q_i - b) div_i. b is added back, which no group-normalised advantage
        sees, so that invalid questions keep their reward; they form no sets. ``additive``:
        r_i = q_i + weight * div_i. Alone in its set, a question has div 1.
    Defaults: multiplicative, sets = groups, mean-centred advantages without the standard
        deviation, no KL (``settings: paper``); all of the released scripts.
    Hook: `reward`, `advantage`, `coefficients`; proposer by default. As the solver's method (the
        paper's own use) it compares whole responses.
    Unconfirmed: sameness, for which the paper trained a classifier (P(same) > 0.5): here cosine
        over ``threshold`` with the profile's embedder (our adaptation; 0.5 is rare among hashed
        pairs of words, a sentence transformer may want 0.7), and for two texts of at most 5 words
        shared words over all words > 0.5 (its unigram overlap; the measure is assumed).
    """

    paper = "2509.02534"
    off: ClassVar = {"weight": 0.0, "settings": "rzero"}
    published: ClassVar = {"kl": 0.0}
    active: ClassVar = {"threshold": 0.1}

    class Params(MethodParams):
        role: Roles = Field("proposer", description="whose rewards")
        settings: Settings = Field("paper", description="'rzero' leaves KL and advantages")
        scope: SetScope = Field("group", description="whose texts form a set")
        mode: Literal["multiplicative", "additive"] = "multiplicative"
        weight: float = Field(1.0, ge=0, description="share of the product, or of the sum's bonus")
        add_bias: bool = Field(True, description="product: quality above the set's minimum")
        threshold: float = Field(0.5, ge=-1, le=1, description="cosine above which texts are same")

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if not plays(self.params.role, ctx) or self.params.weight == 0:
            return rewards
        if ctx.role == "proposer":
            rows = valid_rows(batch)
            texts = questions_of(batch, rows)
        else:
            rows, texts = np.arange(len(batch)), batch.texts
        unit = embeddings(ctx, texts)
        div = np.ones(len(rows))
        bias = np.zeros(len(rows))
        for members in sets_of(batch, rows, self.params.scope):
            same = sameness(unit[members], [texts[i] for i in members], self.params.threshold)
            div[members] = diversity(same)
            bias[members] = rewards.total[self._set_rows(batch, rows[members])].min()
        if self.params.mode == "additive":
            extra = div
        else:
            base = bias if self.params.add_bias else np.zeros(len(rows))
            extra = (div - 1.0) * (rewards.total[rows] - base)
        found = rewards.plus("diversity", spread(self.params.weight * extra, rows, len(batch)))
        ctx.count("rewards_changed", changed(rewards, found))
        return found

    def _set_rows(self, batch: RolloutBatch, rows: Index) -> Index:
        """All rows of a set, the invalid ones among them included."""
        if self.params.scope == "batch":
            return np.arange(len(batch))
        return np.flatnonzero(np.asarray(batch.group_id) == batch.group_id[rows[0]])

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _mean_centred(self, ctx, batch, advantages), blend


@register("darling_control")
class DarlingControl(SettingsControl):
    """DARLING's settings without its reward: no KL, A = r - mean without the standard deviation.

    Equation: A_i = r_i - mean_group r (arXiv 2509.02534), R-Zero's reward.
    Defaults: those of `darling`.
    Hook: `advantage`, `coefficients`; proposer by default.
    Unconfirmed: nothing.
    """

    paper = "2509.02534"
    published = Darling.published

    class Params(SettingsControl.Params):
        role: Roles = Field("proposer", description="whose coefficients and advantages")

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _mean_centred(self, ctx, batch, advantages), blend


def _mean_centred(
    method: PublishedSettings, ctx: HookContext, batch: RolloutBatch, advantages: Tensor
) -> Tensor:
    if method.params.settings != "paper" or not plays(method.params.role, ctx):
        return advantages
    ctx.count("rows_without_std", int((advantages != 0).any(dim=2).any(dim=0).sum()))
    return without_std(batch, advantages)


def sameness(unit: Array, texts: Sequence[str], threshold: float) -> npt.NDArray[np.bool_]:
    """Which of n texts say the same, bool [n, n].

    Args:
        unit: their embeddings, unit rows [n, d].
        threshold: cosine above which two are the same; two short ones share over half their words.
    """
    same: npt.NDArray[np.bool_] = unit @ unit.T > threshold
    words = [set(t.lower().split()) if len(t.split()) <= SHORT else None for t in texts]
    for i, a in enumerate(words):
        for j, b in enumerate(words[:i]):
            if a is not None and b is not None:
                same[i, j] = same[j, i] = len(a & b) > 0.5 * len(a | b)
    return same


def diversity(same: npt.NDArray[np.bool_]) -> Array:
    """max(0.1, (n - |cluster_i|) / (n - 1)) from pairwise sameness [n, n]; 1 of a single text."""
    n = len(same)
    if n < 2:
        return np.ones(n)
    _, label = connected_components(same, directed=False)
    size = np.bincount(label)[label]
    div: Array = np.maximum(FLOOR, (n - size) / (n - 1))
    return div
