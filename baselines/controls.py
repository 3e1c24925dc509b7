"""Controls that every table needs: is it the training of the proposer, or the labels at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from harness.grading.votes import Tally
from harness.methods import Ballots, HookContext, Method, MethodParams, register


@register("static_proposer")
class StaticProposer(Method):
    """The proposer is never trained; the solver trains on the base model's own questions.

    Equation: theta_proposer(t) = theta_base for every iteration t. The 'base challenger' control of
    R-Zero (arXiv 2508.05004): what the solver gains here is not a gain of co-evolution.
    Defaults: no proposer step at all; there is nothing to set.
    Hook: `steps`; proposer, training.
    Unconfirmed: nothing.
    """

    paper = "2508.05004"
    off: ClassVar[Mapping[str, Any]] = {"train_proposer": True}

    class Params(MethodParams):
        train_proposer: bool = Field(False, description="true: the control is off")

    def steps(self, ctx: HookContext, steps: int) -> int:
        if ctx.role == "proposer" and not self.params.train_proposer:
            ctx.count("proposer_steps_skipped", steps)
            return 0
        return steps


@register("random_label")
class RandomLabel(Method):
    """Pseudo-labels are shuffled among the questions; p_hat and the window stay as they were.

    Equation: y'_i = y_pi(i), pi a random permutation of the answered questions of a round (or of a
    random share of them). A negative control: what the solver gains here is not learned from its
    labels.
    Defaults: share 1, all labels; ours, there is no paper.
    Hook: `label`; solver, the curriculum's votes only, so that the proposer's rewards stay true.
    Unconfirmed: nothing.
    """

    off: ClassVar[Mapping[str, Any]] = {"share": 0.0}

    class Params(MethodParams):
        share: float = Field(1.0, ge=0, le=1, description="of labels that are shuffled; 0: off")

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        if ctx.phase != "label" or not self.params.share:
            return tallies
        answered = [i for i, t in enumerate(tallies) if t.answer is not None]
        if self.params.share < 1.0:
            drawn = ctx.stream("random_label", "share").random(len(answered))
            answered = [i for i, u in zip(answered, drawn, strict=True) if u < self.params.share]
        order = ctx.stream("random_label").permutation(len(answered))
        shuffled = list(tallies)
        for i, j in zip(answered, order, strict=True):
            shuffled[i] = replace(tallies[i], answer=tallies[answered[int(j)]].answer)
        changed = sum(a.answer != b.answer for a, b in zip(tallies, shuffled, strict=True))
        ctx.count("labels_changed", changed)
        return shuffled
