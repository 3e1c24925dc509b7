"""Controls that every table needs: is it the training of the proposer, or the labels at all?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.grading.votes import Tally
from harness.methods import HookContext, Method, register


@register("static_proposer")
class StaticProposer(Method):
    """The proposer is never trained; the solver trains on the base model's own questions.

    The 'base challenger' control of R-Zero (arXiv 2508.05004): what the solver gains here is not
    a gain of co-evolution.
    """

    paper = "2508.05004"

    def steps(self, ctx: HookContext, steps: int) -> int:
        if ctx.role == "proposer":
            ctx.count("proposer_steps_skipped", steps)
            return 0
        return steps


@register("random_label")
class RandomLabel(Method):
    """Pseudo-labels are shuffled among the questions; p_hat and the window stay as they were.

    A negative control: what the solver gains here is not learned from its labels.
    """

    def label(
        self, ctx: HookContext, votes: Sequence[Sequence[str | None]], tallies: list[Tally]
    ) -> list[Tally]:
        if ctx.phase != "label":
            return tallies
        answered = [i for i, t in enumerate(tallies) if t.answer is not None]
        order = ctx.stream("random_label").permutation(len(answered))
        shuffled = list(tallies)
        for i, j in zip(answered, order, strict=True):
            shuffled[i] = replace(tallies[i], answer=tallies[answered[int(j)]].answer)
        changed = sum(a.answer != b.answer for a, b in zip(tallies, shuffled, strict=True))
        ctx.count("labels_changed", changed)
        return shuffled
