"""The proposer rewards of other self-play systems, on R-Zero's loop.

Common to all. Equation: r = (1 - weight) * R-Zero's + weight * theirs.
Defaults: weight 1; the repetition penalty is dropped, since none of the papers has one
(``repetition: true`` keeps it).
Hook: `reward`, proposer, training.
Unconfirmed: where they know the true answer or solve rate, p is here the share of the solver's
majority, since R-Zero has no ground truth: a question that every vote gets wrong the same way has
p = 1.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from baselines._rewards import WORTH, changed, replaced
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import INVALID_REWARD, Rewards

Array = npt.NDArray[np.float64]


class _Peer(Method):
    """Another system's reward in place of R-Zero's."""

    off: ClassVar = {"weight": 0.0}

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, le=1, description="0 is R-Zero's reward")
        repetition: bool = Field(False, description="keep R-Zero's repetition penalty")
        invalid: float = Field(
            INVALID_REWARD, ge=-10, le=1, description="reward of an invalid question"
        )

    @abstractmethod
    def of_rate(self, p: Array) -> Array:
        """The reward of questions with solve rates ``p`` [n]."""

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role != "proposer" or self.params.weight == 0:
            return rewards
        valid = batch.valid
        values = np.zeros(len(batch))
        values[valid] = self.of_rate(batch.p_hat[valid])
        invalid = np.where(valid, 0.0, self.params.invalid)
        kept = ("repetition",) if self.params.repetition else ()
        names = [n for n in (*WORTH, "invalid") if n not in kept]
        parts = {self.name.removesuffix("_reward"): values, "invalid": invalid}
        found = replaced(rewards, parts, self.params.weight, names)
        ctx.count("rewards_changed", changed(rewards, found))
        return found


@register("azr_reward")
class AzrReward(_Peer):
    """r = 0 where p is 0 or 1, else 1 - p: Absolute Zero's learnability reward.

    Equation: as above (arXiv 2505.03335; LeapLabTHU/Absolute-Zero-Reasoner at a82124e), invalid -1.
    Defaults: invalid -1, its bad-format reward. Its -0.5 for well-formatted wrong proposals needs
        an executor to find them; a question in words can't be wrong here. Its diversity terms are
        off in its code, too.
    Hook: `reward`, proposer, training.
    Unconfirmed: that a majority's share may stand for its solve rate (module).
    """

    paper = "2505.03335"

    def of_rate(self, p: Array) -> Array:
        return np.where((p <= 0.0) | (p >= 1.0), 0.0, 1.0 - p)


@register("spice_reward")
class SpiceReward(_Peer):
    """r = exp(-(p (1 - p) - 1/4)^2 / 0.02), invalid -0.1: SPICE's variance reward.

    Equation: r = exp(-(Var - 0.25)^2 / (2 * width)), Var = p (1 - p) (arXiv 2510.24684). The
        reward alone: its proposer reads a corpus, which R-Zero has not.
    Defaults: width 0.01, target 0.25.
    Hook: `reward`, proposer, training.
    Unconfirmed: invalid -0.1 (from memory).
    """

    paper = "2510.24684"

    class Params(_Peer.Params):
        invalid: float = Field(-0.1, ge=-10, le=1, description="reward of an invalid question")
        target: float = Field(0.25, ge=0, le=0.25, description="variance of the best question")
        width: float = Field(0.01, gt=0, description="sigma squared")

    def of_rate(self, p: Array) -> Array:
        return _bell(p * (1.0 - p) - self.params.target, self.params.width)


@register("socratic_reward")
class SocraticReward(_Peer):
    """r = exp(-(p - 1/2)^2 / 0.08): Socratic-Zero's utility of a question.

    Equation: r = exp(-(p - mean)^2 / (2 * sigma^2)) (arXiv 2509.24726).
    Defaults: mean 0.5, sigma 0.2. The paper weighs a supervised loss with it and has a 235B
        teacher; here it is the reward of GRPO. Invalid questions as in R-Zero.
    Hook: `reward`, proposer, training.
    Unconfirmed: that the weight may serve as a reward (our adaptation).
    """

    paper = "2509.24726"

    class Params(_Peer.Params):
        mean: float = Field(0.5, ge=0, le=1, description="solve rate of the best question")
        sigma: float = Field(0.2, gt=0, description="width of the bell")

    def of_rate(self, p: Array) -> Array:
        return _bell(p - self.params.mean, self.params.sigma**2)


def _bell(x: Array, variance: float) -> Array:
    values: Any = np.exp(-(x**2) / (2.0 * variance))
    return np.asarray(values, dtype=np.float64)
