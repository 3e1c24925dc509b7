"""Dynamic vocabulary pruning (arXiv 2512.23087): the objective leaves out the extreme tail.

Engine and trainer disagree most on improbable tokens (the bound on the log-probability gap scales
with 1 - p), so rollouts and objective keep to a 'safe' vocabulary: old, current and reference
policy are each pruned by their own logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from baselines._decoding import Keep, Phases, Truncation, TruncationParams
from baselines.truncation import MinPKeep
from harness.engines.base import Replay
from harness.methods import register


@register("dvp")
class Dvp(Truncation):
    """S(pi) = {v: pi_v >= e^-13 * max pi} for each policy by itself; pi^S = pi renormalised over S.

    Equation: keep v iff p_v >= threshold * max_u p_u, anew on the logits of the policy that is
    scored, in sampling and in the objective. A sampled token that has since left a policy's safe
    set is put back, so that ratio and gradient stay finite (ours).
    Defaults: threshold e^-13 = 2.26e-6. In a vocabulary as small as the ladder's it drops many
    tokens but next to no mass (`mass_dropped`), as it should where trainer and engine agree;
    `active` has a threshold that bites.
    Hook: `logits_rule` (and `sampling`, to see the temperature); proposer, training only: there is
    no objective in generation.
    Unconfirmed: the threshold and the min-p form are from memory; what the paper does with sampled
    tokens outside the current policy's set.
    """

    paper = "2512.23087"
    off: ClassVar[Mapping[str, Any]] = {"threshold": 0.0}
    active: ClassVar[Mapping[str, Any]] = {"threshold": 1e-2}

    class Params(TruncationParams):
        threshold: float = Field(
            math.exp(-13.0), ge=0, le=1, description="share of the maximum; 0: off"
        )
        phases: Phases = Field(("train",), min_length=1, description="in which rollouts")

    def keep(self) -> Keep | None:
        return MinPKeep(self.params.threshold) if self.params.threshold else None

    def replay(self) -> Replay:
        return "current" if self.params.logprobs == "behaviour" else "none"
